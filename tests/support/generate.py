"""Random but valid worlds, for comparing engines: resources with every field of policy, and a host's facts.

Seeded by a number and fast enough for hundreds of thousands of packets; ``generate_packets.py`` makes those.
Values come from small palettes, so that rules overlap, shadow and contradict each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from pyagent.model import KINDS, Resource
from pyagent.model.config import FelixConfigurationSpec, ProtoPort
from pyagent.model.endpoint import (
    EndpointPort,
    EndpointSlice,
    GlobalNetworkSetSpec,
    HostEndpointSpec,
    NodeAddress,
    NodeStatus,
    ServicePort,
    ServiceSpec,
    SliceEndpoint,
    SlicePort,
)
from pyagent.model.facts import HostFacts, InterfaceFacts, Tunnel
from pyagent.model.policy import EntityRule, PolicySpec, ProfileSpec, Rule, TierSpec
from pyagent.model.resource import Metadata
from tests.support.generate_rules import NETS4, NETS6, PORT_NAMES, SERVICES, labels, rules, selector

Item = TypeVar("Item")

NODE = "n1"
INTERFACES = ("lo", "eth0", "eth1", "wg0", "cali1", "cali2")
PROFILES = ("projectcalico-default-allow", "one", "two", "missing")
TIERS = ("", "", "default", "default", "a", "b", "b-c", "kube-admin", "kube-baseline", "missing")
ORDERS = (None, None, None, -1.0, 0.0, 1.0, 1.0, 1.0, 1.5, 1000.0)
POLICY_NAMES = ("a", "a-b", "a.b", "a1", "ab", "b", "c", "c-d", "cd", "e", "e1", "e2", "f", "g")
#: Every so many worlds one has tables with many columns.
WIDE = 6


@dataclass(frozen=True, slots=True)
class RandomWorld:
    """What ``seed`` gives."""

    seed: int
    resources: tuple[Resource, ...]
    facts: HostFacts


def random_world(seed: int) -> RandomWorld:
    """The world of that seed: from nearly empty to a few dozen resources."""
    random = Random(seed)
    facts = _facts(random)
    resources = [
        *_nodes(random),
        *_endpoints(random),
        *_network_sets(random),
        *_tiers(random),
        *_profiles(random),
        *_policies(random),
        *_services(random),
        *_configurations(random),
    ]
    if seed % WIDE == 0:
        resources.append(_wide(random))
    return RandomWorld(seed, tuple(resources), facts)


def resource(kind: str, name: str, spec: Any = None, **fields: Any) -> Resource:
    """A resource of a kind; ``labels`` and ``namespace`` go to its metadata."""
    metadata = Metadata(name=name, labels=fields.pop("labels", {}), namespace=fields.pop("namespace", ""))
    made = KINDS[kind]
    if spec is not None:
        fields["spec"] = spec
    return made(api_version=made.API_VERSION, kind=kind, metadata=metadata, **fields)


def some(random: Random, items: tuple[Item, ...], most: int) -> tuple[Item, ...]:
    """Up to ``most`` different items in random order."""
    return tuple(random.sample(items, random.randint(0, min(most, len(items)))))


def _repeat(random: Random, most: int, make: Callable[[int], Resource]) -> list[Resource]:
    return [make(number) for number in range(random.randint(0, most))]


# -- the host


def _facts(random: Random) -> HostFacts:
    eth1 = some(random, ("10.0.1.1", "192.0.2.1", "fd00:1::1", "10.0.0.9"), 3)
    interfaces = (
        InterfaceFacts("lo", 1, ("127.0.0.1", "::1")),
        InterfaceFacts("eth0", 2, ("10.0.0.1", "fd00::1", "fe80::1")),
        InterfaceFacts("eth1", 3, eth1),
        InterfaceFacts("wg0", 4, ("10.99.0.1",), layer3=True),
        InterfaceFacts("cali1", 5, workload=True),
        InterfaceFacts("cali2", 6, random.choice(((), ("169.254.1.1",))), workload=True),
    )
    tunnels = some(random, (Tunnel(17, 4789), Tunnel(4), Tunnel(17, 51820), Tunnel(47)), 3)
    node_ports = frozenset(some(random, ((6, 30080), (17, 30053), (132, 30132), (6, 80)), 3))
    return HostFacts(NODE, interfaces, some(random, ("10.0.0.255", "10.0.1.255"), 2), tunnels, node_ports)


def _nodes(random: Random) -> list[Resource]:
    def node(number: int) -> Resource:
        listed = [
            NodeAddress(type="InternalIP", address=f"10.0.0.{number + 1}"),
            NodeAddress(type="ExternalIP", address=f"198.51.100.{number + 1}"),
            NodeAddress(type="Hostname", address=f"n{number + 1}"),
            NodeAddress(type="InternalIP", address=f"fd00::{number + 1}"),
        ]
        addresses = tuple(random.sample(listed, random.randint(0, 4)))
        return resource(
            "Node", f"n{number + 1}", labels=labels(random), status=NodeStatus(addresses=addresses)
        )

    return _repeat(random, 4, node)


# -- endpoints and sets


def _endpoints(random: Random) -> list[Resource]:
    automatic = {"projectcalico.org/created-by": "calico-kube-controllers"}
    made: list[Resource] = []
    if random.random() < 0.96:
        made.append(_endpoint(random, "n1-auto-hep", NODE, "*", automatic))
    for number in range(random.randint(0, 3)):
        interface = random.choice(("", "", "*", *INTERFACES, "eth9"))
        made.append(_endpoint(random, f"own-{random.choice('xyz')}{number}", NODE, interface))
    for number in range(2, 2 + random.randint(0, 4)):
        interface = random.choice(("*", "*", "eth0", ""))
        own = automatic if interface == "*" and random.random() < 0.5 else {}
        made.append(_endpoint(random, f"n{number}-hep", f"n{number}", interface, own))
    return made


def _endpoint(
    random: Random, name: str, node: str, interface: str, own: dict[str, str] | None = None
) -> Resource:
    number = int(node[1:])
    addresses = (f"10.0.0.{number}", f"fd00::{number}", f"10.0.1.{number}", f"192.0.2.{number}")
    expected = some(random, addresses, 3) or (() if interface else addresses[:1])
    ports = tuple(
        EndpointPort(
            name=random.choice(PORT_NAMES),
            port=random.choice((80, 8080, 53, 443, 65535, 1)),
            protocol=random.choice(("TCP", "TCP", "UDP", "SCTP", 6)),
        )
        for _ in range(random.randint(0, 3))
    )
    spec = HostEndpointSpec(
        node=node,
        interface_name=interface,
        expected_ips=expected,
        profiles=some(random, PROFILES, 3),
        ports=ports,
    )
    return resource("HostEndpoint", name, spec, labels=labels(random) | (own or {}))


def _network_sets(random: Random) -> list[Resource]:
    def network_set(number: int) -> Resource:
        nets = some(random, (*NETS4, *NETS6), 4) + some(random, ("192.0.2.77/24", "fd00:1::77/64"), 1)
        return resource(
            "GlobalNetworkSet", f"set{number}", GlobalNetworkSetSpec(nets=nets), labels=labels(random)
        )

    return _repeat(random, 4, network_set)


def _services(random: Random) -> list[Resource]:
    made: list[Resource] = []
    for namespace, name in some(random, SERVICES, 2):
        port = ServicePort(protocol=random.choice(("TCP", "UDP", "SCTP")), port=80)
        node_port = random.choice((0, 30080, 31000))
        ports = (ServicePort(protocol=port.protocol, port=80, node_port=node_port),)
        outside = ("10.0.0.1", "10.0.1.1", "203.0.113.9", "fd00::1", "10.0.0.2")
        spec = ServiceSpec(ports=ports, external_ips=some(random, outside, 2))
        ingress = [{"ip": address} for address in some(random, outside, 1)]
        ingress += random.choice(([], [{"hostname": "lb.example"}], [{"ip": "10.0.0.1", "ipMode": "Proxy"}]))
        status = {"loadBalancer": {"ingress": ingress} if ingress else {}}
        made.append(resource("Service", name, spec, namespace=namespace, status=status))
    return made + _repeat(random, 4, lambda number: _slice(random, number))


def _slice(random: Random, number: int) -> EndpointSlice:
    namespace, name = random.choice(SERVICES)
    addresses = some(random, ("10.244.0.5", "10.244.0.6", "10.0.0.2", "fd00::2", "10.0.0.1"), 3)
    ports = tuple(
        SlicePort(protocol=random.choice(("TCP", "UDP", "SCTP")), port=random.choice((80, 53, 8080, None)))
        for _ in range(random.randint(0, 2))
    )
    made = resource(
        "EndpointSlice",
        f"slice{number}",
        labels={"kubernetes.io/service-name": name},
        namespace=namespace,
        endpoints=tuple(SliceEndpoint(addresses=(address,)) for address in addresses),
        ports=ports,
    )
    assert isinstance(made, EndpointSlice)
    return made


# -- policy


def _tiers(random: Random) -> list[Resource]:
    return [
        resource(
            "Tier",
            name,
            TierSpec(order=random.choice(ORDERS), default_action=random.choice(("", "Deny", "Pass"))),
        )
        for name in some(random, ("a", "b", "b-c"), 3)
    ]


def _profiles(random: Random) -> list[Resource]:
    def profile(name: str) -> Resource:
        spec = ProfileSpec(
            ingress=rules(random, "ingress", 2),
            egress=rules(random, "egress", 2),
            labels_to_apply=labels(random),
        )
        return resource("Profile", name, spec)

    return [profile(name) for name in random.choice((("one",), ("one", "two"), ("one", "two"), ()))]


def _policies(random: Random) -> list[Resource]:
    names = some(random, POLICY_NAMES, random.choice((2, 5, 10, 12)))
    # Policies compete only within one tier, and names decide only among equal orders.
    tier, order = random.choice(TIERS), random.choice(ORDERS)
    return [
        _policy(
            random,
            name,
            tier=tier if random.random() < 0.6 else random.choice(TIERS),
            order=order if random.random() < 0.6 else random.choice(ORDERS),
        )
        for name in names
    ]


def _policy(random: Random, name: str, *, tier: str, order: float | None) -> Resource:
    kind = "StagedGlobalNetworkPolicy" if random.random() < 0.15 else "GlobalNetworkPolicy"
    stage = random.choice(("", "", "", "", "forward", "forward", "preDNAT", "untracked"))
    most = random.choice((1, 2, 4, 6))
    egress = () if stage == "preDNAT" else rules(random, "egress", most)
    types: tuple[str, ...] = random.choice(((), (), ("Ingress",), ("Egress",), ("Ingress", "Egress")))
    if stage == "preDNAT":
        types = random.choice(((), ("Ingress",)))
    spec = PolicySpec(
        tier=tier,
        order=order,
        selector=random.choice(("", "", "all()", selector(random))),
        namespace_selector="all()" if random.random() < 0.03 else "",
        service_account_selector="has(role)" if random.random() < 0.03 else "",
        types=types,
        ingress=rules(random, "ingress", most),
        egress=egress,
        do_not_track=stage == "untracked",
        pre_dnat=stage == "preDNAT",
        apply_on_forward=stage != "",
        performance_hints=("AssumeNeededOnEveryNode",) if random.random() < 0.1 else (),
        staged_action=random.choice(("", "Set", "Learn", "Delete", "Ignore")) if kind[0] == "S" else "",
    )
    return resource(kind, name, spec)


def _wide(random: Random) -> Resource:
    """A policy whose tables' rows have several pages: each port is open to peers of its own."""
    numbers = random.sample(range(1, 65535), random.choice((80, 100)))
    peers = (
        "10.0.0.2/32", "10.0.0.4/31", "10.0.1.0/24", "10.244.0.0/16", "192.0.2.0/24", "198.51.100.0/25",
        "169.254.0.0/16", "fd00::/64", "2001:db8::/32",
    )  # fmt: skip
    made = tuple(
        Rule(
            action=random.choice(("Allow", "Allow", "Deny")),
            protocol="TCP",
            source=EntityRule(nets=(net,)),
            destination=EntityRule(ports=tuple(random.sample(numbers, len(numbers) // 2))),
        )
        for net in peers
    )
    order = random.choice((None, 0.5, 5000.0))
    return resource("GlobalNetworkPolicy", "wide", PolicySpec(order=order, ingress=made, egress=made[::2]))


# -- configuration


def _configurations(random: Random) -> list[Resource]:
    return [
        resource("FelixConfiguration", name, _configuration(random))
        for name in some(random, ("default", "default", "node.n1", "node.n2"), 3)
    ]


def _configuration(random: Random) -> FelixConfigurationSpec:
    def sometimes(chance: float, value: Item, otherwise: Item) -> Item:
        return value if random.random() < chance else otherwise

    def failsafes() -> tuple[ProtoPort, ...]:
        nets = ("", "", "10.0.0.0/24", "fd00::/64", "10.0.0.2", "0.0.0.0/0")
        return tuple(
            ProtoPort(
                protocol=random.choice(("TCP", "UDP", "SCTP")),
                port=random.choice((22, 53, 80, 0, 65535, 8080)),
                net=random.choice(nets),
            )
            for _ in range(random.randint(0, 4))
        )

    return FelixConfigurationSpec(
        failsafe_inbound_host_ports=sometimes(0.5, failsafes(), None),
        failsafe_outbound_host_ports=sometimes(0.5, failsafes(), None),
        failsafe_profile=random.choice(("", "current", "v3.14")),
        default_endpoint_to_host_action=random.choice(("", "Return", "Accept", "Drop")),
        interface_exclude=sometimes(0.3, some(random, ("eth1", "wg*", "cali?", "lo"), 2), None),
        node_ports=some(random, ("tcp:8000:8010", "53", "sctp:7", "udp:30053"), 2),
        vxlan_enabled=random.choice((None, True, False)),
        vxlan_port=random.choice((None, None, 8472)),
        ipip_enabled=random.choice((None, True, False)),
        wireguard_enabled=random.choice((None, True, False)),
        geneve_enabled=random.choice((None, True, False)),
    )
