"""Addresses and networks as numbers: parsed with the C library, for thousands of them are read at a time."""

from __future__ import annotations

import socket

from pyagent.calc.view import Net

WIDTH = {4: 32, 6: 128}


def parse_net(text: str) -> tuple[int, Net]:
    """IP version and network of an address or CIDR; host bits are cleared. Raises ValueError."""
    address, slash, length = text.partition("/")
    version = 6 if ":" in address else 4
    try:
        packed = socket.inet_pton(socket.AF_INET6 if version == 6 else socket.AF_INET, address)
    except OSError:
        message = f"{text!r} is neither an address nor a network"
        raise ValueError(message) from None
    number, width = int.from_bytes(packed), WIDTH[version]
    if not slash:
        return version, (number, width)
    if not (length.isascii() and length.isdecimal() and int(length) <= width):
        message = f"{text!r} has no valid prefix length"
        raise ValueError(message)
    host_bits = width - int(length)
    return version, (number >> host_bits << host_bits, int(length))


def net_text(version: int, net: Net) -> str:
    """A network in CIDR notation."""
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    return f"{socket.inet_ntop(family, net[0].to_bytes(WIDTH[version] // 8))}/{net[1]}"


def canonical(text: str) -> str:
    """An address or CIDR as CIDR with host bits cleared. Raises ValueError."""
    return net_text(*parse_net(text))


def by_version(nets: set[tuple[int, Net]]) -> tuple[tuple[Net, ...], tuple[Net, ...]]:
    """The IPv4 and the IPv6 networks of ``nets``, each sorted."""
    return (
        tuple(sorted(net for version, net in nets if version == 4)),
        tuple(sorted(net for version, net in nets if version == 6)),
    )
