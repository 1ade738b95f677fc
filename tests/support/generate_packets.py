"""Random packets that seek out a world's boundaries: addresses in and beside its networks, ports' ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any, Literal

from pyagent.model import (
    EndpointSlice,
    FelixConfiguration,
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    HostEndpoint,
    Profile,
    Service,
    StagedGlobalNetworkPolicy,
)
from pyagent.model.config import ProtoPort
from pyagent.model.packet import PROTOCOL_NUMBERS, Packet
from pyagent.model.policy import EntityRule, Port, Protocol, Rule
from pyagent.reference import FlowState
from tests.support.generate import RandomWorld
from tests.support.generate_rules import NUMBERS

ALWAYS = (
    "127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "10.244.0.5", "203.0.113.9", "10.0.0.1",
    "10.0.0.2", "::1", "::", "ff02::1", "2001:db8::7", "fd00::1", "fd00::2", "fd99::9",
)  # fmt: skip
ICMP_VERSION: dict[Protocol | None, int] = {"ICMP": 4, 1: 4, "ICMPv6": 6, 58: 6}
SMALL = (1, 6, 17, 58, 132)
ICMP_TYPES = (0, 1, 3, 7, 8, 9, 127, 128, 129, 130, 134, 135, 137, 138, 143, 144, 253, 254, 255)


@dataclass(frozen=True, slots=True)
class Case:
    """A packet at a hook. ``received``: at egress, it came in by another interface."""

    interface: str
    direction: Literal["ingress", "egress"]
    packet: Packet
    received: bool = False
    flow: FlowState = FlowState.NEW


@dataclass(frozen=True)
class Interesting:
    """What distinguishes packets in a world."""

    world: RandomWorld

    @cached_property
    def rules(self) -> dict[str, list[Rule]]:
        """All rules of policies and profiles, by direction."""
        owners = [
            each
            for each in self.world.resources
            if isinstance(each, GlobalNetworkPolicy | StagedGlobalNetworkPolicy | Profile)
        ]
        return {
            "ingress": [rule for owner in owners for rule in owner.spec.ingress],
            "egress": [rule for owner in owners for rule in owner.spec.egress],
        }

    @cached_property
    def peers(self) -> dict[int, list[int]]:
        """By version: addresses that selectors and services may mean."""
        texts: list[str] = []
        for each in self.world.resources:
            if isinstance(each, HostEndpoint):
                texts += each.spec.expected_ips
            elif isinstance(each, GlobalNetworkSet):
                texts += each.spec.nets
            elif isinstance(each, EndpointSlice):
                texts += [address for endpoint in each.endpoints for address in endpoint.addresses]
        nets = [ip_network(text, strict=False) for text in texts]
        return {
            version: [int(net.network_address) for net in nets if net.version == version] for version in WIDTH
        }

    @cached_property
    def services(self) -> list[Service]:
        """Services with ports."""
        return [each for each in self.world.resources if isinstance(each, Service) and each.spec.ports]

    @cached_property
    def named_ports(self) -> list[int]:
        """Ports of host endpoints and services."""
        endpoints = [each for each in self.world.resources if isinstance(each, HostEndpoint)]
        slices = [each for each in self.world.resources if isinstance(each, EndpointSlice)]
        found = [port.port for each in endpoints for port in each.spec.ports]
        return found + [port.port for each in slices for port in each.ports if port.port is not None]

    @cached_property
    def failsafes(self) -> list[ProtoPort]:
        """Failsafes that some configuration has, and some defaults."""
        found = [ProtoPort(protocol="TCP", port=22), ProtoPort(protocol="UDP", port=53)]
        for each in self.world.resources:
            if isinstance(each, FelixConfiguration):
                found += each.spec.failsafe_inbound_host_ports or ()
                found += each.spec.failsafe_outbound_host_ports or ()
        return found

    @cached_property
    def addresses(self) -> dict[int, list[int]]:
        """By version: both ends of every network and what lies just beyond, and some that always matter."""
        texts = {*ALWAYS, *self.world.facts.addresses, *self.world.facts.broadcasts}
        texts |= {port.net for port in self.failsafes if port.net}
        for each in self.world.resources:
            if isinstance(each, GlobalNetworkSet):
                texts |= set(each.spec.nets)
        for rule in (*self.rules["ingress"], *self.rules["egress"]):
            for side in (rule.source, rule.destination):
                texts |= {*side.nets, *side.not_nets}
        found: dict[int, set[int]] = {4: set(), 6: set()}
        for text in texts:
            net = ip_network(text, strict=False)
            low, high = int(net.network_address), int(net.broadcast_address)
            found[net.version] |= {low - 1, low, high, high + 1}
        return {
            version: [each for each in sorted(ends) if 0 <= each < 1 << WIDTH[version]] + self.peers[version]
            for version, ends in found.items()
        }

    @cached_property
    def ports(self) -> list[int]:
        """The ends of every range and what lies just beyond; failsafes, tunnels and node ports."""
        numbers: set[int] = {0, 65535, 22, 53, 179, 6443, 10250, 4789, 51820, 8472, 30053, 31000, 7, *NUMBERS}
        numbers |= {port.port for port in self.failsafes} | set(self.named_ports)
        for rule in (*self.rules["ingress"], *self.rules["egress"]):
            for side in (rule.source, rule.destination):
                numbers |= {end for port in (*side.ports, *side.not_ports) for end in _ends(port)}
        near = (beside for port in numbers for beside in (port - 1, port, port + 1))
        return sorted(port for port in near if 0 <= port <= 65535)


WIDTH = {4: 32, 6: 128}


def _ends(port: Port) -> set[int]:
    if isinstance(port, int):
        return {port}
    low, colon, high = port.partition(":")
    return {int(low), int(high)} if colon else set()


def random_cases(world: RandomWorld, seed: int, count: int) -> Iterator[Case]:
    """``count`` packets at the world's host."""
    random = Random(seed)
    interesting = Interesting(world)
    names = (*(interface.name for interface in world.facts.interfaces), "eth0", "eth0", "eth0", "new0")
    for _ in range(count):
        direction: Literal["ingress", "egress"] = random.choice(("ingress", "egress"))
        packet = _packet(random, interesting, direction)
        flow = FlowState.NEW
        if random.random() < 0.06:
            flow = FlowState.RELATED if packet.protocol in (1, 58) else FlowState.ESTABLISHED
        received = direction == "egress" and random.random() < 0.2
        yield Case(random.choice(names), direction, packet, received, flow)


def _packet(random: Random, interesting: Interesting, direction: str) -> Packet:
    """Half of the packets aim at some rule, some at a failsafe or a tunnel."""
    rules = interesting.rules[direction]
    rule = random.choice(rules) if rules and random.random() < 0.6 else Rule()
    version = 6 if random.random() < 0.35 else 4
    wanted = rule.source.nets or rule.destination.nets
    if wanted and random.random() < 0.9:
        version = ip_network(wanted[0]).version
    elif rule.protocol in ICMP_VERSION and random.random() < 0.9:
        version = ICMP_VERSION[rule.protocol]
    source = _address(random, interesting, version, rule.source)
    destination = _address(random, interesting, version, rule.destination)
    own = _own(random, interesting.world, version)
    if direction == "ingress" and not rule.destination.nets:
        destination = own or destination
    elif direction == "egress" and not rule.source.nets:
        source = own or source
    flags = random.choice((2, 2, 2, 16, 18, 4))
    packet = Packet(version, source, destination, _protocol(random, rule), tcp_flags=flags)
    if random.random() < 0.05:
        return replace(packet, fragment=True)
    aim = random.random()
    if aim < 0.08:
        failsafe = random.choice(interesting.failsafes)
        ports = [random.choice(interesting.ports), failsafe.port]
        if random.random() < 0.3:
            ports.reverse()
        number = PROTOCOL_NUMBERS[failsafe.protocol]
        return replace(packet, protocol=number, source_port=ports[0], destination_port=ports[1])
    if aim < 0.11:
        peer = random.choice(interesting.peers[version] or interesting.addresses[version])
        remote = {"source" if direction == "ingress" else "destination": peer}
        protocol, port = random.choice(((4, 0), (47, 0), (17, 4789), (17, 51820), (17, 8472), (17, 6081)))
        return replace(packet, protocol=protocol, destination_port=port, **remote)
    if aim < 0.16 and interesting.services:
        return _to_service(random, interesting, packet)
    return replace(packet, **_detail(random, interesting, packet.protocol, rule))


def _to_service(random: Random, interesting: Interesting, packet: Packet) -> Packet:
    """To a NodePort of the host, or to a Service's port at an outside address, the host's own or not."""
    service = random.choice(interesting.services)
    port = random.choice(service.spec.ports)
    number = random.choice((port.node_port, port.port, port.port))
    outside = [ip_address(each) for each in service.spec.external_ips]
    fitting = [int(each) for each in outside if each.version == packet.version]
    destination = random.choice(fitting) if fitting and random.random() < 0.7 else packet.destination
    protocol = PROTOCOL_NUMBERS[port.protocol]
    ports = {"source_port": random.choice(interesting.ports), "destination_port": number}
    return replace(packet, protocol=protocol, destination=destination, **ports)


def _own(random: Random, world: RandomWorld, version: int) -> int | None:
    """An address of the host, in two cases of three."""
    own = [address for text in world.facts.addresses if (address := ip_address(text)).version == version]
    return int(random.choice(sorted(own, key=int))) if own and random.random() < 0.65 else None


def _address(random: Random, interesting: Interesting, version: int, side: EntityRule) -> int:
    if side.nets and random.random() < 0.8:
        net = ip_network(random.choice(side.nets))
        if net.version == version:
            return int(net.network_address) + random.randrange(net.num_addresses)
    if (side.selector or side.services) and interesting.peers[version] and random.random() < 0.8:
        return random.choice(interesting.peers[version])
    if random.random() < 0.03:
        return random.getrandbits(WIDTH[version])
    return random.choice(interesting.addresses[version])


def _protocol(random: Random, rule: Rule) -> int:
    if rule.protocol is not None and random.random() < 0.9:
        return PROTOCOL_NUMBERS[rule.protocol] if isinstance(rule.protocol, str) else rule.protocol
    return random.choice(SMALL) if random.random() < 0.85 else random.choice((0, 2, 4, 47, 50, 136, 254, 255))


def _detail(random: Random, interesting: Interesting, protocol: int, rule: Rule) -> dict[str, Any]:
    if protocol in (6, 17, 132):
        return {
            "source_port": _port(random, interesting, rule.source.ports),
            "destination_port": _port(random, interesting, rule.destination.ports),
        }
    if protocol in (1, 58):
        given = [each for each in (rule.icmp, rule.not_icmp) if each is not None and each.type is not None]
        if given and random.random() < 0.6:
            aimed = random.choice(given)
            return {
                "icmp_type": aimed.type,
                "icmp_code": random.choice((0, 1, aimed.code or 0, aimed.code or 0, 255)),
            }
        return {"icmp_type": random.choice(ICMP_TYPES), "icmp_code": random.choice((0, 0, 1, 2, 255))}
    return {}


def _port(random: Random, interesting: Interesting, wanted: tuple[Port, ...]) -> int:
    """A port at the ends of the wanted ones, of something with a name, or beside any end."""
    ends = [end for port in wanted for end in _ends(port)]
    if ends and random.random() < 0.7:
        return random.choice(sorted(ends))
    if interesting.named_ports and random.random() < 0.3:
        return random.choice(interesting.named_ports)
    return random.choice(interesting.ports) if random.random() < 0.9 else random.randrange(65536)
