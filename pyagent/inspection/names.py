"""Names for the kernel's numbers: rule keys, verdict ids, interfaces, protocols."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from pyagent.compiler.saved import METADATA, load_metadata
from pyagent.errors import AutohepError, UsageError
from pyagent.model.packet import PROTOCOL_NUMBERS

_PROTOCOLS: Final = {number: name.lower() for name, number in reversed(PROTOCOL_NUMBERS.items())}


def protocol_name(number: int) -> str:
    """``tcp``, ``udp``, ...; a number without a name as itself."""
    return _PROTOCOLS.get(number, str(number))


def protocol_number(text: str) -> int:
    """The number of a protocol given by name or number. Raises UsageError if there is none."""
    number = {name: number for number, name in _PROTOCOLS.items()}.get(text.lower())
    if number is None and text.isascii() and text.isdigit() and int(text) <= 255:
        number = int(text)
    if number is None:
        raise UsageError(
            f"protocol '{text}' is not known (known: {', '.join(_PROTOCOLS.values())}, 0 to 255)"
        )
    return number


def interface_name(index: int) -> str:
    """The interface's name in this network namespace; ``if7`` if it is gone."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return f"if{index}"


@dataclass(frozen=True, slots=True)
class Names:
    """What one generation's metadata calls things. Rule keys outlast generations, verdict ids do not."""

    generation: int = 0
    rules: dict[int, str] = field(default_factory=dict)
    verdicts: tuple[dict[str, Any], ...] = ()
    endpoints: tuple[str, ...] = ()

    @classmethod
    def of(cls, metadata: dict[str, Any]) -> Self:
        """The names in an image's metadata."""
        rules = {int(key): place for key, place in metadata.get("rules", {}).items()}
        verdicts, slots = tuple(metadata.get("verdicts", ())), tuple(metadata.get("slots", ()))
        return cls(metadata["generation"], rules, verdicts, slots)

    def rule(self, key: int) -> str:
        """Where a rule stands; empty for key 0; a key that is not in force is shown as a number."""
        if not key:
            return ""
        return self.rules.get(key) or f"rule {key:08x}"

    def logs(self, verdict: int) -> tuple[str, ...]:
        """The Log rules that lie before a verdict of this generation."""
        if verdict >= len(self.verdicts):
            return ()
        return tuple(self.rule(key) for key in self.verdicts[verdict]["logs"])


class Library:
    """Names by generation, read again when a generation turns up that is not known yet."""

    #: Generations remembered; an event is rarely older than the last policy or two.
    KEPT: Final = 8

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[int, Names] = {}
        self._stamp: tuple[int, int] | None = None
        #: Why the saved metadata could not be read; empty: it could.
        self.problem = ""
        self.refresh()

    def refresh(self) -> None:
        """Read what the agent has saved by now, unless it is what was read before."""
        stamp = _stamp(self._directory / METADATA)
        if stamp == self._stamp and stamp is not None:
            return
        self._stamp = stamp
        try:
            names = Names.of(load_metadata(self._directory))
        except AutohepError as error:
            self.problem = str(error)
            return
        self.problem = ""
        self._known.pop(names.generation, None)
        self._known[names.generation] = names
        while len(self._known) > self.KEPT:
            del self._known[next(iter(self._known))]

    def of(self, generation: int) -> Names | None:
        """The names of just this generation, if they are known."""
        if generation not in self._known:
            self.refresh()
        return self._known.get(generation)

    def newest(self) -> Names:
        """The last names read; empty ones if there were none."""
        return next(reversed(self._known.values()), Names())


def _stamp(path: Path) -> tuple[int, int] | None:
    """What tells one version of a file from the next."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
