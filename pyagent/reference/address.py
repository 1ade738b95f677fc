"""Addresses and networks: text to values, and whether one is in another."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from pyagent.model.packet import Packet

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Local on every host, whatever addresses it has (loopback, unspecified, broadcast, multicast).
EVERYWHERE_LOCAL = (
    "127.0.0.0/8",
    "0.0.0.0/32",
    "255.255.255.255/32",
    "224.0.0.0/4",
    "::1/128",
    "::/128",
    "ff00::/8",
)


@lru_cache(maxsize=65536)
def network(text: str) -> Network:
    """A CIDR or a plain address (a network of one); bits beyond the mask are dropped."""
    return ipaddress.ip_network(text, strict=False)


@lru_cache(maxsize=65536)
def address(text: str) -> Address:
    """A plain address."""
    return ipaddress.ip_address(text)


def is_address(text: str) -> bool:
    """Whether ``text`` is a plain address; nodes list host names among their addresses."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def source_of(packet: Packet) -> Address:
    """The packet's source."""
    return (
        ipaddress.IPv4Address(packet.source) if packet.version == 4 else ipaddress.IPv6Address(packet.source)
    )


def destination_of(packet: Packet) -> Address:
    """The packet's destination."""
    target = packet.destination
    return ipaddress.IPv4Address(target) if packet.version == 4 else ipaddress.IPv6Address(target)


def within(where: Address, nets: Iterable[str]) -> bool:
    """Whether the address is in any of ``nets``; a network of the other family never holds it."""
    return any(where in network(net) for net in nets)
