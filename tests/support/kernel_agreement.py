"""Do the reference, the compiled image and the kernel agree on a frame?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from pyagent import manifest
from pyagent.abi import Direction, Reason, TableKind
from pyagent.compiler.pipeline import Judged
from pyagent.model.packet import ICMP_PROTOCOLS, Packet
from pyagent.reference import Decision, DirectionName, FlowState
from tests.support.agreement import SHRINKS, Engines, shrink
from tests.support.flows import Memory, Sight, flow_entry, flow_key, is_error
from tests.support.frames import EXTENSIONS, Wrapping, datagram, frame, random_wrapping
from tests.support.generate import RandomWorld
from tests.support.generate_packets import Case, random_cases
from tests.support.kernel import Installed, Kernel, Observed

#: Stands in for next headers that no IPv6 packet has as its protocol.
_OTHER_PROTOCOL = 253
_FORWARD = {TableKind.FORWARD_INGRESS, TableKind.FORWARD_EGRESS}
#: What the program remembers, in the reference's words.
_FLOW_STATES = {
    Reason.NONE: FlowState.NEW,
    Reason.FLOW: FlowState.ESTABLISHED,
    Reason.FRAGMENT: FlowState.ESTABLISHED,
    Reason.RELATED: FlowState.RELATED,
}


@dataclass(frozen=True, slots=True)
class Sent:
    """A case as it travels. ``about``: the packet that an ICMP error is about."""

    case: Case
    wrapping: Wrapping
    about: Packet | None = None

    @property
    def direction(self) -> Direction:
        return Direction[self.case.direction.upper()]

    @property
    def frame(self) -> bytes:
        return frame(self.case.packet, self.wrapping)

    @property
    def key(self) -> bytes | None:
        """The key of its flow."""
        return flow_key(self.case.packet, self.direction, self.wrapping.identifier)

    @property
    def about_key(self) -> bytes | None:
        """The key of the flow that an ICMP error is about; the packet in it went the other way."""
        if self.about is None:
            return None
        return flow_key(self.about, _opposite(self.direction), self.wrapping.identifier)

    @property
    def received(self) -> str:
        if not self.case.received:
            return ""
        return "eth1" if self.case.interface == "eth0" else "eth0"


def _opposite(direction: Direction) -> Direction:
    return Direction.EGRESS if direction is Direction.INGRESS else Direction.INGRESS


@dataclass(frozen=True, slots=True)
class Answers:
    """What each engine says; the reference is not asked what it has no word for."""

    kernel: Observed
    image: Judged
    reference: Decision | None
    known: Reason = Reason.NONE

    @property
    def difference(self) -> str:
        """What they differ in; empty: nothing."""
        expected = self.image.reason
        if expected is Reason.TUNNEL and self.known is Reason.FLOW:
            expected = Reason.FLOW  # both pass; the program asks the cheaper question first
        said = {"kernel": self.kernel.reason, "image": expected}
        if self.reference is not None:
            named = self.reference.reason
            if self.known in (named, Reason.FRAGMENT) and named is Reason.FLOW:
                named = self.known
            said["reference"] = Reason.FLOW if named is Reason.TUNNEL and self.known is Reason.FLOW else named
        if len(set(said.values())) == 1:
            return ""
        return ", ".join(f"{engine}: {reason.name}" for engine, reason in said.items())


class Trio:
    """All three engines with one world in force, for packets by themselves, then for packets in turn."""

    def __init__(self, kernel: Kernel, world: RandomWorld) -> None:
        self.world = world
        self.engines = Engines(world, kernel.dataplane.next_generation)
        self._installed = kernel.install(Installed(self.engines.view, self.engines.image), world.facts)
        self._kernel = kernel
        self._memory = Memory()
        #: Verdict id -> packets it should have judged.
        self.hits: Counter[int] = Counter()
        self._hits_before = self._counted(range(len(self.engines.image.metadata["verdicts"])))

    # -- one packet by itself

    def alone(self, sent: Sent) -> Answers:
        """Ask about a packet of which nothing is known but ``case.flow``; nothing is kept of it."""
        self._seed(sent)
        answers = self._ask(sent, _known(sent.case.flow))
        self._forget(sent)
        return answers

    def _seed(self, sent: Sent) -> None:
        flow = {FlowState.ESTABLISHED: sent.key, FlowState.RELATED: sent.about_key}.get(sent.case.flow)
        if flow is not None:
            entry = flow_entry(_opposite(sent.direction), 0, self._kernel.jiffies())
            self._flows(sent).set(flow, entry)

    def _forget(self, sent: Sent) -> None:
        for key in (sent.key, sent.about_key):
            if key is not None:
                self._flows(sent).delete(key)

    def _flows(self, sent: Sent) -> Any:
        return self._kernel.dataplane.map(f"flows{sent.case.packet.version}")

    # -- one packet after the other

    def in_turn(self, sent: Sent) -> Answers:
        """Ask about a packet after those before it."""
        case = sent.case
        endpoint = self._installed.slot(case.interface) or 0
        sight = Sight(case.packet, sent.wrapping, case.interface, sent.direction, endpoint)
        answers = self._ask(sent, self._memory.known(sight, sent.about_key))
        self._memory.learn(sight, answers.kernel.reason, tracks_forwarded=self._tracks_forwarded(sent))
        return answers

    def _tracks_forwarded(self, sent: Sent) -> bool:
        packet, pipeline = sent.case.packet, self.engines.pipeline
        slot = self._installed.slot(sent.case.interface)
        if slot is None:
            return False
        if not _FORWARD.isdisjoint(self.engines.view.endpoints[slot].tables):
            return True
        if sent.direction is Direction.EGRESS:
            return bool(pipeline.walker.address_flags(packet.version, packet.source) & 1)
        own = bool(pipeline.walker.address_flags(packet.version, packet.destination) & 1)
        return own and pipeline.is_redirected(slot, packet)

    # -- asking

    def _ask(self, sent: Sent, known: Reason) -> Answers:
        case = sent.case
        observed = self._kernel.run(sent.frame, case.interface, sent.direction, received=sent.received)
        judged = self.engines.pipeline.judge(
            case.interface, sent.direction, case.packet, received=case.received, known=known
        )
        for _, walked in judged.walked:
            self.hits[walked.verdict_id] += 1
        decision = None
        if known in _FLOW_STATES:
            decision = self.engines.reference.evaluate(
                case.interface, case.direction, case.packet, forwarded=case.received or None,
                flow=_FLOW_STATES[known],
            )  # fmt: skip
        return Answers(observed, judged, decision, known)

    def left_over(self) -> list[str]:
        """What should not be there after packets that were alone: flows, and verdicts counted amiss.

        Forgets first fragments, so that packets may come in turn now.
        """
        flows = [
            f"flow {key.hex()}"
            for name in ("flows4", "flows6")
            for key in self._kernel.dataplane.map(name).keys()  # noqa: SIM118  (a Map is no dict)
        ]
        self._kernel.forget()
        return flows + self.miscounted()

    def miscounted(self) -> list[str]:
        """Verdict ids that were not counted as often as they judged."""
        after = self._counted(self._hits_before)
        return [
            f"verdict {number} was counted {after[number] - before} times, not {self.hits[number]}"
            for number, before in self._hits_before.items()
            if after[number] - before != self.hits[number]
        ]

    def _counted(self, verdicts: Any) -> dict[int, int]:
        return {number: self._kernel.hits(number)[0] for number in verdicts}


def _known(flow: FlowState) -> Reason:
    return next(reason for reason, state in _FLOW_STATES.items() if state is flow)


# -- cases as frames


def sent_cases(world: RandomWorld, seed: int, count: int) -> Iterator[Sent]:
    """``count`` packets at the world's host, each travelling in one of many ways."""
    random = Random(~seed)
    for number, case in enumerate(random_cases(world, seed, count)):
        yield send(random, case, number + 1)


def send(random: Random, case: Case, number: int) -> Sent:
    """A way for the case to travel; ``number`` tells its datagram from others."""
    packet = case.packet
    if packet.version == 6 and packet.protocol in EXTENSIONS:
        packet = replace(packet, protocol=_OTHER_PROTOCOL)
    wrapping = replace(random_wrapping(random, packet), fragment_id=number & 0xFFFF)
    about = None
    if case.flow is FlowState.RELATED and is_error(packet):
        about = Packet(packet.version, packet.destination, packet.source, 17, 1000, 53)
        wrapping = replace(wrapping, payload=datagram(about))
    case = replace(case, packet=packet)
    has_flow = flow_key(packet, Direction.INGRESS, wrapping.identifier) is not None
    if (case.flow is FlowState.ESTABLISHED and not has_flow) or (
        case.flow is FlowState.RELATED and about is None
    ):
        case = replace(case, flow=FlowState.NEW)
    return Sent(case, wrapping, about)


def conversation(world: RandomWorld, seed: int, count: int) -> Iterator[Sent]:
    """``count`` packets that answer, repeat, follow and complain about one another."""
    random = Random(seed)
    openers = [
        replace(sent, case=replace(sent.case, flow=FlowState.NEW))
        for sent in sent_cases(world, seed, max(count // 8, 1))
        if sent.about is None
    ]
    for _ in range(count):
        yield _next_of(random, random.choice(openers))


def _next_of(random: Random, opener: Sent) -> Sent:
    case, choice = opener.case, random.random()
    if choice < 0.3:
        return replace(opener, case=replace(case, packet=_with_flags(random, case.packet)))
    if choice < 0.6:
        return replace(opener, case=_answer(random, case))
    if choice < 0.75:
        later = replace(
            case.packet, fragment=True, source_port=0, destination_port=0, icmp_type=0, icmp_code=0
        )
        return replace(opener, case=replace(case, packet=later))
    if choice < 0.85:
        return _complaint(random, opener)
    return replace(opener, case=replace(case, interface=random.choice(("eth0", "eth1", "cali1", "lo"))))


def _later_fragment(packet: Packet) -> Packet:
    return replace(packet, fragment=True, source_port=0, destination_port=0, icmp_type=0, icmp_code=0)


def _with_flags(random: Random, packet: Packet) -> Packet:
    return replace(packet, tcp_flags=random.choice((2, 16, 18, 4, 17)))


def _answer(random: Random, case: Case) -> Case:
    packet = case.packet
    swapped = replace(
        packet, source=packet.destination, destination=packet.source, source_port=packet.destination_port,
        destination_port=packet.source_port, tcp_flags=random.choice((18, 16, 16, 2)),
    )  # fmt: skip
    if packet.protocol in ICMP_PROTOCOLS:
        reply = {(1, 8): 0, (1, 13): 14, (58, 128): 129}.get((packet.protocol, packet.icmp_type))
        swapped = replace(swapped, icmp_type=packet.icmp_type if reply is None else reply)
    return replace(case, packet=swapped, direction=_other(case), received=False)


def _complaint(random: Random, opener: Sent) -> Sent:
    """An ICMP error about the opener, against its direction."""
    packet, case = opener.case.packet, opener.case
    protocol, kind = random.choice(((1, 3), (1, 11)) if packet.version == 4 else ((58, 1), (58, 3)))
    error = Packet(packet.version, packet.destination, packet.source, protocol, icmp_type=kind, icmp_code=1)
    plain = Wrapping(identifier=opener.wrapping.identifier)
    wrapping = replace(plain, payload=datagram(packet, plain) + bytes(8))
    about = None if packet.fragment else packet
    return Sent(replace(case, packet=error, direction=_other(case), received=False), wrapping, about)


def _other(case: Case) -> DirectionName:
    return "egress" if case.direction == "ingress" else "ingress"


# -- reporting


def report(kernel: Kernel, world: RandomWorld, sent: Sent) -> str:
    """Everything one needs to see who is right, in the smallest world that still shows it."""

    def differs(smaller: RandomWorld) -> bool:
        return bool(Trio(kernel, smaller).alone(sent).difference)

    small = shrink(world, differs) if SHRINKS and differs(world) else world
    answers = Trio(kernel, small).alone(sent)
    return describe(small, sent, answers)


def describe(world: RandomWorld, sent: Sent, answers: Answers) -> str:
    """Seed, resources, host, packet and all three answers."""
    documents = [manifest.dump_yaml(manifest.encode(each)) for each in world.resources]
    return "\n".join(
        [
            f"world {world.seed}: {answers.difference}",
            "---\n".join(documents),
            str(world.facts),
            f"{sent.case}\n{sent.case.packet}\n{sent.wrapping}",
            f"frame: {sent.frame.hex()}",
            f"known: {answers.known.name}",
            f"reference:\n{answers.reference}",
            f"image: {answers.image}",
            f"kernel: {answers.kernel.reason.name}",
        ]
    )
