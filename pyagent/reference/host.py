"""The host itself: its endpoints and interfaces, its addresses, the tunnels and node ports it knows."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from pyagent.model import HostEndpoint, Service
from pyagent.model.facts import HostFacts, InterfaceFacts
from pyagent.model.packet import PORT_PROTOCOLS, PROTOCOL_NUMBERS, Packet
from pyagent.reference.address import EVERYWHERE_LOCAL, Address, address, destination_of, source_of, within
from pyagent.reference.resources import Resources

#: Neighbour and router discovery, redirects, MLD: ICMPv6 types that never meet policy.
NEIGHBOUR_TYPES = frozenset({*range(130, 138), 143})

#: ``30080``, ``30000:32767``, ``udp:30053``, ``udp:30000:32767``; every protocol unless one is named.
NODE_PORT = re.compile(r"(?:(?P<protocol>[A-Za-z]+):)?(?P<low>\d+)(?::(?P<high>\d+))?")


class Host:
    """One host as its facts and the resources describe it."""

    def __init__(self, resources: Resources, facts: HostFacts) -> None:
        self._resources = resources
        self._facts = facts
        self._nodes = resources.node_addresses()
        self.configuration = resources.configuration(facts.node)
        self.tunnels = self._tunnels()
        self.node_ports = self._node_ports()
        self.outside = self._outside()

    # -- interfaces

    def interface(self, name: str) -> InterfaceFacts:
        """The facts of an interface; of one that nobody described, its name is all that is known."""
        known = {interface.name: interface for interface in self._facts.interfaces}
        return known.get(name, InterfaceFacts(name))

    def excluded(self, interface: str) -> bool:
        """Left alone by configuration."""
        return any(fnmatchcase(interface, pattern) for pattern in self.configuration.interface_exclude or ())

    def endpoint(self, interface: InterfaceFacts) -> HostEndpoint | None:
        """The host endpoint in force: the first by name that means this interface, else the first ``*``."""
        own = [each for each in self._resources.of(HostEndpoint) if each.spec.node == self._facts.node]
        for each in own:
            if each.spec.interface_name == interface.name:
                return each
            if not each.spec.interface_name and self._has_address(interface, each):
                return each
        return next((each for each in own if each.spec.interface_name == "*"), None)

    @staticmethod
    def _has_address(interface: InterfaceFacts, endpoint: HostEndpoint) -> bool:
        carried = {address(text) for text in interface.addresses}
        return any(address(text) in carried for text in endpoint.spec.expected_ips)

    # -- addresses

    def is_local(self, where: Address) -> bool:
        """An address of this host, or one that is local on every host."""
        return within(where, (*self._facts.addresses, *self._facts.broadcasts, *EVERYWHERE_LOCAL))

    def is_node(self, where: Address) -> bool:
        """An address of a known node."""
        return within(where, self._nodes)

    # -- what configuration says beside policy

    def _tunnels(self) -> frozenset[tuple[int, int]]:
        spec = self.configuration
        configured = (
            (spec.vxlan_enabled, 17, spec.vxlan_port or 4789),
            (spec.ipip_enabled, 4, 0),
            (spec.wireguard_enabled, 17, spec.wireguard_listening_port or 51820),
            (spec.geneve_enabled, 17, spec.geneve_port or 6081),
        )
        found = {(tunnel.protocol, tunnel.port) for tunnel in self._facts.tunnels}
        return frozenset(found | {(protocol, port) for enabled, protocol, port in configured if enabled})

    def is_tunnel(self, packet: Packet, direction: str) -> bool:
        """Encapsulation between this host and a known node."""
        source, destination = source_of(packet), destination_of(packet)
        local, remote = (destination, source) if direction == "ingress" else (source, destination)
        if not (self.is_local(local) and self.is_node(remote)):
            return False
        if (packet.protocol, 0) in self.tunnels:
            return True
        has_ports = packet.protocol in PORT_PROTOCOLS and not packet.fragment
        return has_ports and (packet.protocol, packet.destination_port) in self.tunnels

    def _node_ports(self) -> frozenset[tuple[int, int]]:
        found = set(self._facts.node_ports)
        for service in self._resources.of(Service):
            found |= {
                (PROTOCOL_NUMBERS[port.protocol], port.node_port)
                for port in service.spec.ports
                if port.node_port
            }
        for digest in self._resources.digests():
            for group in digest.spec.node_ports:
                found |= {(PROTOCOL_NUMBERS[group.protocol], port) for port in group.ports}
        for text in self.configuration.node_ports:
            given = NODE_PORT.fullmatch(text)
            assert given is not None, f"validation lets no node port like {text!r} through"
            protocols = {PROTOCOL_NUMBERS[given["protocol"].upper()]} if given["protocol"] else PORT_PROTOCOLS
            low, high = int(given["low"]), int(given["high"] or given["low"])
            found |= {(number, port) for number in protocols for port in range(low, high + 1)}
        return frozenset(found)

    def _outside(self) -> frozenset[tuple[Address, int, int]]:
        """(address, protocol, port) of Services at external IPs and load balancers' addresses."""
        found = set()
        for service in self._resources.of(Service):
            balancer = (service.status or {}).get("loadBalancer", {}).get("ingress", [])
            theirs = [entry["ip"] for entry in balancer if "ip" in entry and entry.get("ipMode") != "Proxy"]
            for text in (*service.spec.external_ips, *theirs):
                found |= {
                    (address(text), PROTOCOL_NUMBERS[port.protocol], port.port) for port in service.spec.ports
                }
        for digest in self._resources.digests():
            for each in digest.spec.addresses:
                found |= {
                    (address(each.address), PROTOCOL_NUMBERS[group.protocol], port)
                    for group in each.ports
                    for port in group.ports
                }
        return frozenset(found)

    def is_redirected(self, packet: Packet) -> bool:
        """Addressed to this host, to an address and port that a Service takes elsewhere."""
        if packet.fragment or packet.protocol not in PORT_PROTOCOLS:
            return False
        return (destination_of(packet), packet.protocol, packet.destination_port) in self.outside

    def is_node_port(self, packet: Packet) -> bool:
        """Addressed to this host, to a port that it forwards by DNAT."""
        if packet.fragment or packet.protocol not in PORT_PROTOCOLS:
            return False
        return (packet.protocol, packet.destination_port) in self.node_ports


def is_neighbour(packet: Packet) -> bool:
    """Neighbour discovery, SLAAC or MLD."""
    return (
        packet.version == 6
        and packet.protocol == PROTOCOL_NUMBERS["ICMPv6"]
        and not packet.fragment
        and packet.icmp_type in NEIGHBOUR_TYPES
    )


def opens_connection(packet: Packet) -> bool:
    """A pure TCP SYN: always judged anew, whatever flow there was."""
    return (
        packet.protocol == PROTOCOL_NUMBERS["TCP"] and not packet.fragment and packet.tcp_flags & 0x12 == 0x02
    )
