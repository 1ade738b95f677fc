"""What attaching comes to: the words that reports, status and metrics use."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pyagent.abi import Direction


class Mode(StrEnum):
    """How a program is attached."""

    TCX = "tcx"
    CLSACT = "clsact"


class XdpMode(StrEnum):
    """Who runs an XDP program: the interface's driver, or the kernel for any interface."""

    NATIVE = "native"
    GENERIC = "generic"


class Change(StrEnum):
    """What had to be done."""

    NONE = "none"
    ATTACHED = "attached"
    REPLACED = "replaced"
    REPAIRED = "repaired"


@dataclass(frozen=True, slots=True)
class Report:
    """One interface and direction after reconciling.

    ``mode`` None: not attached, and ``error`` says why. ``repaired``: it was attached before and somebody had
    removed or outranked it. ``overtaken_by``: names of programs of other owners that still run before ours.
    """

    interface: str
    ifindex: int
    direction: Direction
    mode: Mode | None = None
    change: Change = Change.NONE
    overtaken_by: tuple[str, ...] = ()
    error: str = ""

    @property
    def attached(self) -> bool:
        """Tell whether our program runs there."""
        return self.mode is not None


@dataclass(frozen=True, slots=True)
class XdpReport:
    """XDP on one interface after reconciling. ``mode`` None: not attached, so tc alone does the work.

    ``held_by``: the program of another owner that is there and stays. ``error``: why else it is not attached.
    """

    interface: str
    ifindex: int
    mode: XdpMode | None = None
    change: Change = Change.NONE
    held_by: str = ""
    error: str = ""
