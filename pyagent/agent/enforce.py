"""One pass: from resources and the host's facts to what the kernel enforces. Blocks; one thread at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Final

from pyagent.abi import TableKind
from pyagent.agent.boot import Boot, Placement
from pyagent.agent.counting import Counting
from pyagent.agent.edits import Edits
from pyagent.agent.state import StateDirectory
from pyagent.attach import links
from pyagent.attach.keep import Keeper
from pyagent.attach.outcome import Change, Report, XdpReport
from pyagent.attach.reconcile import Reconciler, Want
from pyagent.attach.xdp import Xdp
from pyagent.bpf.pins import Pins
from pyagent.calc import Calculator, NodeView, World, settings
from pyagent.calc.configuration import Settings
from pyagent.calc.view import Failsafe
from pyagent.compiler import Compiler, Image
from pyagent.dataplane import UNKNOWN, Dataplane, Interface
from pyagent.dataplane.seed import seed
from pyagent.errors import AutohepError, CapacityError, DriftError, KernelError
from pyagent.model.facts import HostFacts

log = logging.getLogger(__name__)

#: Seconds between comparisons of what the kernel holds with what was put there.
CHECK_EVERY_S: Final = 300.0
#: Why an interface that is not excluded is not filtered.
NO_ENDPOINT: Final = "no host endpoint applies to it"
OF_A_WORKLOAD: Final = "of a workload, and no host endpoint names it"
#: What a failure of a pass is called in conditions; others come from compiling.
_CAUSES: Final = {CapacityError: "CapacityExceeded", DriftError: "ApplyFailed", KernelError: "ApplyFailed"}


@dataclass(frozen=True, slots=True)
class Enforced:
    """What a pass came to. ``problem`` says why the newest policy is not in force; empty: it is.

    ``restored``: the image is that of an earlier run, for there is no datastore to ask. ``drifts``: how often
    the kernel held something else than was put there, and was put right; ``last_drift`` says what last.
    ``covered``: host endpoint -> its interfaces. ``unfiltered``: interfaces that no endpoint is on and nobody
    excluded. ``cause``: a word for ``problem``. ``took``: seconds until a new generation was in force, 0:
    there is no new one.
    """

    generation: int = 0
    interfaces: tuple[Report, ...] = ()
    xdp: tuple[XdpReport, ...] = ()
    excluded: dict[str, str] = field(default_factory=dict)
    uncovered: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    problem: str = ""
    restored: bool = False
    drifts: int = 0
    last_drift: str = ""
    covered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unfiltered: dict[str, str] = field(default_factory=dict)
    cause: str = ""
    took: float = 0.0

    @property
    def protected(self) -> bool:
        """Whether every interface that an endpoint covers has our programs, with the newest policy."""
        return bool(self.interfaces) and not self.problem and not self.uncovered


class Enforcer:
    """Keeps one node's kernel in step with its view; what did not change is not done again.

    ``xdp_interfaces``: shell globs of interfaces that are to have XDP for doNotTrack policies although they
    are no physical ones. ``check_every``: seconds between comparisons of what the kernel holds with what was
    put there. ``own_failsafes``: ports that stay open besides those of the configuration. ``remounted``: see
    :class:`Keeper`.
    """

    def __init__(
        self,
        node: str,
        pins: Pins,
        dataplane: Dataplane,
        state: StateDirectory,
        xdp_interfaces: Sequence[str] = (),
        *,
        check_every: float = CHECK_EVERY_S,
        own_failsafes: tuple[Failsafe, ...] = (),
        remounted: Callable[[], None] | None = None,
    ) -> None:
        self._node = node
        self._dataplane = dataplane
        self._state = state
        self._reconciler = Reconciler(pins)
        self._keeper = Keeper(pins, remounted)
        self._xdp = Xdp(pins)
        self._xdp_interfaces = xdp_interfaces
        self._own_failsafes = own_failsafes
        self._pinned: tuple[object, ...] = ()
        self._calculator = Calculator()
        self._compiler = Compiler()
        self._in_force: NodeView | None = None
        self._seen: dict[str, int] = {}
        self._check_every = check_every
        self._checked = time.monotonic()
        self._drifts: list[str] = []
        self._kept: tuple[int, Placement] | None = None
        self._unsaved: Image | None = None
        self._counting = Counting(dataplane, state)
        self._edits = Edits(dataplane)
        self._last: tuple[World, Enforced] | None = None
        # What the image in force was made for, if it was.
        self._right_for: World | None = None

    def enforce(self, world: World) -> Enforced:
        """Put in force what ``world`` means for this host as it is now.

        A policy set that cannot be compiled or written leaves the last one in force and is reported.
        """
        with self._dataplane.images_held():
            enforced = self._edit(world)
            if enforced is None:
                self._right_for = None
                enforced = self._enforce(world)
                self._pinned = self._pins_present()
        self._right_for = None if enforced.problem else world
        self._last = world, enforced
        return enforced

    def _edit(self, world: World) -> Enforced | None:
        """Do no more than edit the image in place, if all that changed are other nodes; else None."""
        if self._right_for in (None, world) or self._last is None or not self._edits.possible:
            return None
        moves = self._calculator.moves(world)
        if moves is None:
            return None
        try:
            made = self._edits.make(moves)
        except AutohepError as error:
            log.error("image not edited in place, policy is compiled reason=%r", str(error))
            made, self._in_force = False, None
        if not made:
            self._calculator.forget()
            return None
        return self._last[1]

    def _enforce(self, world: World) -> Enforced:
        self._check()
        self._counting.checkpoint()
        configured = settings(world, self._node)
        present = links.list_links()
        facts = links.host_facts(self._node, present, configured.is_workload)
        view = self._with_own(self._calculator.view(world, facts))
        excluded = {**view.excluded, **_bridge_ports(present, view)}
        problem = cause = ""
        begun, took = time.monotonic(), 0.0
        try:
            if self._must_compile(view):
                self._compile(view, facts, excluded)
                took = time.monotonic() - begun
            else:
                self._dataplane.set_interfaces(self._interfaces(view, facts, excluded))
                self._in_force = view
        except AutohepError as error:
            problem, cause = str(error), _CAUSES.get(type(error), "CompileFailed")
            log.error("policy not enforced generation=%d reason=%r", self._dataplane.generation, problem)
            if self._in_force is not None:
                view = _as_in_force(view, self._in_force)
                self._cover(view, facts, excluded)
        reports = self._attach(view, facts, excluded)
        self._save()
        self._keep_for_boot(view, configured)
        for warning in view.warnings:
            if warning not in self._seen:
                log.warning("policy warning=%r", warning)
        self._seen = dict.fromkeys(view.warnings, 1)
        return Enforced(
            generation=self._dataplane.generation,
            interfaces=tuple(reports),
            xdp=tuple(self._attach_early(present, excluded)),
            excluded=excluded,
            uncovered=tuple(sorted({report.interface for report in reports if not report.attached})),
            warnings=view.warnings,
            problem=problem,
            drifts=len(self._drifts),
            last_drift=self._drifts[-1] if self._drifts else "",
            covered=_covered(view, excluded),
            unfiltered=_unfiltered(facts, view, excluded),
            cause=cause,
            took=took,
        )

    def restore(self) -> Enforced:
        """Without a datastore: put in force what an earlier run saved, and cover the interfaces there are.

        What is in force already stays; only interfaces that came meanwhile are covered then.
        """
        try:
            boot = self._state.read_boot()
        except AutohepError as error:
            return Enforced(self._dataplane.generation, problem=str(error))
        if boot is None:
            return Enforced(problem="no datastore, and no image of an earlier run: nothing is enforced")
        present = links.list_links()
        facts = links.host_facts(self._node, present, boot.placement.is_workload)
        view = boot.view(self._node, facts)
        excluded = {**view.excluded, **_bridge_ports(present, view)}
        interfaces = self._interfaces(view, facts, excluded)
        in_force = self._dataplane.generation
        if not in_force:
            self._seed(facts)
            self._dataplane.apply(boot.image, interfaces, boot.placement.failsafes)
            self._counting.replaced(boot.image)
            log.warning("no datastore, saved policy in force generation=%d", boot.image.generation)
        elif not (problem := self._dataplane.difference(boot.image)):
            self._dataplane.set_interfaces(interfaces)
        else:
            return Enforced(in_force, problem=f"{problem}; what is in force stays as it is")
        reports = self._attach(view, facts, excluded)
        return Enforced(
            generation=self._dataplane.generation,
            interfaces=tuple(reports),
            excluded=excluded,
            uncovered=tuple(sorted({report.interface for report in reports if not report.attached})),
            restored=True,
            covered=_covered(view, excluded),
            unfiltered=_unfiltered(facts, view, excluded),
        )

    def disturbed(self) -> bool:
        """Whether somebody meddled with our programs since the last pass, as far as a quick look tells."""
        return self._pinned != self._pins_present() or self._reconciler.disturbed()

    def _pins_present(self) -> tuple[object, ...]:
        pins = self._reconciler.pins
        return pins.maps(), pins.programs(), pins.links(), pins.xdp_links()

    def as_it_was(self, problem: str) -> Enforced:
        """What is in force, after a pass that failed for ``problem`` before it had a result."""
        last = self._last[1] if self._last is not None else Enforced(self._dataplane.generation)
        return replace(last, problem=problem, cause="PassFailed", took=0.0)

    def _with_own(self, view: NodeView) -> NodeView:
        if not self._own_failsafes:
            return view
        return replace(view, failsafes=(*view.failsafes, *self._own_failsafes))

    def _check(self) -> None:
        """Compare the kernel with what was put there; a difference is put right by this very pass."""
        if time.monotonic() - self._checked < self._check_every:
            return
        self._checked = time.monotonic()
        try:
            self._dataplane.verify()
        except DriftError as error:
            self._drifts.append(str(error))
            self._in_force = None
            self._edits.end()
            self._calculator.forget()
            log.error("self-check failed, policy is applied anew reason=%r", str(error))

    def _seed(self, facts: HostFacts) -> None:
        """Before the first policy: what is under way goes on. That it cannot be known stops nothing."""
        flows = self._dataplane.map("flows4"), self._dataplane.map("flows6")
        try:
            count = seed(*flows, facts.addresses)
        except AutohepError as error:
            log.warning("flows under way are not known reason=%r", str(error))
        else:
            log.info("flows under way count=%d", count)

    def _save(self) -> None:
        """Keep the image in force on disk for inspection; what a full disk refused is tried again."""
        if self._unsaved is not None:
            if self._state.write_image(self._unsaved):
                self._unsaved = None
        elif self._edits.unsaved():
            sizes = self._edits.sizes(self._calculator.sizes())
            self._state.update_image(self._dataplane.image_in_force(), sizes)
            self._kept = None

    def _keep_for_boot(self, view: NodeView, configured: Settings) -> None:
        """Keep on disk what a start without datastore needs; a disk that is full stops nothing."""
        if self._in_force is not view:
            return
        generation, placement = self._dataplane.generation, Placement.of(view, configured)
        if self._kept == (generation, placement):
            return
        slots = tuple(endpoint.name for endpoint in view.endpoints)
        image = Image(bytearray(self._dataplane.image_in_force()), generation, {}, slots)
        try:
            self._state.write_boot(Boot(image, placement))
        except OSError as error:
            log.warning("policy not saved for a start without datastore reason=%r", str(error))
        else:
            self._kept = generation, placement

    def _must_compile(self, view: NodeView) -> bool:
        return self._in_force is None or _tables_of(view) != _tables_of(self._in_force)

    def _compile(self, view: NodeView, facts: HostFacts, excluded: dict[str, str]) -> None:
        begun = time.monotonic()
        image = self._compiler.compile(view, self._dataplane.next_generation, self._dataplane.image_bytes)
        compiled = time.monotonic()
        interfaces = self._interfaces(view, facts, excluded)
        if not self._dataplane.generation:
            self._seed(facts)
        self._dataplane.apply(image, interfaces, view.failsafes)
        self._in_force = view
        self._edits.begin(image)
        self._unsaved = image
        log.info(
            "policy in force generation=%d endpoints=%d rules=%d bytes=%d compile_ms=%.1f apply_ms=%.1f",
            image.generation,
            len(view.endpoints),
            len(image.metadata["rules"]),
            len(image.data),
            (compiled - begun) * 1e3,
            (time.monotonic() - compiled) * 1e3,
        )
        self._counting.replaced(image)
        self._calculator.prepare()

    def _cover(self, view: NodeView, facts: HostFacts, excluded: dict[str, str]) -> None:
        """Tell the program of the interfaces there are, within the image in force."""
        try:
            self._dataplane.set_interfaces(self._interfaces(view, facts, excluded))
        except AutohepError as error:
            log.error("interfaces not covered reason=%r", str(error))

    def _interfaces(self, view: NodeView, facts: HostFacts, excluded: dict[str, str]) -> list[Interface]:
        names = [endpoint.name for endpoint in view.endpoints]
        numbers = self._state.endpoint_numbers(names)

        def interface(index: int, slot: int | None, **facts_of_it: bool) -> Interface:
            return Interface(index, slot, 0 if slot is None else numbers[names[slot]], **facts_of_it)

        found = [
            interface(
                each.index,
                view.interfaces.get(each.name),
                workload=each.workload,
                excluded=each.name in excluded,
                layer3=each.layer3,
            )
            for each in facts.interfaces
        ]
        return [*found, interface(UNKNOWN, view.wildcard)]

    def _attach(self, view: NodeView, facts: HostFacts, excluded: dict[str, str]) -> list[Report]:
        if not self._dataplane.generation:
            return []  # nothing is attached before the first image is complete
        wanted = [
            Want(interface.name, interface.index, interface.layer3)
            for interface in facts.interfaces
            if interface.name in view.interfaces and interface.name not in excluded
        ]
        self._keeper.mend()
        reports = self._reconciler.reconcile(wanted)
        self._keeper.hold()
        for report in reports:
            _tell(report)
        return reports

    def _attach_early(self, present: tuple[links.Link, ...], excluded: dict[str, str]) -> list[XdpReport]:
        """XDP where the policy in force denies untracked traffic; elsewhere it would only cost time."""
        view = self._in_force
        wanted = []
        for link in present:
            slot = view.interfaces.get(link.name) if view is not None else None
            if view is None or slot is None or link.name in excluded or not self._may_have_xdp(link):
                continue
            if TableKind.UNTRACKED_INGRESS in view.endpoints[slot].tables:
                wanted.append((link.name, link.index))
        reports = self._xdp.reconcile(wanted)
        for report in reports:
            _tell_early(report)
        return reports

    def _may_have_xdp(self, link: links.Link) -> bool:
        named = any(fnmatchcase(link.name, pattern) for pattern in self._xdp_interfaces)
        return link.physical or (named and not link.layer3)


def _tables_of(view: NodeView) -> tuple[object, ...]:
    """What an image and the failsafes are made of; the rest is interfaces."""
    return (
        view.endpoints,
        view.wildcard,
        view.host,
        view.nodes,
        view.failsafes,
        view.tunnels,
        view.node_ports,
        view.redirected,
        view.pod_to_host,
    )


def _as_in_force(view: NodeView, in_force: NodeView) -> NodeView:
    """The newest view's interfaces with the endpoints of the image that stays in force."""
    slots = {endpoint.name: endpoint.slot for endpoint in in_force.endpoints}
    names = [endpoint.name for endpoint in view.endpoints]
    # An endpoint that the image does not know yet: its interfaces keep what they had.
    covered = {
        name: slots.get(names[slot], in_force.interfaces.get(name, in_force.wildcard))
        for name, slot in view.interfaces.items()
    }
    return replace(in_force, interfaces={name: slot for name, slot in covered.items() if slot is not None})


def _covered(view: NodeView, excluded: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The interfaces of each host endpoint."""
    found: dict[str, list[str]] = {endpoint.name: [] for endpoint in view.endpoints}
    names = [endpoint.name for endpoint in view.endpoints]
    for interface, slot in sorted(view.interfaces.items()):
        if interface not in excluded:
            found[names[slot]].append(interface)
    return {endpoint: tuple(interfaces) for endpoint, interfaces in found.items()}


def _unfiltered(facts: HostFacts, view: NodeView, excluded: Mapping[str, str]) -> dict[str, str]:
    """Interfaces that no endpoint applies to, and why that is as it should be."""
    return {
        each.name: OF_A_WORKLOAD if each.workload else NO_ENDPOINT
        for each in sorted(facts.interfaces, key=lambda each: each.name)
        if each.name not in view.interfaces and each.name not in excluded
    }


def _bridge_ports(present: tuple[links.Link, ...], view: NodeView) -> dict[str, str]:
    """Ports of a bridge that is filtered itself under the same endpoint: their packets would count twice."""
    by_index = {link.index: link for link in present}
    found = {}
    for link in present:
        master = by_index.get(link.master)
        if not link.bridge_port or master is None or master.name not in view.interfaces:
            continue
        if view.interfaces.get(link.name) == view.interfaces[master.name]:
            found[link.name] = f"port of bridge {master.name}, which is filtered"
    return found


def _tell(report: Report) -> None:
    place = f"interface={report.interface} direction={report.direction.name.lower()}"
    if report.error:
        log.error("interface unprotected %s reason=%r", place, report.error)
    elif report.change is not Change.NONE:
        log.info("interface %s %s mode=%s", report.change.value, place, report.mode)
    if report.overtaken_by:
        log.warning("interface overtaken %s by=%s", place, ",".join(report.overtaken_by))


def _tell_early(report: XdpReport) -> None:
    if report.error or report.held_by:
        reason = report.error or f"held by {report.held_by}"
        log.debug("xdp not attached, tc judges alone interface=%s reason=%r", report.interface, reason)
    elif report.change is not Change.NONE:
        log.info("xdp %s interface=%s mode=%s", report.change.value, report.interface, report.mode)
