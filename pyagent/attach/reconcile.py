"""Bring what is attached to what is wanted, with as few operations as possible, and report each interface."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from pyagent.abi import Direction
from pyagent.attach import tcx
from pyagent.attach.clsact import Clsact
from pyagent.attach.outcome import Change, Mode, Report
from pyagent.bpf import objects, syscall
from pyagent.bpf.pins import Pins
from pyagent.errors import AutohepError, KernelError

#: A hook: interface index and direction.
Place = tuple[int, Direction]
#: Which function it is to run: direction, and whether frames begin with the IP header.
Kind = tuple[Direction, bool]

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


@dataclass(frozen=True, slots=True)
class _Standing:
    """How a hook was left: what it runs, as (program id, link id), which program is ours, the report."""

    runs: list[tuple[int, int]]
    program: int
    report: Report


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
        self._standing: dict[Place, _Standing] = {}
        self._moves: Counter[Place] = Counter()
        #: Whether filters of an earlier run in the other mode may still be there.
        self._looked_for_filters = False

    def reconcile(self, wanted: Iterable[Want]) -> list[Report]:
        """Attach to all of ``wanted`` and to nothing else; one report per interface and direction.

        An interface that cannot be attached to has its error in its report and does not stop the others.
        """
        wants = list(wanted)
        programs = self._open_programs()
        try:
            with Clsact(self.pins) as clsact:
                self._adopt_links()
                holders = clsact.interfaces() if self._may_have_filters() else set()
                reports = self._all(clsact, holders, wants, programs)
                self._collect(clsact, holders, {want.ifindex for want in wants})
        finally:
            for fd, _ in programs.values():
                os.close(fd)
        if all(report.attached for report in reports):
            self._forget_other_versions()
        self._looked_for_filters = True
        return reports

    def disturbed(self) -> bool:
        """Whether another set of programs runs where ours are attached than after the last :meth:`reconcile`.

        One system call a hook. Only tcx needs it: netlink announces what happens to clsact.
        """
        return self.mode is Mode.TCX and any(
            _runs(*place) != standing.runs for place, standing in self._standing.items()
        )

    def _all(
        self, clsact: Clsact, holders: set[int], wants: list[Want], programs: dict[Kind, tuple[int, int]]
    ) -> list[Report]:
        """Attach to the new ones first: nobody filters them yet."""
        pinned = {(pin.ifindex, pin.direction) for pin in self.pins.links()}
        standing: dict[Place, _Standing] = {}
        for want in sorted(wants, key=lambda want: (want.ifindex, Direction.INGRESS) in self._standing):
            for direction in Direction:
                place = want.ifindex, direction
                fd, program = programs[direction, want.layer3]
                still = self._still(place, program) if place in pinned else None
                if still is not None:
                    report = replace(still.report, interface=want.interface, change=Change.NONE)
                else:
                    report = self._one(clsact, holders, want, direction, fd)
                standing[place] = _Standing(still.runs if still else _runs(*place), program, report)
        self._standing = {place: left for place, left in standing.items() if left.report.attached}
        return [standing[want.ifindex, direction].report for want in wants for direction in Direction]

    def _still(self, place: Place, program: int) -> _Standing | None:
        """How the hook was left, if it is so still and nothing is to be done: by one system call."""
        standing = self._standing.get(place)
        if self.mode is not Mode.TCX or standing is None or standing.program != program:
            return None
        return standing if standing.runs == _runs(*place) else None

    def _may_have_filters(self) -> bool:
        return self.mode is Mode.CLSACT or not self._looked_for_filters or bool(self.pins.qdiscs())

    def _open_programs(self) -> dict[Kind, tuple[int, int]]:
        """Descriptor and id of each program."""
        opened: dict[Kind, tuple[int, int]] = {}
        try:
            for key, name in PROGRAMS.items():
                fd = syscall.obj_get(self.pins.program(name))
                opened[key] = fd, 0
                opened[key] = fd, objects.program_info(fd).id
        except KernelError:
            for fd, _ in opened.values():
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
        if change is Change.ATTACHED and place in self._standing:
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
        if marked := set(self.pins.qdiscs()):
            for ifindex in marked - clsact.interfaces():
                self.pins.qdisc(ifindex).unlink(missing_ok=True)


def _runs(ifindex: int, direction: Direction) -> list[tuple[int, int]]:
    """What a tcx hook runs; nothing where the interface is gone, or there is no tcx."""
    try:
        return syscall.prog_query(ifindex, tcx.ATTACH_TYPE[direction])
    except KernelError:
        return []
