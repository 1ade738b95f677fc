"""Which host endpoint is active on which interface."""

from __future__ import annotations

from dataclasses import replace

from pyagent.calc import NodeView
from pyagent.model.facts import InterfaceFacts
from tests.support.policy_world import ETH0, FACTS, LO, felix, view_of
from tests.support.resources import host_endpoint

POD = InterfaceFacts("cali123", 9, (), workload=True)


def active(view: NodeView) -> dict[str, str]:
    return {interface: view.endpoints[slot].name for interface, slot in view.interfaces.items()}


def test_a_wildcard_covers_every_interface_loopback_and_pods_included() -> None:
    view = view_of(host_endpoint("all", "n1"), facts=replace(FACTS, interfaces=(LO, ETH0, POD)))
    assert active(view) == {"lo": "all", "eth0": "all", "cali123": "all"}
    assert view.wildcard == 0


def test_without_an_endpoint_nothing_is_covered() -> None:
    view = view_of()
    assert (view.endpoints, view.interfaces, view.wildcard) == ((), {}, None)


def test_an_endpoint_of_another_node_covers_nothing_here() -> None:
    assert active(view_of(host_endpoint("all", "n2"))) == {}


def test_a_named_endpoint_covers_only_its_interface() -> None:
    view = view_of(host_endpoint("named", "n1", interface_name="eth0"))
    assert active(view) == {"eth0": "named"}
    assert view.wildcard is None


def test_an_unnamed_endpoint_is_found_by_one_of_its_addresses() -> None:
    by_v6 = host_endpoint("by-ip", "n1", interface_name="", expected_ips=("10.9.9.9", "fd00:0::1"))
    assert active(view_of(by_v6)) == {"eth0": "by-ip"}
    elsewhere = host_endpoint("by-ip", "n1", interface_name="", expected_ips=("10.9.9.9",))
    assert active(view_of(elsewhere)) == {}


def test_an_endpoint_with_another_name_is_never_found_by_address() -> None:
    endpoint = host_endpoint("named", "n1", interface_name="eth1", expected_ips=("10.0.0.1",))
    assert active(view_of(endpoint)) == {}


def test_a_specific_endpoint_beats_the_wildcard_whatever_their_names() -> None:
    view = view_of(host_endpoint("a-all", "n1"), host_endpoint("z-named", "n1", interface_name="eth0"))
    assert active(view) == {"lo": "a-all", "eth0": "z-named"}


def test_of_several_matches_the_first_name_is_active_and_the_other_is_reported() -> None:
    named = host_endpoint("b", "n1", interface_name="eth0")
    by_ip = host_endpoint("a", "n1", interface_name="", expected_ips=("10.0.0.1",))
    view = view_of(named, by_ip)
    assert active(view) == {"eth0": "a"}
    assert view.warnings == ("HostEndpoint b is not in force: a comes first on eth0",)


def test_of_several_wildcards_the_first_name_is_active() -> None:
    view = view_of(host_endpoint("b", "n1"), host_endpoint("a", "n1"))
    assert active(view) == {"lo": "a", "eth0": "a"}
    assert "a already covers all interfaces" in view.warnings[0]


def test_slots_follow_the_names_in_byte_order() -> None:
    view = view_of(host_endpoint("b", "n1"), host_endpoint("B", "n1", interface_name="eth0"))
    assert [(each.slot, each.name) for each in view.endpoints] == [(0, "B"), (1, "b")]
    assert (view.interfaces, view.wildcard) == ({"lo": 1, "eth0": 0}, 1)


def test_a_wildcard_stays_in_force_when_every_interface_has_its_own_endpoint() -> None:
    view = view_of(
        host_endpoint("all", "n1"),
        host_endpoint("eth", "n1", interface_name="eth0"),
        host_endpoint("loop", "n1", interface_name="lo"),
    )
    assert view.wildcard == 0
    assert active(view) == {"lo": "loop", "eth0": "eth"}


def test_an_excluded_interface_is_left_alone_with_its_reason() -> None:
    view = view_of(host_endpoint("all", "n1"), felix(interface_exclude=("l?",)))
    assert active(view) == {"eth0": "all"}
    assert view.excluded == {"lo": "excluded by FelixConfiguration's interfaceExclude (l?)"}


def test_exclusion_also_beats_an_endpoint_that_names_the_interface() -> None:
    named = host_endpoint("named", "n1", interface_name="eth0")
    assert active(view_of(named)) == {"eth0": "named"}
    view = view_of(named, felix(interface_exclude=("eth*",)))
    assert active(view) == {}
    assert "excluded" in view.warnings[0]


def test_a_missing_interface_is_reported() -> None:
    view = view_of(host_endpoint("named", "n1", interface_name="eth7"))
    assert view.warnings == ("HostEndpoint named is not in force: the node has no interface eth7",)
