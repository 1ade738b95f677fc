"""One stage of policy: asks tiers, policies, rules and profiles in order and keeps the way to the answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product

from pyagent.model import HostEndpoint, Profile
from pyagent.model.packet import ICMP_PROTOCOLS, PORT_PROTOCOLS, Action, Packet, Stage
from pyagent.model.policy import Rule
from pyagent.reference.decision import Looked, RulePlace, StagedOutcome, Step
from pyagent.reference.match import first_failure
from pyagent.reference.order import Ordered, OrderedTier, tiers_in_force
from pyagent.reference.peers import Peers, port_range
from pyagent.reference.resources import Resources


@dataclass
class Walk:
    """What was met on the way through a table, and in the end its answer."""

    action: Action = Action.NONE
    because: str = "no rule matches"
    tier: str | None = None
    policy: str | None = None
    profile: str | None = None
    rule: RulePlace | None = None
    staged: list[StagedOutcome] = field(default_factory=list)
    logged: list[RulePlace] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def step(self, looked: Looked, name: str, outcome: str, why: str = "", depth: int = 1) -> None:
        """Note what was looked at."""
        self.steps.append(Step(looked, name, outcome, why, depth))


class Table:
    """All that one endpoint asks of packets at one stage in one direction."""

    def __init__(
        self, resources: Resources, peers: Peers, endpoint: HostEndpoint, stage: Stage, direction: str
    ) -> None:
        self.stage = stage
        self.direction = direction
        self.tiers = tiers_in_force(resources, endpoint, stage, direction)
        self._peers = peers
        self._profiles: list[Ordered] = []
        if stage is Stage.LOCAL:
            for name in endpoint.spec.profiles:
                profile = resources.named(Profile, name)
                if profile is not None:
                    rules = profile.spec.ingress if direction == "ingress" else profile.spec.egress
                    self._profiles.append(Ordered("Profile", name, rules, staged=False))

    @property
    def applies(self) -> bool:
        """Some policy that is enforced applies; staged ones alone change nothing."""
        return any(not policy.staged for tier in self.tiers for policy in tier.policies)

    def judge(self, packet: Packet) -> Walk:
        """The table's answer. A later fragment gets the best one that its datagram might get."""
        walks = [self._walk(whole) for whole in self._wholes(packet)]
        best = max(walks, key=lambda walk: (Action.DENY, Action.NONE, Action.ALLOW).index(walk.action))
        if packet.fragment and len(walks) > 1:
            best.because += " (a later fragment gets the best that its datagram might get)"
        return best

    def _wholes(self, packet: Packet) -> Iterator[Packet]:
        """The packet; for a later fragment one for each combination of ports or types."""
        if not packet.fragment or packet.protocol not in PORT_PROTOCOLS | ICMP_PROTOCOLS:
            yield packet
        elif packet.protocol in PORT_PROTOCOLS:
            for source, destination in product(self._ports("source"), self._ports("destination")):
                yield replace(packet, source_port=source, destination_port=destination)
        else:
            asked = [
                fields
                for rule in self._rules()
                for fields in (rule.icmp, rule.not_icmp)
                if fields is not None
            ]
            types = {0} | {
                end for fields in asked if fields.type is not None for end in (fields.type, fields.type + 1)
            }
            codes = {0} | {
                end for fields in asked if fields.code is not None for end in (fields.code, fields.code + 1)
            }
            for kind, code in product(sorted(types), sorted(codes)):
                if kind <= 255 and code <= 255:
                    yield replace(packet, icmp_type=kind, icmp_code=code)

    def _ports(self, end: str) -> list[int]:
        """Ports of which one stands for each run of ports that no rule tells apart."""
        found = {0}
        for rule in self._rules():
            side = rule.source if end == "source" else rule.destination
            spans = [port_range(port) for port in (*side.ports, *side.not_ports)]
            spans += [(port, port) for _, _, port in self._peers.triples(side)]
            found |= {bound for span in spans if span is not None for bound in (span[0], span[1] + 1)}
        return sorted(port for port in found if port <= 65535)

    def _rules(self) -> Iterator[Rule]:
        for policy in [policy for tier in self.tiers for policy in tier.policies] + self._profiles:
            yield from policy.rules

    def _walk(self, packet: Packet) -> Walk:
        walk = Walk()
        if not any(self._ask_tier(walk, tier, packet) for tier in self.tiers):
            if self.stage is Stage.LOCAL:
                self._ask_profiles(walk, packet)
            elif self.stage is Stage.FORWARD and self.applies:
                walk.action, walk.because = Action.DENY, "no applyOnForward policy allows it"
        for tier in self.tiers:
            for policy in tier.policies:
                if policy.staged:
                    self._try_staged(walk, tier, policy, packet)
        return walk

    def _ask_tier(self, walk: Walk, tier: OrderedTier, packet: Packet) -> bool:
        """Ask one tier; whether it decided."""
        walk.step(Looked.TIER, tier.name, "asked", depth=1)
        for policy in tier.policies:
            if policy.staged:
                continue  # they never decide, and are tried whatever others say
            walk.step(Looked.POLICY, policy.name, "asked", depth=2)
            matched = self._first_match(walk, policy, packet)
            if matched is None:
                continue
            place, action = matched
            if action == "Pass":
                walk.step(Looked.TIER, tier.name, "Pass", f"by {place}")
                return False
            walk.tier, walk.policy, walk.rule, walk.because = tier.name, policy.name, place, str(place)
            walk.action = Action.ALLOW if action == "Allow" else Action.DENY
            return True
        if tier.end == "Pass" or self.stage in (Stage.UNTRACKED, Stage.PREDNAT):
            walk.step(Looked.TIER, tier.name, "Pass", "no rule matches")
            return False
        walk.step(Looked.TIER, tier.name, "Deny", "no rule matches")
        walk.action, walk.tier, walk.because = Action.DENY, tier.name, f"end of tier {tier.name}"
        return True

    def _try_staged(self, walk: Walk, tier: OrderedTier, policy: Ordered, packet: Packet) -> None:
        matched = self._first_match(Walk(), policy, packet)
        place, action = matched or (None, "none")
        walk.staged.append(StagedOutcome(self.stage, tier.name, policy.name, action, place))
        walk.step(
            Looked.STAGED, policy.name, action, f"by {place}, not enforced" if place else "not enforced", 2
        )

    def _ask_profiles(self, walk: Walk, packet: Packet) -> None:
        walk.action = Action.DENY
        walk.because = "no profile allows it" if self._profiles else "the endpoint has no profile"
        for profile in self._profiles:
            walk.step(Looked.PROFILE, profile.name, "asked", depth=1)
            matched = self._first_match(walk, profile, packet)
            if matched is not None:
                place, action = matched
                walk.profile, walk.rule, walk.because = profile.name, place, str(place)
                walk.action = Action.ALLOW if action == "Allow" else Action.DENY
                return

    def _first_match(self, walk: Walk, policy: Ordered, packet: Packet) -> tuple[RulePlace, str] | None:
        """The first matching rule that is no Log, and its action; Log rules on the way are noted."""
        for index, rule in enumerate(policy.rules):
            place = RulePlace(policy.kind, policy.name, self.direction, index)
            failure = first_failure(rule, packet, self._peers)
            if failure is not None:
                walk.step(Looked.RULE, str(place), "no match", failure, 3)
                continue
            walk.step(Looked.RULE, str(place), rule.action, "", 3)
            if rule.action != "Log":
                return place, rule.action
            walk.logged.append(place)
        return None
