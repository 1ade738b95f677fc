"""Which interface of a host a packet crosses, where the question does not say."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from pyagent.inquiry.hosts import LOOPBACK, Hosts
from pyagent.model.facts import HostFacts
from pyagent.model.packet import Packet
from pyagent.reference import DirectionName

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Crossing:
    """A packet at one hook. ``received``: on its way out, it came in by another interface."""

    node: str
    interface: str
    direction: DirectionName
    packet: Packet
    received: bool = False

    def __str__(self) -> str:
        return f"{self.direction} at {self.node} {self.interface}"


def ends(packet: Packet) -> tuple[Address, Address]:
    """Source and destination."""
    kind = ipaddress.IPv4Address if packet.version == 4 else ipaddress.IPv6Address
    return kind(packet.source), kind(packet.destination)


def inbound(hosts: Hosts, node: str, packet: Packet) -> str:
    """The interface by which the packet enters the host."""
    source, destination = ends(packet)
    return _interface(hosts, node, far=source, near=destination)


def outbound(hosts: Hosts, node: str, packet: Packet) -> str:
    """The interface by which the packet leaves the host (``lo`` if it stays)."""
    source, destination = ends(packet)
    return _interface(hosts, node, far=destination, near=source)


def is_own(hosts: Hosts, node: str, address: Address) -> bool:
    """An address of the host itself, loopback included."""
    return address.is_loopback or str(address) in _normal(hosts.facts(node))


def _interface(hosts: Hosts, node: str, *, far: Address, near: Address) -> str:
    """By the other end: a pod is behind its interface, the host itself behind ``lo``, all else outside."""
    for interface, addresses in hosts.pods(node):
        if any(ipaddress.ip_address(each) == far for each in addresses):
            return interface
    if is_own(hosts, node, far) or near.is_loopback:
        return LOOPBACK.name
    outside = [
        each for each in hosts.facts(node).interfaces if each.name != LOOPBACK.name and not each.workload
    ]
    carrying = [
        each for each in outside if any(ipaddress.ip_address(text) == near for text in each.addresses)
    ]
    return next((each.name for each in (*carrying, *outside)), LOOPBACK.name)


def _normal(facts: HostFacts) -> set[str]:
    return {str(ipaddress.ip_address(text)) for text in facts.addresses}
