"""Attach by a filter of the clsact queueing discipline: works on every kernel, and needs no pin to last.

Our filter has one fixed priority and handle and is only ever added or replaced in place, which is atomic.
Other people's filters and queueing disciplines are not touched.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

from pyagent.abi import Direction
from pyagent.attach.netlink import IPRoute, NetlinkError, sched_bpf
from pyagent.attach.outcome import Change
from pyagent.bpf import objects, syscall
from pyagent.bpf.pins import Pins
from pyagent.errors import KernelError

PRIORITY: Final = 1
HANDLE: Final = 0x48455031
#: Names of our filters and programs begin so.
PREFIX: Final = "autohep_"
PARENT: Final = {Direction.INGRESS: 0xFFFFFFF2, Direction.EGRESS: 0xFFFFFFF3}
_ETH_P_ALL: Final = 3


class _BpfOptions(sched_bpf.options):  # type: ignore[misc]
    """The filter's attributes, with the three that pyroute2 does not decode."""

    nla_map = (
        *sched_bpf.options.nla_map,
        ("TCA_BPF_FLAGS_GEN", "uint32"),
        ("TCA_BPF_TAG", "hex"),
        ("TCA_BPF_ID", "uint32"),
    )


sched_bpf.options = _BpfOptions


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter; ``program_id`` 0: not a BPF filter, or a kernel that does not say."""

    priority: int
    handle: int
    kind: str
    name: str
    program_id: int

    @property
    def ours(self) -> bool:
        """Tell whether we attached it."""
        return self._place == (PRIORITY, HANDLE) and self.name.startswith(PREFIX)

    @property
    def in_our_place(self) -> bool:
        """Tell whether it has our priority and handle, whoever attached it."""
        return self._place == (PRIORITY, HANDLE)

    @property
    def _place(self) -> tuple[int, int]:
        return self.priority, self.handle


class Clsact:
    """One netlink conversation about filters, begun when needed. Use it as a context manager; it blocks."""

    def __init__(self, pins: Pins) -> None:
        self._pins = pins
        self._begun: IPRoute | None = None

    @property
    def _netlink(self) -> IPRoute:
        self._begun = self._begun or IPRoute()
        return self._begun

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._begun is not None:
            self._begun.close()

    def interfaces(self) -> set[int]:
        """Return the indices of interfaces that have the clsact queueing discipline."""
        with _kernel("list queueing disciplines"):
            found = self._netlink.get_qdiscs()
            return {qdisc["index"] for qdisc in found if qdisc.get_attr("TCA_KIND") == "clsact"}

    def filters(self, ifindex: int, direction: Direction) -> list[Filter]:
        """Return the filters of a hook in the order they run; none if it has no clsact."""
        with _kernel(f"list filters of interface {ifindex}"):
            messages = self._netlink.get_filters(index=ifindex, parent=PARENT[direction])
            return [_filter(message) for message in messages if message.get_attr("TCA_OPTIONS")]

    def ensure(self, ifindex: int, direction: Direction, program_fd: int) -> Change:
        """Have the program in our filter of that hook, and a clsact to hold it."""
        info = objects.program_info(program_fd)
        if ifindex not in self.interfaces():
            self._add_qdisc(ifindex, program_fd)
        place = [one for one in self.filters(ifindex, direction) if one.in_our_place]
        if place and not place[0].ours:
            hint = f"priority {PRIORITY} handle {HANDLE:#x} is taken by {place[0].name or place[0].kind}"
            raise KernelError(f"attach to interface {ifindex}", errno.EEXIST, hint)
        if place and place[0].program_id == info.id:
            return Change.NONE
        with _kernel(f"attach filter to interface {ifindex}"):
            self._netlink.tc(
                "replace-filter", "bpf", index=ifindex, handle=HANDLE, parent=PARENT[direction],
                prio=PRIORITY, protocol=_ETH_P_ALL, fd=program_fd, name=info.name, direct_action=True,
            )  # fmt: skip
        return Change.REPLACED if place else Change.ATTACHED

    def before_ours(self, ifindex: int, direction: Direction) -> list[Filter]:
        """Return the filters that run before ours; all if ours is not there."""
        before = []
        for one in self.filters(ifindex, direction):
            if one.ours:
                break
            before.append(one)
        return before

    def detach(self, ifindex: int, direction: Direction) -> bool:
        """Remove our filter from a hook; False if there was none."""
        if not any(one.ours for one in self.filters(ifindex, direction)):
            return False
        with _kernel(f"remove filter from interface {ifindex}"):
            self._netlink.tc(
                "del-filter", "bpf", index=ifindex, handle=HANDLE, parent=PARENT[direction],
                prio=PRIORITY, protocol=_ETH_P_ALL,
            )  # fmt: skip
        return True

    def remove_qdisc(self, ifindex: int) -> bool:
        """Remove the clsact of an interface if we made it and it is empty; True if it is gone now."""
        marker = self._pins.qdisc(ifindex)
        if not marker.exists() or any(self.filters(ifindex, direction) for direction in Direction):
            return False
        with _kernel(f"remove clsact from interface {ifindex}"):
            self._netlink.tc("del", "clsact", index=ifindex)
        marker.unlink(missing_ok=True)
        return True

    def _add_qdisc(self, ifindex: int, program_fd: int) -> None:
        hint = "a queueing discipline called ingress is in the way"
        with _kernel(f"add clsact to interface {ifindex}", hint):
            self._netlink.tc("add", "clsact", index=ifindex)
        # A bpffs holds nothing but objects: a second pin of the program marks the clsact as ours.
        marker = self._pins.qdisc(ifindex)
        marker.unlink(missing_ok=True)
        syscall.obj_pin(program_fd, marker)


def _filter(message: Any) -> Filter:
    options = message.get_attr("TCA_OPTIONS")
    kind = message.get_attr("TCA_KIND")
    is_bpf = kind == "bpf"
    return Filter(
        priority=message["info"] >> 16,
        handle=message["handle"],
        kind=kind,
        name=(options.get_attr("TCA_BPF_NAME") if is_bpf else None) or "",
        program_id=(options.get_attr("TCA_BPF_ID") if is_bpf else None) or 0,
    )


@contextmanager
def _kernel(operation: str, exists_hint: str = "") -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        raise KernelError(operation, error.code, exists_hint if error.code == errno.EEXIST else "") from error
