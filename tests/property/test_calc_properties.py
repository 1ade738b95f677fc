"""Laws of the policy calculation that hold for every world."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pyagent.calc import Calculator, World
from pyagent.calc.labels import LabelTable
from pyagent.model import Resource
from pyagent.model.endpoint import EndpointPort
from pyagent.model.packet import PORT_PROTOCOLS
from pyagent.selector import parse
from tests.support.policy_world import (
    FACTS,
    EntityRule,
    Rule,
    accepts,
    packet,
    plain,
    policy,
    profile,
    table,
    tier,
    view_of,
)
from tests.support.resources import host_endpoint, network_set

KEYS, VALUES = ("a", "b"), ("x", "y", "")
LABELS = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES))
LEAVES = st.one_of(
    st.just("all()"),
    st.builds("has({})".format, st.sampled_from(KEYS)),
    st.builds(
        "{} {} '{}'".format,
        st.sampled_from(KEYS),
        st.sampled_from(("==", "!=", "contains", "starts with")),
        st.sampled_from(VALUES),
    ),
    st.builds(
        "{} {} {{'{}', 'y'}}".format,
        st.sampled_from(KEYS),
        st.sampled_from(("in", "not in")),
        st.sampled_from(VALUES),
    ),
)
SELECTORS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds("!({})".format, inner),
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
    ),
    max_leaves=5,
)
ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1")
PORTS = st.one_of(st.integers(1, 4), st.sampled_from(("1:2", "2:4", "http", "dns")))
NAMED = st.builds(
    EndpointPort,
    name=st.sampled_from(("http", "dns")),
    port=st.integers(1, 4),
    protocol=st.sampled_from(("TCP", "UDP")),
)
ENTITIES = st.builds(
    EntityRule,
    selector=st.one_of(st.just(""), SELECTORS),
    not_selector=st.one_of(st.just(""), SELECTORS),
    ports=st.lists(PORTS, max_size=3).map(tuple),
    not_ports=st.lists(PORTS, max_size=3).map(tuple),
)
RULES = st.builds(
    Rule,
    action=st.sampled_from(("Allow", "Deny", "Pass", "Log")),
    protocol=st.sampled_from((None, "TCP", "UDP", 47)),
    source=ENTITIES,
    destination=ENTITIES,
)


def _host(
    number: int, labels: dict[str, str], address: str, ports: list[EndpointPort], profiles: list[str]
) -> Resource:
    spec = {"expected_ips": (address,), "ports": tuple(ports), "profiles": tuple(profiles)}
    return host_endpoint(f"h{number}", f"n{number}", labels, **spec)


def _set(number: int, labels: dict[str, str]) -> Resource:
    return network_set(f"s{number}", f"10.0.{number}.0/24", **labels)


def _policy(number: int, rules: list[Rule], selector: str, where: str, staged: str) -> Resource:
    return policy(f"g{number}", *rules, selector=selector, tier=where, staged=staged)


HOSTS = st.builds(
    _host,
    st.integers(1, 4),
    LABELS,
    st.sampled_from(ADDRESSES),
    st.lists(NAMED, max_size=3),
    st.lists(st.just("p"), max_size=1),
)
POLICIES = st.builds(
    _policy,
    st.integers(1, 3),
    st.lists(RULES, max_size=2),
    SELECTORS,
    st.sampled_from(("default", "t", "u")),
    st.sampled_from(("", "Set")),
)
RESOURCES: st.SearchStrategy[Any] = st.one_of(
    HOSTS,
    st.builds(_set, st.integers(1, 2), LABELS),
    st.builds(lambda labels: profile("p", labels=labels), LABELS),
    st.builds(lambda order: tier("t", order), st.sampled_from((None, 1, 2e6))),
    POLICIES,
)
WORLDS = st.lists(RESOURCES, max_size=10, unique_by=lambda each: (each.KIND, each.name))


@given(st.lists(LABELS, max_size=6), SELECTORS)
@settings(deadline=None)
def test_a_selectors_mask_says_what_the_selector_says_of_each_row(
    rows: list[dict[str, str]], text: str
) -> None:
    selector = parse(text)
    assert LabelTable(rows).picked(selector).tolist() == [selector.matches(labels) for labels in rows]


@given(WORLDS.flatmap(lambda world: st.tuples(st.just(world), st.permutations(world))))
@settings(max_examples=60, deadline=None)
def test_the_order_of_resources_does_not_change_the_view(
    worlds: tuple[list[Resource], list[Resource]],
) -> None:
    one, other = (view_of(*world) for world in worlds)
    assert plain(one) == plain(other)


@given(st.lists(WORLDS, min_size=2, max_size=4))
@settings(max_examples=60, deadline=None)
def test_a_calculator_that_moves_between_worlds_never_differs_from_a_fresh_one(
    worlds: list[list[Resource]],
) -> None:
    calculator = Calculator()
    for resources in worlds:
        world = World.from_resources(resources)
        assert plain(calculator.view(world, FACTS)) == plain(Calculator().view(world, FACTS))


def _holds(port: int | str, end: tuple[str, int, int], hosts: list[Any]) -> bool:
    """Whether an (address, protocol, port) meets one entry of a port list, straight from its definition."""
    address, protocol, number = end
    if isinstance(port, int):
        return number == port
    if ":" in port:
        low, high = port.split(":")
        return int(low) <= number <= int(high)
    wanted = (port, {6: "TCP", 17: "UDP"}.get(protocol), number)
    named = [each for host in hosts if address in host.spec.expected_ips for each in host.spec.ports]
    return any((each.name, each.protocol, each.port) == wanted for each in named)


def _meets(entity: EntityRule, end: tuple[str, int, int], hosts: list[Any]) -> bool:
    if end[1] not in PORT_PROTOCOLS:
        return not entity.ports
    if entity.ports and not any(_holds(port, end, hosts) for port in entity.ports):
        return False
    return not any(_holds(port, end, hosts) for port in entity.not_ports)


PORT_LISTS = st.lists(PORTS, max_size=3).map(tuple)
PORT_ENTITIES = st.builds(EntityRule, ports=PORT_LISTS, not_ports=PORT_LISTS)


@given(
    st.lists(HOSTS, max_size=4, unique_by=lambda host: host.name),
    PORT_ENTITIES,
    PORT_ENTITIES,
    st.sampled_from((None, 6, 17)),
)
@settings(max_examples=60, deadline=None)
def test_a_rule_split_for_its_named_ports_matches_exactly_what_the_lists_say(
    hosts: list[Any], source: EntityRule, destination: EntityRule, protocol: int | None
) -> None:
    rule = Rule(action="Allow", protocol=protocol, source=source, destination=destination)
    view = view_of(
        host_endpoint("own", "n1"), *(each for each in hosts if each.spec.node != "n1"), policy("p", rule)
    )
    (found,) = table(view).tiers[0].policies[0].rules
    known = [each for each in hosts if each.spec.node != "n1"]
    for number in (6, 17, 132, 47):
        for port in (0,) if number == 47 else range(1, 5):
            for address, other in (
                ("10.0.0.1", "10.0.0.2"),
                ("10.0.0.3", "10.0.0.1"),
                ("10.0.0.2", "10.0.0.9"),
            ):
                ports = {} if number == 47 else {"source_port": port, "destination_port": 5 - port}
                expected = (
                    protocol in (None, number)
                    and _meets(source, (address, number, port), known)
                    and _meets(destination, (other, number, 5 - port), known)
                )
                assert accepts(found, packet(address, other, number, **ports)) is expected
