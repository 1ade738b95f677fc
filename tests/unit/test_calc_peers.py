"""A calculator that is asked again: the same objects where nothing changed, new ones where it did."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pyagent.calc import Calculator, NodeView, World
from pyagent.calc.view import AddressSet, PolicyView
from pyagent.model import HostEndpoint, Profile
from pyagent.model.policy import ServiceMatch
from tests.support.policy_world import (
    FACTS,
    EndpointPort,
    EntityRule,
    allow,
    endpoint_slice,
    plain,
    policy,
    profile,
    table,
    view_of,
)
from tests.support.resources import host_endpoint, network_set, node

HTTP = (EndpointPort(name="http", protocol="TCP", port=80),)


def peer(number: int, **labels: str) -> HostEndpoint:
    return host_endpoint(
        f"n{number}-hep", f"n{number}", labels, expected_ips=(f"10.0.0.{number}",), ports=HTTP
    )


WEB = EntityRule(selector="role == 'web'")
RESOURCES = (
    peer(1, role="web"),
    peer(2, role="web"),
    peer(3, role="db"),
    policy("web", allow(source=WEB), allow(source=EntityRule(selector='role=="web"'))),
    policy("nets", allow(source=EntityRule(nets=("10.0.0.0/8", "11.0.0.0/8")))),
    policy("ports", allow(destination=EntityRule(ports=("http",), selector="role == 'db'"))),
    policy("service", allow(destination=EntityRule(services=ServiceMatch(name="shop", namespace="web")))),
    endpoint_slice("shop", "10.5.0.1", ports=(("TCP", 80),)),
    profile("spare", labels={"zone": "1"}),
)
BASE = World.from_resources(RESOURCES)


def policies(view: NodeView) -> dict[str, PolicyView]:
    return {each.name: each for each in table(view).tiers[0].policies}


def source(view: NodeView, name: str = "web", rule: int = 0) -> AddressSet:
    return policies(view)[name].rules[rule].matches[0].source.all_of[0]


def changed(world: World) -> set[str]:
    """The policies that are other objects after the move to ``world``; the view must equal a fresh one."""
    calculator = Calculator()
    before, after = policies(calculator.view(BASE, FACTS)), calculator.view(world, FACTS)
    assert plain(after) == plain(Calculator().view(world, FACTS))
    return {name for name, each in policies(after).items() if each is not before.get(name)}


def test_equal_selectors_are_one_object_however_they_are_written() -> None:
    view = view_of(*RESOURCES)
    assert source(view, rule=0) is source(view, rule=1)
    assert source(view).name == 'role == "web"'


def test_equal_network_lists_are_one_object_in_any_order() -> None:
    turned = policy("turned", allow(source=EntityRule(nets=("11.0.0.0/8", "10.0.0.0/8"))))
    view = view_of(*RESOURCES, turned)
    assert source(view, "nets") is source(view, "turned")
    assert source(view, "nets").name == "10.0.0.0/8, 11.0.0.0/8"


def test_long_network_lists_have_short_names() -> None:
    many = tuple(f"10.{number}.0.0/16" for number in range(9))
    view = view_of(*RESOURCES, policy("many", allow(source=EntityRule(nets=many))))
    assert source(view, "many").name == "10.0.0.0/16, 10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16 and 5 more"


def test_the_same_world_gives_the_same_objects() -> None:
    assert changed(BASE) == set()
    assert changed(World.from_resources(RESOURCES)) == set()


def relabelled(number: int, **labels: str) -> World:
    return BASE.put(peer(number, **labels))


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        (relabelled(1, role="web", other="x"), set()),
        (relabelled(1, role="mail"), {"web"}),
        (relabelled(3, role="web"), {"web", "ports"}),
        (relabelled(4, role="mail"), set()),
        (relabelled(4, role="web"), {"web"}),
        (relabelled(4, role="db"), {"ports"}),
        (BASE.remove("HostEndpoint", "n2-hep"), {"web"}),
        (BASE.put(network_set("offices", "10.9.0.0/16", role="web")), {"web"}),
        (BASE.put(endpoint_slice("shop", "10.5.0.2", ports=(("TCP", 80),))), {"service"}),
        (BASE.put(policy("nets", allow(source=EntityRule(nets=("10.0.0.0/8",))))), {"nets"}),
        (BASE.put(policy("more", allow())), {"more"}),
        (BASE.put(node("n9", "10.0.0.9")), set()),
    ],
)
def test_a_change_makes_new_only_what_looks_at_it(world: World, expected: set[str]) -> None:
    assert changed(world) == expected


def test_an_address_that_changes_is_followed() -> None:
    spec = msgspec.structs.replace(peer(1).spec, expected_ips=("10.7.0.1",))
    moved = msgspec.structs.replace(peer(1, role="web"), spec=spec)
    assert changed(BASE.put(moved)) == {"web"}


def test_labels_given_by_profiles_are_followed() -> None:
    def with_profile(labels: dict[str, str]) -> World:
        wearing = msgspec.structs.replace(
            peer(3), spec=msgspec.structs.replace(peer(3).spec, profiles=("spare",))
        )
        return BASE.put(wearing).put(profile("spare", labels=labels))

    calculator = Calculator()
    sizes = [
        len(source(calculator.view(with_profile(labels), FACTS)).v4)
        for labels in ({}, {"role": "web"}, {"role": "x"})
    ]
    assert sizes == [2, 3, 2]


def test_a_set_that_returns_to_its_content_is_right_again() -> None:
    calculator = Calculator()
    sizes = [
        len(source(calculator.view(world, FACTS)).v4)
        for world in (BASE, relabelled(3, role="web"), BASE, BASE.remove("HostEndpoint", "n2-hep"))
    ]
    assert sizes == [2, 3, 2, 1]


def test_known_nodes_keep_their_object_until_a_node_changes() -> None:
    calculator = Calculator()
    first = calculator.view(BASE, FACTS)
    assert calculator.view(relabelled(1, role="x"), FACTS).nodes is first.nodes
    assert calculator.view(BASE.put(node("n9", "10.0.0.9")), FACTS).nodes is not first.nodes


def test_removing_a_predefined_resource_brings_its_predefined_content_back() -> None:
    name = "projectcalico-default-allow"
    own = BASE.put(profile(name))
    assert own.of(Profile)[name].spec.ingress == ()
    assert own.remove("Profile", name).of(Profile)[name].spec.ingress != ()


def test_a_world_is_not_changed_by_what_is_made_from_it() -> None:
    before: dict[str, Any] = dict(BASE.of(HostEndpoint))
    BASE.put(peer(9))
    BASE.remove("HostEndpoint", "n1-hep")
    assert dict(BASE.of(HostEndpoint)) == before
