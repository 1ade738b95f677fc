"""Whatever the policy, looking a packet up in the image says what reading the rules one by one says."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import product
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.rule_mix import RuleMix
from pyagent.abi import Action, TableKind
from pyagent.calc.view import (
    AddressSet,
    EndpointView,
    L4Match,
    Match,
    NodeView,
    PodToHost,
    PolicyView,
    RuleAction,
    RuleRef,
    RuleView,
    Side,
    TableView,
    TierView,
)
from pyagent.compiler import Walker, compile_image
from pyagent.compiler import table as table_module
from pyagent.model.packet import Packet

pytestmark = pytest.mark.property

PORT_PROTOCOLS = {6, 17, 132}
WIDTH = {4: 32, 6: 128}

# ---- the evaluator: rules one by one, the first match decides


def contains(addresses: AddressSet, version: int, address: int) -> bool:
    nets = addresses.v4 if version == 4 else addresses.v6
    return any(
        address >> (WIDTH[version] - length) == net >> (WIDTH[version] - length) for net, length in nets
    )


def side_matches(side: Side, version: int, address: int) -> bool:
    return all(contains(each, version, address) for each in side.all_of) and not any(
        contains(each, version, address) for each in side.none_of
    )


def port_matches(port: int | None, wanted: tuple | None, unwanted: tuple) -> bool:
    if port is None:
        return wanted is None
    if any(low <= port <= high for low, high in unwanted):
        return False
    return wanted is None or any(low <= port <= high for low, high in wanted)


def icmp_is(packet: Packet, kind: tuple[int, int | None]) -> bool:
    number, code = kind
    return packet.protocol in {1, 58} and packet.icmp_type == number and code in {None, packet.icmp_code}


def l4_matches(l4: L4Match, packet: Packet) -> bool:
    if l4.protocols is not None and packet.protocol not in l4.protocols:
        return False
    if packet.protocol in l4.not_protocols:
        return False
    ported = packet.protocol in PORT_PROTOCOLS
    return (
        port_matches(packet.destination_port if ported else None, l4.ports, l4.not_ports)
        and port_matches(packet.source_port if ported else None, l4.source_ports, l4.not_source_ports)
        and (l4.icmp is None or icmp_is(packet, l4.icmp))
        and not (l4.not_icmp is not None and icmp_is(packet, l4.not_icmp))
    )


def rule_matches(rule: RuleView, packet: Packet) -> bool:
    return any(
        match.version in {None, packet.version}
        and side_matches(match.source, packet.version, packet.source)
        and side_matches(match.destination, packet.version, packet.destination)
        and l4_matches(match.l4, packet)
        for match in rule.matches
    )


@dataclass
class Verdict:
    action: Action
    rule: int
    logs: list[int]
    staged: dict[str, str]


def staged_outcomes(table: TableView, packet: Packet) -> dict[str, str]:
    found = {}
    for policy in [policy for tier in table.tiers for policy in tier.policies] + list(table.profiles):
        if policy.staged:
            for rule in policy.rules:
                if rule.action is not RuleAction.LOG and rule_matches(rule, packet):
                    found[policy.name] = str(rule.action)
                    break
    return found


def first_match(policies: tuple[PolicyView, ...], packet: Packet, logs: list[int]) -> RuleView | None:
    for policy in policies:
        if policy.staged:
            continue
        for rule in policy.rules:
            if rule_matches(rule, packet):
                if rule.action is not RuleAction.LOG:
                    return rule
                logs.append(rule.ref.key)
    return None


def judge(table: TableView, packet: Packet) -> Verdict:
    logs: list[int] = []
    staged = staged_outcomes(table, packet)
    for tier in table.tiers:
        rule = first_match(tier.policies, packet, logs)
        if rule is None and tier.end is RuleAction.DENY:
            return Verdict(Action.DENY, tier.end_ref.key, logs, staged)
        if rule is not None and rule.action is not RuleAction.PASS:
            action = Action.ALLOW if rule.action is RuleAction.ALLOW else Action.DENY
            return Verdict(action, rule.ref.key, logs, staged)
    rule = first_match(table.profiles, packet, logs)
    if rule is not None:
        return Verdict(
            Action.ALLOW if rule.action is RuleAction.ALLOW else Action.DENY, rule.ref.key, logs, staged
        )
    return Verdict(table.end, 0 if table.end is Action.NONE else table.end_ref.key, logs, staged)


# ---- views

PORTS = [0, 1, 22, 53, 79, 80, 81, 443, 1023, 1024, 8080, 32767, 65534, 65535]
PROTOCOLS = [0, 1, 2, 6, 17, 47, 58, 132, 136, 255]
BASE4 = [0, 0x0A000000, 0x0A000100, 0x0A0001FF, 0x0A010203, 0xC0A80000, 0xE0000001, 0xFFFFFFFF]
BASE6 = [0, 1, 0xFD << 120, (0xFD << 120) + 1, (0xFD << 120) + (7 << 64), 0xFE80 << 112, (1 << 128) - 1]
LENGTHS4 = [0, 1, 7, 8, 9, 15, 16, 17, 23, 24, 25, 30, 31, 32]
LENGTHS6 = [0, 1, 3, 7, 8, 9, 48, 60, 63, 64, 65, 120, 127, 128]


def nets(width: int, bases: list[int], lengths: list[int]) -> st.SearchStrategy:
    address = st.one_of(
        st.sampled_from(bases),
        st.builds(lambda base, low: base ^ low, st.sampled_from(bases), st.integers(0, 0x3FFFF)),
        st.integers(0, (1 << width) - 1),
    )
    return st.builds(
        lambda value, length: (value >> (width - length) << (width - length), length),
        address,
        st.sampled_from(lengths) | st.just(width),
    )


SETS = st.builds(
    AddressSet,
    st.just("set"),
    st.lists(nets(32, BASE4, LENGTHS4), max_size=5).map(tuple),
    st.lists(nets(128, BASE6, LENGTHS6), max_size=5).map(tuple),
)
RANGES = st.lists(
    st.tuples(st.sampled_from(PORTS) | st.integers(0, 65535), st.sampled_from([0, 0, 1, 100, 60000])).map(
        lambda pair: (pair[0], min(pair[0] + pair[1], 65535))
    ),
    min_size=1,
    max_size=3,
).map(tuple)
ICMP = st.tuples(st.sampled_from([0, 3, 8, 128, 254, 255]), st.sampled_from([None, 0, 1, 255]))
PROTOCOL_SETS = st.frozensets(st.sampled_from(PROTOCOLS), min_size=1, max_size=3)
L4 = st.one_of(
    st.just(L4Match()),
    st.builds(
        L4Match, protocols=PROTOCOL_SETS | st.none(), not_protocols=PROTOCOL_SETS | st.just(frozenset())
    ),
    st.builds(
        L4Match,
        protocols=st.frozensets(st.sampled_from([6, 17, 132]), min_size=1),
        ports=RANGES | st.none(),
        not_ports=RANGES | st.just(()),
        source_ports=RANGES | st.none(),
        not_source_ports=RANGES | st.just(()),
    ),
    st.builds(
        L4Match,
        protocols=st.sampled_from([frozenset({1}), frozenset({58})]),
        icmp=ICMP | st.none(),
        not_icmp=ICMP | st.none(),
    ),
    st.builds(
        L4Match,
        protocols=PROTOCOL_SETS | st.none(),
        not_ports=RANGES | st.just(()),
        ports=RANGES | st.none(),
        not_source_ports=RANGES | st.just(()),
        source_ports=RANGES | st.none(),
        icmp=ICMP | st.none(),
        not_icmp=ICMP | st.none(),
    ),
)
ACTIONS = st.sampled_from(
    [RuleAction.ALLOW, RuleAction.ALLOW, RuleAction.DENY, RuleAction.PASS, RuleAction.LOG]
)


@st.composite
def views(draw: st.DrawFn) -> NodeView:
    sets = draw(st.lists(SETS, min_size=4, max_size=8))
    l4s = draw(st.lists(L4, min_size=4, max_size=8))
    side = st.builds(
        Side,
        st.sampled_from(sets).map(lambda each: (each,))
        | st.lists(st.sampled_from(sets), max_size=2).map(tuple),
        st.just(()) | st.sampled_from(sets).map(lambda each: (each,)),
    )
    match = st.builds(Match, side, side, st.sampled_from(l4s), st.sampled_from([None, None, 4, 6]))
    keys = iter(range(1, 100000))

    def ref(owner: str) -> RuleRef:
        return RuleRef("GlobalNetworkPolicy", owner, "ingress", 0, next(keys))

    def policy(name: str, staged: bool) -> PolicyView:
        some = st.lists(match, min_size=1, max_size=2) | st.lists(match, max_size=2)
        matches = draw(st.lists(some, min_size=2, max_size=6))
        rules = tuple(RuleView(ref(name), draw(ACTIONS), tuple(each)) for each in matches)
        return PolicyView(name, rules, staged)

    def table(kind: TableKind) -> TableView:
        tiers = []
        for number in range(draw(st.sampled_from([0, 1, 1, 2, 2, 3]))):
            shape = draw(st.lists(st.sampled_from([False, False, True]), min_size=number == 0, max_size=3))
            policies = tuple(policy(f"tier{number}.{index}", staged) for index, staged in enumerate(shape))
            end = draw(st.sampled_from([RuleAction.DENY, RuleAction.PASS]))
            tiers.append(TierView(f"tier{number}", policies, end, ref(f"tier{number}")))
        profiles = tuple(policy(f"profile{index}", False) for index in range(draw(st.integers(0, 2))))
        return TableView(
            kind, tuple(tiers), profiles, draw(st.sampled_from([Action.NONE, Action.DENY])), ref("end")
        )

    kinds = draw(st.lists(st.sampled_from(list(TableKind)), min_size=1, max_size=2, unique=True))
    endpoint = EndpointView("node-auto-hep", 0, {kind: table(kind) for kind in kinds})
    host, nodes = draw(st.sampled_from(sets)), draw(SETS)
    return NodeView(
        "node", (endpoint,), {}, None, {}, host, nodes, (), (), frozenset(), PodToHost.RETURN
    )  # fmt: skip


def reachable_sets(view: NodeView) -> list[AddressSet]:
    sides = [side for match in all_matches(view) for side in (match.source, match.destination)]
    return [view.host, view.nodes, *(each for side in sides for each in (*side.all_of, *side.none_of))]


def all_matches(view: NodeView) -> list[Match]:
    found = []
    for endpoint in view.endpoints:
        for table in endpoint.tables.values():
            policies = [policy for tier in table.tiers for policy in tier.policies] + list(table.profiles)
            found += [match for policy in policies for rule in policy.rules for match in rule.matches]
    return found


class Packets:
    """Packets whose fields lie at or beside the boundaries of a view's conditions."""

    def __init__(self, view: NodeView, seed: int) -> None:
        self.random = random.Random(seed)
        sets = reachable_sets(view)
        self.addresses = {
            version: self._beside(
                [
                    (net, net + (1 << (WIDTH[version] - length)) - 1)
                    for each in sets
                    for net, length in nets_of(each)
                ],
                (1 << WIDTH[version]) - 1,
            )
            for version, nets_of in ((4, lambda each: each.v4), (6, lambda each: each.v6))
        }
        l4s = [match.l4 for match in all_matches(view)]
        self.ports = self._beside([span for l4 in l4s for span in (*(l4.ports or ()), *l4.not_ports)], 65535)
        spans = [span for l4 in l4s for span in (*(l4.source_ports or ()), *l4.not_source_ports)]
        self.source_ports = self._beside(spans, 65535)
        self.types = self._beside([(k[0], k[0]) for l4 in l4s for k in (l4.icmp, l4.not_icmp) if k], 255)
        self.codes = self._beside(
            [(k[1] or 0, k[1] or 0) for l4 in l4s for k in (l4.icmp, l4.not_icmp) if k], 255
        )

    @staticmethod
    def _beside(spans: list[tuple[int, int]], top: int) -> list[int]:
        points = {0, 1, top, *(at for low, high in spans for at in (low - 1, low, high, high + 1))}
        return sorted(at for at in points if 0 <= at <= top)

    def draw(self) -> Packet:
        choose = self.random.choice
        version = choose((4, 6))
        protocol = choose(PROTOCOLS)
        source, destination = choose(self.addresses[version]), choose(self.addresses[version])
        if self.random.random() < 0.1:
            source = self.random.randrange(1 << WIDTH[version])
        packet = Packet(version, source, destination, protocol, tcp_flags=2)
        if protocol in PORT_PROTOCOLS:
            return replace(packet, source_port=choose(self.source_ports), destination_port=choose(self.ports))
        if protocol in {1, 58}:
            return replace(packet, icmp_type=choose(self.types), icmp_code=choose(self.codes))
        return packet

    def whole(self, fragment: Packet) -> list[Packet]:
        """The packets that a later fragment may be part of."""
        if fragment.protocol in PORT_PROTOCOLS:
            pairs = product(self.source_ports, self.ports)
            return [replace(fragment, source_port=a, destination_port=b, fragment=False) for a, b in pairs]
        if fragment.protocol in {1, 58}:
            pairs = product(self.types, self.codes)
            return [replace(fragment, icmp_type=a, icmp_code=b, fragment=False) for a, b in pairs]
        return [replace(fragment, fragment=False)]


def most_favourable(actions: set[Action]) -> Action:
    return next(action for action in (Action.ALLOW, Action.NONE, Action.DENY) if action in actions)


PACKETS = 120
FRAGMENTS = 6


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(views(), st.integers(0, 1 << 30), st.sampled_from([1, 20, 100, 1 << 20]))
def test_the_image_says_what_the_rules_say_in_pieces_of_any_size(
    view: NodeView, seed: int, piece: int
) -> None:
    with patch.object(table_module, "PIECE_CELLS", piece):
        image = compile_image(view, 1)
    walker = Walker(image)
    packets = Packets(view, seed)
    for kind, table in view.endpoints[0].tables.items():
        for _ in range(PACKETS):
            packet = packets.draw()
            expected = judge(table, packet)
            walked = walker.walk(0, kind, packet)
            assert walked is not None
            said = image.metadata["verdicts"][walked.verdict_id]
            assert (walked.action, walked.rule) == (expected.action, expected.rule), packet
            assert (said["logs"], said["staged"]) == (expected.logs, expected.staged), packet
            assert walked.log is bool(expected.logs)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(views(), st.integers(0, 1 << 30))
def test_a_later_fragment_gets_the_most_favourable_outcome(view: NodeView, seed: int) -> None:
    image = compile_image(view, 1)
    walker = Walker(image)
    packets = Packets(view, seed)
    for kind, table in view.endpoints[0].tables.items():
        for _ in range(FRAGMENTS):
            fragment = replace(
                packets.draw(), source_port=0, destination_port=0, icmp_type=0, icmp_code=0, fragment=True
            )
            possible = [judge(table, packet) for packet in packets.whole(fragment)]
            walked = walker.walk(0, kind, fragment)
            assert walked is not None
            assert walked.action == most_favourable({each.action for each in possible}), fragment
            said = image.metadata["verdicts"][walked.verdict_id]
            assert any(
                (each.action, each.rule, each.logs, each.staged)
                == (walked.action, walked.rule, said["logs"], said["staged"])
                for each in possible
            ), fragment


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(views(), st.integers(0, 1 << 30))
def test_address_flags_tell_hosts_and_nodes_apart(view: NodeView, seed: int) -> None:
    walker = Walker(compile_image(view, 1))
    packets = Packets(view, seed)
    for version in (4, 6):
        for address in packets.addresses[version]:
            flags = contains(view.host, version, address) + 2 * contains(view.nodes, version, address)
            assert walker.address_flags(version, address) == flags


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(views())
def test_the_same_view_always_gives_the_same_image(view: NodeView) -> None:
    first, second = compile_image(view, 7), compile_image(view, 7)
    assert bytes(first.data) == bytes(second.data)
    assert first.metadata == second.metadata
    assert compile_image(view, 8).hash != first.hash


@pytest.mark.parametrize("ipv6", [False, True])
def test_a_realistic_mix_of_rules_says_what_its_rules_say(ipv6: bool) -> None:
    view = RuleMix(200, ipv6=ipv6).view(300, ("ingress", "egress"))
    image = compile_image(view, 1)
    walker = Walker(image)
    packets = Packets(view, 1)
    actions = set()
    for kind, table in view.endpoints[0].tables.items():
        for _ in range(300):
            packet = packets.draw()
            expected = judge(table, packet)
            walked = walker.walk(0, kind, packet)
            assert walked is not None
            assert (walked.action, walked.rule) == (expected.action, expected.rule), packet
            actions.add((kind, walked.action))
    assert len(actions) == 4
