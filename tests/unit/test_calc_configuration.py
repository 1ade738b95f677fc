"""FelixConfiguration as a node obeys it, and the host's own facts in the view."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pyagent.calc import World, settings
from pyagent.calc.view import AddressSet, NodeView, PodToHost
from pyagent.model import FelixConfiguration, Service
from pyagent.model.config import ProtoPort
from pyagent.model.endpoint import ServicePort, ServiceSpec
from pyagent.model.facts import Tunnel
from tests.support.policy_world import FACTS, felix, view_of
from tests.support.resources import host_endpoint, node


def failsafes(direction: str, *configurations: FelixConfiguration) -> set[tuple[int, int, str | None]]:
    found = view_of(*configurations).failsafes
    return {(each.protocol, each.port, each.net) for each in found if each.direction == direction}


def numbers(group: AddressSet) -> set[tuple[int, int]]:
    return {*group.v4, *group.v6}


def test_the_default_failsafes_are_todays_list_and_dhcpv6() -> None:
    shared = {(6, port, None) for port in (179, 2379, 2380, 5473, 6443, 6666, 6667)}
    assert failsafes("ingress") == shared | {(6, 22, None), (17, 68, None), (17, 546, None)}
    assert failsafes("egress") == shared | {(17, 53, None), (17, 67, None), (17, 547, None)}


def test_the_old_profile_has_seven_each_way() -> None:
    old = felix(failsafe_profile="v3.14")
    shared = {(6, port, None) for port in (179, 2379, 2380, 6666, 6667)}
    assert failsafes("ingress", old) == shared | {(6, 22, None), (17, 68, None)}
    assert failsafes("egress", old) == shared | {(17, 53, None), (17, 67, None)}


def test_a_given_list_replaces_one_direction_and_an_empty_one_disables_it() -> None:
    own = (ProtoPort(protocol="TCP", port=2222, net="10.0.0.9/8"), ProtoPort(protocol="SCTP", port=5))
    given = felix(failsafe_inbound_host_ports=own)
    assert failsafes("ingress", given) == {(6, 2222, "10.0.0.0/8"), (132, 5, None)}
    assert len(failsafes("egress", given)) == 10
    assert failsafes("ingress", felix(failsafe_inbound_host_ports=())) == set()


def test_unknown_words_fall_back_to_the_defaults_and_are_reported() -> None:
    view = view_of(felix(failsafe_profile="v9", default_endpoint_to_host_action="Maybe"))
    assert len(view.failsafes) == 20
    assert view.pod_to_host is PodToHost.RETURN
    assert len(view.warnings) == 2


def test_a_nodes_own_configuration_wins_field_by_field() -> None:
    default = felix(failsafe_profile="v3.14", default_endpoint_to_host_action="Drop")
    own = felix("node.n1", default_endpoint_to_host_action="Accept")
    view = view_of(default, own)
    assert view.pod_to_host is PodToHost.ACCEPT
    assert len(view.failsafes) == 14
    other = view_of(default, felix("node.n2", default_endpoint_to_host_action="Accept"))
    assert other.pod_to_host is PodToHost.DROP


def test_a_nodes_empty_list_overrides_a_given_one() -> None:
    default = felix(interface_exclude=("lo",))
    assert settings(World.from_resources([default]), "n1").why_excluded("lo")
    own = felix("node.n1", interface_exclude=())
    assert not settings(World.from_resources([default, own]), "n1").why_excluded("lo")


def test_without_configuration_policy_decides_about_pods_to_their_host() -> None:
    assert view_of().pod_to_host is PodToHost.RETURN


@pytest.mark.parametrize("name", ["cali12", "veth0", "lxc9", "cni0", "docker0", "eni3"])
def test_pods_interfaces_are_known_by_name(name: str) -> None:
    assert settings(World.from_resources(), "n1").is_workload(name)


@pytest.mark.parametrize("name", ["eth0", "ens3", "lo", "bond0", "wg0"])
def test_a_hosts_own_interfaces_are_not_taken_for_pods(name: str) -> None:
    assert not settings(World.from_resources(), "n1").is_workload(name)


def test_workload_patterns_are_replaced_by_a_list_and_extended_by_a_prefix() -> None:
    listed = settings(World.from_resources([felix(workload_interfaces=("pod*",))]), "n1")
    assert (listed.is_workload("pod1"), listed.is_workload("cali1")) == (True, False)
    prefixed = settings(World.from_resources([felix(interface_prefix="x,y")]), "n1")
    assert [prefixed.is_workload(name) for name in ("x1", "y1", "cali1", "z1")] == [True, True, True, False]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, ((47, 0),)),
        ({"vxlan_enabled": True}, ((17, 4789), (47, 0))),
        ({"vxlan_enabled": True, "vxlan_port": 8472}, ((17, 8472), (47, 0))),
        ({"vxlan_enabled": False, "vxlan_port": 8472}, ((47, 0),)),
        ({"ipip_enabled": True, "wireguard_enabled": True}, ((4, 0), (17, 51820), (47, 0))),
    ],
)
def test_tunnels_are_those_configured_and_those_found(
    spec: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    assert view_of(felix(**spec), facts=replace(FACTS, tunnels=(Tunnel(47),))).tunnels == expected


def ports_of(text: str) -> frozenset[tuple[int, int]]:
    return view_of(felix(node_ports=(text,))).node_ports


def test_node_ports_come_from_facts_services_and_configuration() -> None:
    ports = (ServicePort(node_port=30080), ServicePort(port=81), ServicePort(protocol="UDP", node_port=30053))
    shop = Service(api_version="v1", kind="Service", spec=ServiceSpec(ports=ports))
    view = view_of(
        shop, felix(node_ports=("tcp:31000",)), facts=replace(FACTS, node_ports=frozenset({(6, 5)}))
    )
    assert view.node_ports == {(6, 30080), (17, 30053), (6, 31000), (6, 5)}


def test_node_ports_may_be_ranges_and_of_any_port_protocol() -> None:
    assert ports_of("tcp:30000:30002") == {(6, 30000), (6, 30001), (6, 30002)}
    assert ports_of("UDP:53") == {(17, 53)}
    assert ports_of("30000") == {(6, 30000), (17, 30000), (132, 30000)}


@pytest.mark.parametrize("text", ["icmp:5", "tcp:", "70000", "5:4", "x"])
def test_a_bad_node_port_is_ignored_and_reported(text: str) -> None:
    view = view_of(felix(node_ports=(text, "tcp:31000")))
    assert view.node_ports == {(6, 31000)}
    assert len(view.warnings) == 1


def test_the_hosts_addresses_hold_its_interfaces_broadcasts_and_what_is_local_everywhere() -> None:
    local = numbers(view_of().host)
    assert {(0x0A000001, 32), (0xFD00 << 112 | 1, 128), (0x0A0000FF, 32)} <= local
    assert {
        (127 << 24, 8),
        (224 << 24, 4),
        (0xFFFFFFFF, 32),
        (0, 32),
        (0, 128),
        (1, 128),
        (0xFF << 120, 8),
    } <= local
    assert (0x0A000002, 32) not in local


def test_known_nodes_are_automatic_and_wildcard_endpoints_and_internal_addresses() -> None:
    made = {"projectcalico.org/created-by": "calico-kube-controllers"}
    view = view_of(
        host_endpoint("a", "n1", expected_ips=("10.0.0.1",)),
        host_endpoint("b", "n2", made, interface_name="eth0", expected_ips=("10.0.0.2",)),
        host_endpoint("c", "n3", interface_name="eth0", expected_ips=("10.0.0.3",)),
        node("n4", "10.0.0.4", addresses=(("ExternalIP", "9.9.9.9"),)),
    )
    assert numbers(view.nodes) == {(0x0A000001, 32), (0x0A000002, 32), (0x0A000004, 32)}


def view_with(address: str) -> NodeView:
    return view_of(host_endpoint("a", "n1", expected_ips=(address,)))


def test_a_bad_address_is_ignored_and_reported() -> None:
    assert numbers(view_with("10.0.0.1").nodes) == {(0x0A000001, 32)}
    view = view_with("10.0.0.300")
    assert numbers(view.nodes) == set()
    assert view.warnings == (
        "HostEndpoint a: '10.0.0.300' is neither an address nor a network and is ignored",
    )
