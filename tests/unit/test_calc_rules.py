"""One rule's conditions: what they match and what they do not."""

from __future__ import annotations

from typing import Any

import pytest

from pyagent.abi import TableKind
from pyagent.calc import NodeView
from pyagent.calc.view import RuleView
from pyagent.model import HostEndpoint
from pyagent.model.packet import Packet
from pyagent.model.policy import HTTPMatch, ICMPFields, ServiceAccountMatch
from tests.support.policy_world import (
    EntityRule,
    Rule,
    accepts,
    allow,
    packet,
    policy,
    profile,
    table,
    tcp,
    view_of,
)
from tests.support.resources import host_endpoint, network_set

OWN = host_endpoint("own", "n1")


def peer(name: str, *addresses: str, profiles: tuple[str, ...] = (), **labels: str) -> HostEndpoint:
    return host_endpoint(name, name, labels, expected_ips=addresses, profiles=profiles)


PEERS = (
    peer("web1", "10.1.0.1", "fd00:1::1", role="web"),
    peer("web2", "10.1.0.2", role="web", canary=""),
    peer("db", "10.1.0.3", role="db"),
    peer("nowhere", role="ghost"),
    network_set("offices", "10.2.0.0/16", "fd00:2::/32", kind="office"),
)


def world(rule: Rule, *more: Any) -> NodeView:
    return view_of(OWN, *PEERS, *more, policy("p", rule))


def rule_of(rule: Rule, *more: Any) -> RuleView:
    return table(world(rule, *more)).tiers[0].policies[0].rules[0]


def matches(rule: Rule, *packets: Packet) -> list[bool]:
    view = rule_of(rule)
    return [accepts(view, each) for each in packets]


def sources(*addresses: str, **entity: Any) -> list[bool]:
    """Whether a rule with such a source accepts packets from each address."""
    view = rule_of(allow(source=EntityRule(**entity)))
    return [accepts(view, tcp(each, "fd00::1" if ":" in each else "10.0.0.1")) for each in addresses]


def test_a_rule_without_conditions_matches_every_packet() -> None:
    everything = [tcp("1.2.3.4"), tcp("fd00::9", "fd00::1"), packet("1.2.3.4", protocol=253)]
    assert matches(allow(), *everything) == [True, True, True]


def test_conditions_are_all_needed() -> None:
    rule = allow(protocol="TCP", source=EntityRule(nets=("10.0.0.0/8",)), destination=EntityRule(ports=(80,)))
    assert matches(rule, tcp("10.1.1.1")) == [True]
    wrong = [packet("10.1.1.1", protocol=17, destination_port=80), tcp("11.1.1.1"), tcp("10.1.1.1", port=81)]
    assert matches(rule, *wrong) == [False, False, False]


def test_a_list_matches_when_one_entry_does() -> None:
    assert sources("10.1.1.1", "10.2.1.1", "10.3.1.1", nets=("10.1.0.0/16", "10.2.1.1")) == [
        True,
        True,
        False,
    ]


def test_nets_of_one_family_never_match_the_other() -> None:
    assert sources("10.1.1.1", "fd00::5", nets=("10.0.0.0/8",)) == [True, False]
    assert sources("10.1.1.1", "fd00::5", nets=("fd00::/16",)) == [False, True]
    assert rule_of(allow(source=EntityRule(nets=("10.0.0.0/8",)))).matches[0].version == 4


def test_not_nets_exclude_their_networks_and_leave_the_other_family_alone() -> None:
    assert sources("10.1.1.1", "11.1.1.1", "fd00::5", not_nets=("10.0.0.0/8",)) == [False, True, True]


def test_not_nets_with_the_catch_all_drop_the_rule_for_that_family() -> None:
    assert sources("10.1.1.1", "fd00::5", not_nets=("0.0.0.0/0",)) == [False, True]
    assert sources("10.1.1.1", "fd00::5", not_nets=("::/0",)) == [True, False]


@pytest.mark.parametrize(
    ("protocol", "accepted"),
    [("TCP", 6), ("UDP", 17), ("SCTP", 132), ("UDPLite", 136), (47, 47), ("ICMP", 1)],
)
def test_each_protocol_is_matched_by_its_number(protocol: Any, accepted: int) -> None:
    packets = [packet("10.1.1.1", protocol=number) for number in (accepted, 99)]
    assert matches(allow(protocol=protocol), *packets) == [True, False]
    assert matches(allow(not_protocol=protocol), *packets) == [False, True]


@pytest.mark.parametrize(
    ("protocol", "version"), [("ICMP", 4), (1, 4), ("ICMPv6", 6), (58, 6), ("TCP", None)]
)
def test_icmp_implies_its_family(protocol: Any, version: int | None) -> None:
    assert rule_of(allow(protocol=protocol)).matches[0].version == version


def test_a_negated_icmp_implies_no_family() -> None:
    assert rule_of(allow(not_protocol="ICMP")).matches[0].version is None


def test_a_protocol_of_the_other_family_never_matches() -> None:
    assert rule_of(allow(protocol="ICMP", ip_version=6)).matches == ()
    assert rule_of(allow(protocol="ICMPv6", ip_version=6)).matches != ()


def test_ip_version_restricts_the_rule() -> None:
    both = [tcp("10.1.1.1"), tcp("fd00::5", "fd00::1")]
    assert matches(allow(ip_version=4), *both) == [True, False]
    assert matches(allow(ip_version=6), *both) == [False, True]


def test_icmp_type_and_code_are_matched_and_negated() -> None:
    echo, other = (packet("10.1.1.1", protocol=1, icmp_type=8, icmp_code=code) for code in (0, 1))
    reply = packet("10.1.1.1", protocol=1, icmp_type=0)
    assert matches(allow(protocol="ICMP", icmp=ICMPFields(type=8)), echo, other, reply) == [True, True, False]
    with_code = ICMPFields(type=8, code=0)
    assert matches(allow(protocol="ICMP", icmp=with_code), echo, other, reply) == [True, False, False]
    assert matches(allow(protocol="ICMP", not_icmp=with_code), echo, other, reply) == [False, True, True]


def test_ports_ranges_and_negated_ports() -> None:
    def ports(**entity: Any) -> list[bool]:
        rule = allow(protocol="TCP", destination=EntityRule(**entity))
        return matches(rule, *(tcp("10.1.1.1", port=port) for port in (79, 80, 85, 90, 91)))

    assert ports(ports=(79, "85:90")) == [True, False, True, True, False]
    assert ports(not_ports=(79, "85:90")) == [False, True, False, False, True]
    assert ports(ports=("79:90",), not_ports=("80:85",)) == [True, False, False, True, False]


def test_source_ports_are_not_destination_ports() -> None:
    rule = allow(protocol="TCP", source=EntityRule(ports=(1000,)))
    good, bad = tcp("10.1.1.1", source_port=1000), tcp("10.1.1.1", port=1000, source_port=5)
    assert matches(rule, good, bad) == [True, False]
    negated = allow(protocol="TCP", source=EntityRule(not_ports=(1000,)))
    assert matches(negated, good, bad) == [False, True]


def test_a_selector_stands_for_expected_addresses_and_network_sets() -> None:
    assert sources("10.1.0.1", "10.1.0.2", "10.1.0.3", "fd00:1::1", selector="role == 'web'") == [
        True, True, False, True,
    ]  # fmt: skip
    assert sources("10.2.9.9", "10.3.9.9", "fd00:2::9", selector="has(kind)") == [True, False, True]


def test_a_selector_for_what_lacks_a_label_knows_only_known_endpoints() -> None:
    assert sources("10.1.0.3", "10.1.0.1", "8.8.8.8", selector="!has(role) || role == 'db'") == [
        True,
        False,
        False,
    ]


def test_a_negated_selector_also_matches_unknown_addresses() -> None:
    assert sources("10.1.0.1", "10.1.0.3", "8.8.8.8", not_selector="role == 'web'") == [False, True, True]


def test_selector_and_negated_selector_are_both_needed() -> None:
    found = sources("10.1.0.1", "10.1.0.2", selector="role == 'web'", not_selector="has(canary)")
    assert found == [True, False]


def test_all_in_a_rule_means_known_endpoints_and_not_every_address() -> None:
    assert sources("10.1.0.1", "8.8.8.8", selector="all()") == [True, False]


@pytest.mark.parametrize("selector", ["role == 'nobody'", "role == 'ghost'"])
def test_a_selector_that_resolves_to_nothing_matches_nothing_and_is_reported(selector: str) -> None:
    view = world(allow(source=EntityRule(selector=selector)))
    assert table(view).tiers[0].policies[0].rules[0].matches == ()
    assert any("GlobalNetworkPolicy p/ingress[0]: the rule never matches" in text for text in view.warnings)


def test_a_negated_selector_that_resolves_to_nothing_excludes_nothing() -> None:
    assert sources("10.1.0.1", not_selector="role == 'nobody'") == [True]


def test_global_as_namespace_selector_means_host_endpoints_and_network_sets() -> None:
    assert sources("10.1.0.1", "10.2.1.1", "8.8.8.8", namespace_selector="global()") == [True, True, False]
    both = sources("10.1.0.1", "10.1.0.3", namespace_selector="global()", selector="role == 'web'")
    assert both == [True, False]


@pytest.mark.parametrize(
    "entity",
    [
        {"namespace_selector": "all()"},
        {"namespace_selector": "has(x)", "selector": "role == 'web'"},
        {"service_accounts": ServiceAccountMatch(names=("a",))},
        {"selector": "role =="},
        {"nets": ("10.0.0.0/33",)},
        {"not_nets": ("nonsense",)},
    ],
)
def test_conditions_that_no_host_can_meet_match_nothing_and_are_reported(entity: dict[str, Any]) -> None:
    view = world(allow(source=EntityRule(**entity)))
    assert table(view).tiers[0].policies[0].rules[0].matches == ()
    assert any("never matches" in text for text in view.warnings)


def test_labels_of_profiles_count_for_peers() -> None:
    more = (peer("late", "10.1.0.9", profiles=("web",)), profile("web", labels={"role": "web"}))
    own = peer("other", "10.1.0.8", profiles=("web",), role="db")
    view = rule_of(allow(source=EntityRule(selector="role == 'web'")), *more, own)
    assert [accepts(view, tcp(each)) for each in ("10.1.0.9", "10.1.0.8")] == [True, False]


def test_http_criteria_are_ignored_and_reported() -> None:
    view = world(allow(protocol="TCP", http=HTTPMatch(methods=("GET",))))
    assert accepts(table(view).tiers[0].policies[0].rules[0], tcp("10.1.1.1"))
    assert view.warnings == ("GlobalNetworkPolicy p/ingress[0]: http criteria are ignored",)


def test_a_rules_key_survives_edits_around_it_and_changes_with_its_content() -> None:
    def keys(*rules: Rule) -> list[int]:
        found = table(view_of(OWN, policy("p", *rules))).tiers[0].policies[0].rules
        return [rule.ref.key for rule in found]

    one, two = allow(protocol="TCP"), allow(protocol="UDP")
    assert keys(two, one)[1] == keys(one)[0]
    assert keys(one)[0] != keys(two)[0]
    assert 0 not in keys(one, two)


def test_rules_of_the_same_content_have_keys_of_their_own() -> None:
    rules = table(view_of(OWN, policy("p", allow(), allow(), egress=(allow(),)))).tiers[0].policies[0].rules
    assert rules[0].ref.key != rules[1].ref.key
    assert [str(rule.ref) for rule in rules] == ["p/ingress[0]", "p/ingress[1]"]


def test_keys_differ_between_owners_and_directions() -> None:
    view = view_of(OWN, policy("p", allow(), egress=(allow(),)), policy("q", allow()))
    ingress = [p.rules[0].ref.key for p in table(view).tiers[0].policies]
    egress = [p.rules[0].ref.key for p in table(view, TableKind.LOCAL_EGRESS).tiers[0].policies if p.rules]
    assert len({*ingress, *egress}) == 3
