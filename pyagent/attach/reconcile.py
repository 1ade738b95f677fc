"""Bring what is attached to what is wanted, with as few operations as possible, and report each interface."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from pyagent.abi import Direction
from pyagent.attach import tcx
from pyagent.attach.clsact import Clsact
from pyagent.attach.outcome import Change, Mode, Report
from pyagent.bpf import objects, syscall
from pyagent.bpf.pins import Pins
from pyagent.errors import AutohepError, KernelError

#: Function of the firewall by direction and by whether frames begin with the IP header.
PROGRAMS: Final = {
    (Direction.INGRESS, False): "tc_ingress",
    (Direction.EGRESS, False): "tc_egress",
    (Direction.INGRESS, True): "tc_ingress_l3",
    (Direction.EGRESS, True): "tc_egress_l3",
}
#: How often we go before the same neighbour on one hook before we leave it at reporting.
MOVES_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Want:
    """An interface that is to have our programs, in both directions."""

    interface: str
    ifindex: int
    layer3: bool = False


class Reconciler:
    """Keeps our programs attached. It blocks: call it from a thread, and from one at a time.

    What another ABI version of the same instance left attached is taken over and its directory removed, so no
    two agents may work on one instance at a time.
    ``mode`` None: tcx where the kernel has it, clsact otherwise.
    """

    def __init__(self, pins: Pins, mode: Mode | None = None) -> None:
        self.pins = pins
        self.mode = mode or (Mode.TCX if tcx.available() else Mode.CLSACT)
        self._has_tcx = self.mode is Mode.TCX or tcx.available()
        self._attached: set[tuple[int, Direction]] = set()
        self._moves: Counter[tuple[int, Direction]] = Counter()
        self._order: dict[tuple[int, Direction], list[int]] = {}

    def reconcile(self, wanted: Iterable[Want]) -> list[Report]:
        """Attach to all of ``wanted`` and to nothing else; one report per interface and direction.

        An interface that cannot be attached to has its error in its report and does not stop the others.
        """
        wants = list(wanted)
        programs = self._open_programs()
        try:
            with Clsact(self.pins) as clsact:
                self._adopt_links()
                holders = clsact.interfaces()
                reports = [
                    self._one(clsact, holders, want, direction, programs[direction, want.layer3])
                    for want in wants
                    for direction in Direction
                ]
                self._collect(clsact, holders, {want.ifindex for want in wants})
        finally:
            for fd in programs.values():
                os.close(fd)
        if all(report.attached for report in reports):
            self._forget_other_versions()
        self._attached = {(report.ifindex, report.direction) for report in reports if report.attached}
        self._order = self._present_order()
        return reports

    def disturbed(self) -> bool:
        """Whether another set of programs runs where ours are attached than after the last :meth:`reconcile`.

        One system call a hook. Only tcx needs it: netlink announces what happens to clsact.
        """
        try:
            return self._order != self._present_order()
        except KernelError:  # an interface is gone
            return True

    def _present_order(self) -> dict[tuple[int, Direction], list[int]]:
        if self.mode is not Mode.TCX:
            return {}
        return {
            (ifindex, direction): tcx.programs(ifindex, direction) for ifindex, direction in self._attached
        }

    def _open_programs(self) -> dict[tuple[Direction, bool], int]:
        opened: dict[tuple[Direction, bool], int] = {}
        try:
            for key, name in PROGRAMS.items():
                opened[key] = syscall.obj_get(self.pins.program(name))
        except KernelError:
            for fd in opened.values():
                os.close(fd)
            raise
        return opened

    def _one(
        self, clsact: Clsact, holders: set[int], want: Want, direction: Direction, program_fd: int
    ) -> Report:
        place = want.ifindex, direction
        try:
            change = self._ensure(clsact, holders, want.ifindex, direction, program_fd)
            before = self._before_ours(clsact, want.ifindex, direction)
            if before and self.mode is Mode.TCX and self._moves[place] < MOVES_MAX:
                self._moves[place] += 1
                tcx.move_first(self.pins, want.ifindex, direction, program_fd)
                before = self._before_ours(clsact, want.ifindex, direction)
                change = Change.REPAIRED if change is Change.NONE else change
        except AutohepError as error:
            return Report(want.interface, want.ifindex, direction, error=str(error))
        if change is Change.ATTACHED and place in self._attached:
            change = Change.REPAIRED
        return Report(want.interface, want.ifindex, direction, self.mode, change, tuple(before))

    def _ensure(
        self, clsact: Clsact, holders: set[int], ifindex: int, direction: Direction, program_fd: int
    ) -> Change:
        """Attach in our mode first, and only then take what an earlier mode left there away."""
        if self.mode is Mode.TCX:
            change = tcx.ensure(self.pins, ifindex, direction, program_fd)
            if ifindex in holders:
                clsact.detach(ifindex, direction)
            return change
        change = clsact.ensure(ifindex, direction, program_fd)
        for pin in self.pins.links():
            if (pin.ifindex, pin.direction) == (ifindex, direction):
                tcx.detach(pin)
        return change

    def _before_ours(self, clsact: Clsact, ifindex: int, direction: Direction) -> list[str]:
        """Name who runs before us: all of tcx runs before all of clsact."""
        programs = tcx.before_ours(self.pins, ifindex, direction) if self._has_tcx else []
        names = [objects.program_name(program) for program in programs]
        if self.mode is Mode.CLSACT:
            names += [one.name or one.kind for one in clsact.before_ours(ifindex, direction)]
        return names

    def _adopt_links(self) -> None:
        """Take over the links that another version of the agent pinned, so that there is never a gap."""
        for other in self.pins.other_versions():
            for pin in other.links():
                own = self.pins.link(pin.ifindex, pin.direction)
                if not own.exists():
                    pin.path.rename(own)
            for ifindex in other.xdp_links():
                own = self.pins.xdp(ifindex)
                if not own.exists():
                    other.xdp(ifindex).rename(own)

    def _forget_other_versions(self) -> None:
        for other in self.pins.other_versions():
            for ifindex in other.qdiscs():
                own = self.pins.qdisc(ifindex)
                if not own.exists():
                    other.qdisc(ifindex).rename(own)
            other.remove()

    def _collect(self, clsact: Clsact, holders: set[int], wanted: set[int]) -> None:
        """Detach from interfaces that are not wanted any more, and remove pins of those that are gone."""
        for pin in self.pins.links():
            if pin.ifindex not in wanted or (self.mode is Mode.TCX and tcx.is_stale(pin)):
                tcx.detach(pin)
        for ifindex in holders - (wanted if self.mode is Mode.CLSACT else set()):
            with suppress(KernelError):  # an interface that goes away meanwhile takes its filters along
                for direction in Direction:
                    clsact.detach(ifindex, direction)
                clsact.remove_qdisc(ifindex)
        for ifindex in set(self.pins.qdiscs()) - clsact.interfaces():
            self.pins.qdisc(ifindex).unlink(missing_ok=True)
