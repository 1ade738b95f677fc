"""What becomes of a packet at one interface, step by step as docs/policy.md tells it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from pyagent.abi import Reason
from pyagent.model import HostEndpoint, Resource
from pyagent.model.facts import HostFacts
from pyagent.model.packet import Action, Packet, Stage
from pyagent.reference.address import destination_of, source_of
from pyagent.reference.decision import Decision, FlowState, Looked, Step, Verdict
from pyagent.reference.failsafe import failsafes
from pyagent.reference.host import Host, is_neighbour, opens_connection
from pyagent.reference.peers import Peers
from pyagent.reference.resources import Resources
from pyagent.reference.table import Table, Walk

DirectionName = Literal["ingress", "egress"]

#: What Allow and Deny of a stage's policy are called.
REASONS = {
    Stage.UNTRACKED: (Reason.UNTRACKED_ALLOW, Reason.UNTRACKED_DENY),
    Stage.PREDNAT: (Reason.PREDNAT_ALLOW, Reason.PREDNAT_DENY),
    Stage.FORWARD: (Reason.FORWARD_ALLOW, Reason.FORWARD_DENY),
    Stage.LOCAL: (Reason.POLICY_ALLOW, Reason.POLICY_DENY),
}


class Evaluator:
    """Judges packets of one host under one set of resources."""

    def __init__(self, resources: Iterable[Resource], facts: HostFacts) -> None:
        self._resources = Resources(resources)
        self._peers = Peers(self._resources)
        self._tables: dict[tuple[str, Stage, str], Table] = {}
        self.host = Host(self._resources, facts)
        self.failsafes = failsafes(self.host.configuration)

    def evaluate(
        self,
        interface: str,
        direction: DirectionName,
        packet: Packet,
        *,
        forwarded: bool | None = None,
        flow: FlowState = FlowState.NEW,
    ) -> Decision:
        """The verdict on ``packet`` at ``interface``.

        ``forwarded`` says of an egress packet that it came in by another interface (None: it did if its
        source is no address of the host); at ingress it is worked out. ``flow`` is what is known of its flow.
        """
        return _Judgement(self, _Question(interface, direction, packet, forwarded, flow)).run()

    def table(self, endpoint: HostEndpoint, stage: Stage, direction: str) -> Table:
        """The endpoint's policy at a stage."""
        key = (endpoint.name, stage, direction)
        if key not in self._tables:
            self._tables[key] = Table(self._resources, self._peers, endpoint, stage, direction)
        return self._tables[key]


def evaluate(
    resources: Iterable[Resource],
    facts: HostFacts,
    interface: str,
    direction: DirectionName,
    packet: Packet,
    *,
    forwarded: bool | None = None,
    flow: FlowState = FlowState.NEW,
) -> Decision:
    """The verdict on one packet, see :meth:`Evaluator.evaluate`."""
    return Evaluator(resources, facts).evaluate(interface, direction, packet, forwarded=forwarded, flow=flow)


@dataclass(frozen=True, slots=True)
class _Question:
    interface: str
    direction: DirectionName
    packet: Packet
    forwarded: bool | None
    flow: FlowState


class _Judgement:
    """One packet's way through the stages, in order; each step returns a Decision or None: go on."""

    def __init__(self, evaluator: Evaluator, question: _Question) -> None:
        self._evaluator = evaluator
        self._host = evaluator.host
        self._interface = self._host.interface(question.interface)
        self._endpoint = self._host.endpoint(self._interface)
        self._direction: DirectionName = question.direction
        self._packet = question.packet
        self._flow = question.flow
        self._forwarded = self._is_forwarded(question.forwarded)
        self._failsafe = evaluator.failsafes.tracked(self._packet, self._direction)
        self._steps: list[Step] = []
        self._met = Walk()

    def _is_forwarded(self, came_in: bool | None) -> bool:
        if self._direction == "ingress":
            host, packet = self._host, self._packet
            redirected = host.is_node_port(packet) or host.is_redirected(packet)
            return redirected or not host.is_local(destination_of(packet))
        return bool(came_in) or not self._host.is_local(source_of(self._packet))

    def run(self) -> Decision:
        """All stages."""
        decision = (
            self._uncovered()
            or self._exempt()
            or self._untracked()
            or self._known_flow()
            or self._own_pod()
            or self._by_failsafe()
            or self._before_dnat()
            or self._forward()
            or self._from_pod()
            or self._local()
        )
        name = self._endpoint.name if self._endpoint else None
        staged, logged = tuple(self._met.staged), tuple(self._met.logged)
        return replace(decision, endpoint=name, staged=staged, logged=logged, trace=tuple(self._steps))

    # -- what policy has no say in

    def _uncovered(self) -> Decision | None:
        name = self._interface.name
        if self._host.excluded(name):
            return self._passes(
                Reason.EXCLUDED, f"{name} is excluded by configuration", Looked.ENDPOINT, name
            )
        if self._endpoint is None:
            return self._passes(Reason.NO_ENDPOINT, f"no host endpoint covers {name}", Looked.ENDPOINT, name)
        self._step(Looked.ENDPOINT, self._endpoint.name, "in force", f"on {name}")
        return None

    def _exempt(self) -> Decision | None:
        if is_neighbour(self._packet):
            why = "neighbour discovery and MLD never meet policy"
            return self._passes(Reason.NEIGHBOUR, why, Looked.EXEMPTION, "neighbour")
        if self._host.is_tunnel(self._packet, self._direction):
            return self._passes(
                Reason.TUNNEL, "encapsulation between known nodes", Looked.EXEMPTION, "tunnel"
            )
        return None

    def _untracked(self) -> Decision | None:
        if self._interface.workload:
            return None  # no doNotTrack on pod interfaces: host to own pod must never break
        failsafe = self._evaluator.failsafes.untracked(self._packet, self._direction)
        if failsafe is not None:
            if self._table(Stage.UNTRACKED).tiers:
                self._step(Looked.FAILSAFE, str(failsafe), "hit", "the untracked stage is skipped")
            return None
        return self._ask(Stage.UNTRACKED)

    def _known_flow(self) -> Decision | None:
        if self._flow is FlowState.NEW:
            return None
        if opens_connection(self._packet):
            self._step(Looked.FLOW, self._flow, "not used", "a pure SYN is always judged anew")
            return None
        reason = Reason.FLOW if self._flow is FlowState.ESTABLISHED else Reason.RELATED
        return self._passes(reason, f"the flow is {self._flow.lower()}", Looked.FLOW, self._flow)

    def _own_pod(self) -> Decision | None:
        if self._direction == "egress" and self._interface.workload and not self._forwarded:
            return self._passes(Reason.OWN_POD, "a host always reaches its own pods", Looked.ROUTE, "own pod")
        return None

    def _by_failsafe(self) -> Decision | None:
        if self._failsafe is None:
            return None
        if not self._forwarded:
            why = f"failsafe {self._failsafe}"
            return self._passes(Reason.FAILSAFE, why, Looked.FAILSAFE, str(self._failsafe))
        self._step(Looked.FAILSAFE, str(self._failsafe), "hit", "forwarded: only preDNAT policy is skipped")
        return None

    # -- policy

    def _before_dnat(self) -> Decision | None:
        if self._direction == "egress" or self._failsafe is not None:
            return None
        return self._ask(Stage.PREDNAT)

    def _forward(self) -> Decision | None:
        if not self._forwarded:
            self._step(
                Looked.ROUTE,
                "local",
                "yes",
                "from this host" if self._direction == "egress" else "to this host",
            )
            return None
        self._step(
            Looked.ROUTE, "forwarded", "yes", "" if self._direction == "egress" else self._why_forwarded()
        )
        if not self._table(Stage.FORWARD).applies:
            self._ask(Stage.FORWARD)
            why = "forwarded, and no applyOnForward policy applies"
            return self._decision(Verdict.ALLOW, Reason.FORWARD_NONE, why, Stage.FORWARD)
        return self._ask(Stage.FORWARD)

    def _why_forwarded(self) -> str:
        if not self._host.is_local(destination_of(self._packet)):
            return "the destination is no address of this host"
        if self._host.is_node_port(self._packet):
            return "a node port"
        return "a service's address and port"

    def _from_pod(self) -> Decision | None:
        if self._direction == "egress" or not self._interface.workload:
            return None
        action = (self._host.configuration.default_endpoint_to_host_action or "Return").capitalize()
        why = f"defaultEndpointToHostAction: {action}"
        if action == "Accept":
            return self._passes(Reason.POD_ACCEPT, why, Looked.ROUTE, "pod to its host")
        if action == "Drop":
            self._step(Looked.ROUTE, "pod to its host", "Deny", why)
            return self._decision(Verdict.DENY, Reason.POD_DROP, why)
        self._step(Looked.ROUTE, "pod to its host", "policy decides", why)
        return None

    def _local(self) -> Decision:
        decision = self._ask(Stage.LOCAL)
        assert decision is not None, "the local stage always decides"
        return decision

    # -- how a step is taken

    def _table(self, stage: Stage) -> Table:
        assert self._endpoint is not None
        return self._evaluator.table(self._endpoint, stage, self._direction)

    def _ask(self, stage: Stage) -> Decision | None:
        table = self._table(stage)
        if not table.tiers and stage is not Stage.LOCAL:
            return None
        self._step(Looked.STAGE, stage, "asked")
        walk = table.judge(self._packet)
        self._steps += walk.steps
        self._met.staged += walk.staged
        self._met.logged += walk.logged
        if walk.action is Action.NONE:
            return None
        allowed = walk.action is Action.ALLOW
        return replace(
            self._decision(
                Verdict.ALLOW if allowed else Verdict.DENY,
                REASONS[stage][0 if allowed else 1],
                walk.because,
                stage,
            ),
            tier=walk.tier,
            policy=walk.policy,
            profile=walk.profile,
            rule=walk.rule,
        )

    def _passes(self, reason: Reason, because: str, looked: Looked, name: str) -> Decision:
        self._step(looked, name, "Allow", because)
        return self._decision(Verdict.ALLOW, reason, because)

    @staticmethod
    def _decision(verdict: Verdict, reason: Reason, because: str, stage: Stage | None = None) -> Decision:
        return Decision(verdict, reason, because, stage=stage)

    def _step(self, looked: Looked, name: str, outcome: str, why: str = "") -> None:
        self._steps.append(Step(looked, name, outcome, why))
