"""Services as a host sees them: directly, or by the digest that a cluster's controller makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from pyagent import manifest
from pyagent.calc import World
from pyagent.calc.services import endpoints_of, node_ports, outside_ports, services_digest
from pyagent.calc.view import NodeView
from pyagent.errors import ManifestError
from pyagent.model import AUTOHEP_V1, ClusterServices, EndpointSlice, Metadata, Resource, Service
from pyagent.model.policy import ServiceMatch
from pyagent.model.services import ClusterServicesSpec
from tests.support.policy_world import EntityRule, Rule, endpoint_slice, plain, policy, view_of
from tests.support.resources import host_endpoint

WEB = Rule(action="Allow", source=EntityRule(services=ServiceMatch(name="shop", namespace="web")))


def service(name: str = "shop", status: Any = None, **spec: Any) -> Service:
    document = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "web"},
        "spec": spec,
    }
    made = manifest.decode(document | ({"status": status} if status else {}))
    assert isinstance(made, Service)
    return made


def port(number: int, node_port: int = 0, protocol: str = "TCP") -> dict[str, Any]:
    return {"port": number, "protocol": protocol, "nodePort": node_port}


def balanced(*ingress: dict[str, Any]) -> dict[str, Any]:
    return {"loadBalancer": {"ingress": list(ingress)}}


def digest(*resources: Resource) -> ClusterServices:
    """What the controller would write."""
    spec = services_digest(
        [each for each in resources if isinstance(each, Service)],
        [each for each in resources if isinstance(each, EndpointSlice)],
        [each for each in resources if each.KIND == "GlobalNetworkPolicy"],  # type: ignore[misc]
    )
    return ClusterServices(
        api_version=AUTOHEP_V1, kind="ClusterServices", metadata=Metadata(name="default"), spec=spec
    )


def test_node_ports_of_every_protocol_are_in_the_digest_and_plain_ports_are_not() -> None:
    found = digest(service(ports=[port(80, 30080), port(53, 30053, "UDP"), port(81)])).spec.node_ports
    assert [(each.protocol, each.ports) for each in found] == [("TCP", (30080,)), ("UDP", (30053,))]


def test_a_health_check_port_is_the_hosts_own_and_no_node_port() -> None:
    shop = service(ports=[port(80, 30080)], healthCheckNodePort=32000)
    assert node_ports(World.from_resources([shop])) == {(6, 30080)}
    assert node_ports(World.from_resources([digest(shop)])) == {(6, 30080)}


def test_outside_addresses_have_the_ports_of_their_services() -> None:
    shop = service(ports=[port(80), port(443)], externalIPs=["192.0.2.1"])
    mail = service("mail", balanced({"ip": "192.0.2.1"}, {"hostname": "x"}), ports=[port(25)])
    expected = {"192.0.2.1": {(6, 80), (6, 443), (6, 25)}}
    assert outside_ports(World.from_resources([shop, mail])) == expected
    assert outside_ports(World.from_resources([digest(shop, mail)])) == expected


def test_a_load_balancer_that_is_a_proxy_keeps_its_address_to_itself() -> None:
    proxied = service(status=balanced({"ip": "192.0.2.1", "ipMode": "Proxy"}), ports=[port(80)])
    direct = service(status=balanced({"ip": "192.0.2.1", "ipMode": "VIP"}), ports=[port(80)])
    assert outside_ports(World.from_resources([proxied])) == {}
    assert outside_ports(World.from_resources([direct])) == {"192.0.2.1": {(6, 80)}}


@pytest.mark.parametrize(
    "status", [{"loadBalancer": 5}, {"loadBalancer": {"ingress": "x"}}, balanced({"ip": 7})]
)
def test_a_status_that_makes_no_sense_says_nothing(status: Any) -> None:
    assert outside_ports(World.from_resources([service(status=status, ports=[port(80)])])) == {}


def test_what_is_no_address_is_left_out() -> None:
    odd = service(ports=[port(80)], externalIPs=["example.com", "192.0.2.0/24", "192.0.2.9"])
    assert [each.address for each in digest(odd).spec.addresses] == ["192.0.2.9"]


def test_only_services_that_policies_name_bring_their_endpoints() -> None:
    named = endpoint_slice("shop", "10.1.0.5", "10.1.0.6", ports=(("TCP", 80), ("TCP", 81), ("UDP", None)))
    other = endpoint_slice("mail", "10.1.0.7", ports=(("TCP", 25),), name="t")
    found = digest(named, other, policy("p", WEB)).spec.services
    assert [(each.namespace, each.name) for each in found] == [("web", "shop")]
    (group,) = found[0].endpoints
    assert (group.protocol, group.ports, group.addresses) == ("TCP", (80, 81), ("10.1.0.5", "10.1.0.6"))
    assert digest(named, other).spec.services == ()


def test_the_digest_does_not_depend_on_the_order_of_anything() -> None:
    one = service(ports=[port(80, 30080)], externalIPs=["192.0.2.1"])
    two = service("mail", ports=[port(25, 30025)], externalIPs=["192.0.2.2"])
    slices = [
        endpoint_slice("shop", "10.1.0.5", "10.1.0.6", ports=(("TCP", 80),), name=name) for name in "ab"
    ]
    assert digest(one, two, *slices, policy("p", WEB)) == digest(policy("p", WEB), *slices[::-1], two, one)


def test_endpoints_are_those_of_slices_and_digest_together() -> None:
    direct = endpoint_slice("shop", "10.1.0.5", ports=(("TCP", 80),))
    told = digest(endpoint_slice("shop", "10.1.0.6", ports=(("TCP", 80),)), policy("p", WEB))
    found = endpoints_of(World.from_resources([direct, told]), "web", "shop")
    assert {len(nets) for nets in found.values()} == {2}


def views(*resources: Resource) -> tuple[NodeView, NodeView]:
    """The view of the resources, and the view of the digest in place of Services and slices."""
    rest = [each for each in resources if not isinstance(each, Service | EndpointSlice)]
    return plain(view_of(*resources)), plain(view_of(*rest, digest(*resources)))


def test_a_policy_means_the_same_by_digest_as_by_services() -> None:
    direct, told = views(
        host_endpoint("h", "n1"),
        policy("p", WEB),
        service(ports=[port(80, 30080)], externalIPs=["10.0.0.1"]),
        endpoint_slice("shop", "10.1.0.5", ports=(("TCP", 80),)),
    )
    assert direct == told
    assert direct.node_ports == {(6, 30080)}
    assert direct.endpoints[0].tables


def test_only_this_hosts_addresses_are_redirected_and_only_at_the_services_ports() -> None:
    shop = service(ports=[port(80), port(443)], externalIPs=["10.0.0.1", "203.0.113.9", "fd00::1"])
    (match,) = view_of(shop).redirected
    (held,) = match.destination.all_of
    assert (held.v4, held.v6) == (((0x0A000001, 32),), ((0xFD00 << 112 | 1, 128),))
    assert (match.l4.protocols, match.l4.ports) == (frozenset({6}), ((80, 80), (443, 443)))
    assert view_of(service(ports=[port(80)], externalIPs=["203.0.113.9"])).redirected == ()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"nodePorts": [{"protocol": "ICMP", "ports": [1]}]}, "spec.nodePorts[0].protocol"),
    ({"nodePorts": [{"protocol": "TCP", "ports": [80, 65536]}]}, "spec.nodePorts[0].ports[1]"),
    ({"addresses": [{"address": "x"}]}, "spec.addresses[0].address"),
    ({"addresses": [{"address": "::1", "ports": [{"protocol": "TCP", "ports": [0]}]}]},
     "spec.addresses[0].ports[0].ports[0]"),
    ({"services": [{"endpoints": [{"protocol": "TCP", "ports": [1], "addresses": ["1.2.3"]}]}]},
     "spec.services[0].endpoints[0].addresses[0]"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "place"), BAD)
def test_a_digest_that_somebody_wrote_wrongly_is_refused(spec: dict[str, Any], place: str) -> None:
    document = {"apiVersion": AUTOHEP_V1, "kind": "ClusterServices", "metadata": {"name": "default"}}
    with pytest.raises(ManifestError) as refused:
        manifest.decode(document | {"spec": spec})
    assert [each.path for each in refused.value.problems] == [place]


def test_there_is_one_digest_and_it_is_called_default() -> None:
    made = digest()
    assert manifest.validate(made) == []
    other = ClusterServices(
        api_version=AUTOHEP_V1,
        kind="ClusterServices",
        metadata=Metadata(name="mine"),
        spec=ClusterServicesSpec(),
    )
    assert [each.path for each in manifest.validate(other)] == ["metadata.name"]
