"""Named ports and services: lists of (address, protocol, port) that become several conjunctions."""

from __future__ import annotations

from typing import Any

from pyagent.calc.ports import common, union, without
from pyagent.calc.view import RuleView
from pyagent.model import HostEndpoint
from pyagent.model.policy import ServiceMatch
from tests.support.policy_world import (
    EndpointPort,
    EntityRule,
    accepts,
    allow,
    endpoint_slice,
    packet,
    policy,
    table,
    tcp,
    view_of,
)
from tests.support.resources import host_endpoint


def host(name: str, address: str, *ports: tuple[str, str, int], **labels: str) -> HostEndpoint:
    named = tuple(EndpointPort(name=port, protocol=protocol, port=number) for port, protocol, number in ports)
    addresses = (address,) if address else ()
    return host_endpoint(name, name, labels, expected_ips=addresses, ports=named)


HOSTS = (
    host("n1", "10.0.0.1", ("http", "TCP", 80), ("dns", "UDP", 53), ("dns", "TCP", 53), role="web"),
    host("n2", "10.0.0.2", ("http", "TCP", 8080), role="web"),
    host("n3", "10.0.0.3", ("http", "TCP", 80), role="db"),
    host("n4", "", ("http", "TCP", 9999), role="web"),
)


def rule_view(*more: Any, **fields: Any) -> RuleView:
    return table(view_of(*HOSTS, *more, policy("p", allow(**fields)))).tiers[0].policies[0].rules[0]


def to(rule: RuleView, *targets: tuple[str, int, int]) -> list[bool]:
    """Whether the rule accepts packets to (address, protocol, port)."""
    return [accepts(rule, packet("8.8.8.8", a, p, destination_port=port)) for a, p, port in targets]


def test_a_named_port_is_open_only_where_an_endpoint_has_it() -> None:
    rule = rule_view(destination=EntityRule(ports=("http",)))
    assert to(rule, ("10.0.0.1", 6, 80), ("10.0.0.2", 6, 8080), ("10.0.0.3", 6, 80)) == [True, True, True]
    assert to(rule, ("10.0.0.1", 6, 8080), ("10.0.0.2", 6, 80), ("10.0.0.9", 6, 80)) == [False, False, False]
    assert to(rule, ("10.0.0.1", 17, 80), ("10.0.0.1", 47, 0)) == [False, False]


def test_the_sides_selector_limits_whose_ports_count() -> None:
    rule = rule_view(protocol="TCP", destination=EntityRule(selector="role == 'web'", ports=("http",)))
    assert to(rule, ("10.0.0.1", 6, 80), ("10.0.0.3", 6, 80)) == [True, False]


def test_the_rules_protocol_limits_which_ports_count() -> None:
    entity = EntityRule(ports=("dns",))
    targets = (("10.0.0.1", 6, 53), ("10.0.0.1", 17, 53))
    assert to(rule_view(destination=entity), *targets) == [True, True]
    assert to(rule_view(protocol="UDP", destination=entity), *targets) == [False, True]
    assert to(rule_view(not_protocol="UDP", destination=entity), *targets) == [True, False]


def test_numeric_and_named_ports_are_alternatives() -> None:
    rule = rule_view(protocol="TCP", destination=EntityRule(ports=(443, "http")))
    assert to(rule, ("10.0.0.9", 6, 443), ("10.0.0.2", 6, 8080), ("10.0.0.9", 6, 8080)) == [True, True, False]


def test_a_named_port_that_nobody_has_matches_nothing() -> None:
    assert rule_view(destination=EntityRule(ports=("nothing",))).matches == ()
    both = rule_view(protocol="TCP", destination=EntityRule(ports=("nothing", 80)))
    assert to(both, ("10.0.0.9", 6, 80), ("10.0.0.9", 6, 81)) == [True, False]


def test_endpoints_with_the_same_port_share_one_conjunction() -> None:
    rule = rule_view(destination=EntityRule(ports=("http",)))
    assert len(rule.matches) == 2  # port 80 of two endpoints, port 8080 of one


def test_a_negated_named_port_is_closed_only_where_an_endpoint_has_it() -> None:
    rule = rule_view(protocol="TCP", destination=EntityRule(not_ports=("http",)))
    assert to(rule, ("10.0.0.1", 6, 80), ("10.0.0.2", 6, 8080)) == [False, False]
    assert to(rule, ("10.0.0.2", 6, 80), ("10.0.0.1", 6, 8080), ("10.0.0.9", 6, 80)) == [True, True, True]
    assert to(rule, ("10.0.0.1", 6, 22), ("10.0.0.1", 17, 80)) == [True, False]


def test_a_negated_named_port_without_protocol_leaves_other_protocols_alone() -> None:
    rule = rule_view(destination=EntityRule(not_ports=("dns",)))
    assert to(rule, ("10.0.0.1", 6, 53), ("10.0.0.1", 17, 53)) == [False, False]
    assert to(rule, ("10.0.0.1", 132, 53), ("10.0.0.1", 47, 0), ("10.0.0.2", 17, 53)) == [True, True, True]


def test_negated_numeric_and_named_ports_all_have_to_miss() -> None:
    rule = rule_view(protocol="TCP", destination=EntityRule(not_ports=(22, "http")))
    assert to(rule, ("10.0.0.1", 6, 22), ("10.0.0.9", 6, 22), ("10.0.0.1", 6, 80)) == [False, False, False]
    assert to(rule, ("10.0.0.1", 6, 23), ("10.0.0.9", 6, 80)) == [True, True]


def test_a_negated_named_port_that_nobody_has_excludes_nothing() -> None:
    rule = rule_view(protocol="TCP", destination=EntityRule(not_ports=("nothing",)))
    assert to(rule, ("10.0.0.1", 6, 80), ("10.0.0.1", 17, 80)) == [True, False]


def test_given_and_negated_named_ports_of_one_side_are_both_heeded() -> None:
    rule = rule_view(destination=EntityRule(ports=("http", "dns"), not_ports=("dns", "1000:9000")))
    assert to(rule, ("10.0.0.1", 6, 80), ("10.0.0.1", 17, 53), ("10.0.0.2", 6, 8080)) == [True, False, False]


def test_named_ports_of_the_source_look_at_the_source() -> None:
    rule = rule_view(source=EntityRule(ports=("http",)))
    good = packet("10.0.0.2", "8.8.8.8", 6, source_port=8080, destination_port=1)
    assert accepts(rule, good)
    assert not accepts(rule, tcp("8.8.8.8", "10.0.0.2", port=8080))


def test_named_ports_on_both_sides_are_both_needed() -> None:
    rule = rule_view(source=EntityRule(ports=("http",)), destination=EntityRule(ports=("dns",)))
    assert accepts(rule, tcp("10.0.0.2", "10.0.0.1", port=53, source_port=8080))
    assert not accepts(rule, tcp("10.0.0.2", "10.0.0.1", port=53, source_port=80))
    assert not accepts(rule, tcp("10.0.0.2", "10.0.0.1", port=54, source_port=8080))


def service_rule(*slices: Any, protocol: str | None = None) -> RuleView:
    entity = EntityRule(services=ServiceMatch(name="shop", namespace="web"))
    return rule_view(*slices, protocol=protocol, destination=entity)


def test_a_service_stands_for_its_endpoints_addresses_protocols_and_ports() -> None:
    one = endpoint_slice("shop", "10.5.0.1", "10.5.0.2", ports=(("TCP", 80), ("UDP", 81)))
    rule = service_rule(one)
    assert to(rule, ("10.5.0.1", 6, 80), ("10.5.0.2", 17, 81)) == [True, True]
    assert to(rule, ("10.5.0.1", 17, 80), ("10.5.0.1", 6, 81), ("10.5.0.3", 6, 80)) == [False, False, False]
    assert to(service_rule(one, protocol="TCP"), ("10.5.0.1", 6, 80), ("10.5.0.2", 17, 81)) == [True, False]


def test_a_service_as_source_stands_for_its_endpoints_addresses_whatever_their_ports() -> None:
    one = endpoint_slice("shop", "10.5.0.1", ports=(("TCP", 80), ("UDP", 81)))
    rule = rule_view(one, source=EntityRule(services=ServiceMatch(name="shop", namespace="web")))
    assert [accepts(rule, tcp(source, "8.8.8.8")) for source in ("10.5.0.1", "10.5.0.2")] == [True, False]
    assert accepts(rule, packet("10.5.0.1", "8.8.8.8", 47))


def test_a_services_slices_add_up_and_keep_their_own_ports() -> None:
    slices = (
        endpoint_slice("shop", "10.5.0.1", ports=(("TCP", 80),), name="a"),
        endpoint_slice("shop", "fd00:5::1", ports=(("TCP", 8080),), name="b"),
        endpoint_slice("other", "10.5.0.9", ports=(("TCP", 80),), name="c"),
    )
    rule = service_rule(*slices)
    assert to(rule, ("10.5.0.1", 6, 80), ("10.5.0.1", 6, 8080), ("10.5.0.9", 6, 80)) == [True, False, False]
    assert accepts(rule, tcp("fd00::9", "fd00:5::1", port=8080))


def test_a_service_without_endpoints_matches_nothing_and_is_reported() -> None:
    assert service_rule().matches == ()
    assert service_rule(endpoint_slice("shop", "10.5.0.1", ports=(("TCP", None),))).matches == ()
    rule = allow(destination=EntityRule(services=ServiceMatch(name="shop", namespace="web")))
    view = view_of(*HOSTS, policy("p", rule))
    assert any("service web/shop has no endpoints" in text for text in view.warnings)


def test_ranges_behave_as_sets() -> None:
    assert union([(5, 9), (1, 3), (4, 4), (8, 12)]) == ((1, 12),)
    assert union([(1, 2), (4, 5)]) == ((1, 2), (4, 5))
    assert common(((1, 5), (8, 9)), ((4, 8),)) == ((4, 5), (8, 8))
    assert without(((1, 10),), ((3, 4), (9, 20))) == ((1, 2), (5, 8))
    assert without(((1, 2),), ((1, 2),)) == ()
