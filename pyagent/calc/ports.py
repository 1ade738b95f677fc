"""Ports: ranges as sets, named ports and services as groups of (addresses, protocol, ports)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pyagent.calc.view import AddressSet, PortRange
from pyagent.model.packet import PROTOCOL_NUMBERS
from pyagent.model.policy import Port, Protocol

Ports = tuple[PortRange, ...]


@dataclass(frozen=True, slots=True)
class PortGroup:
    """``ports`` of ``protocol`` at ``addresses``. Within one list no (protocol, port) is in two groups."""

    addresses: AddressSet
    protocol: int
    ports: Ports


def protocol_number(protocol: Protocol) -> int:
    """The number of a protocol given by name or number. Raises ValueError."""
    if isinstance(protocol, str) and not protocol.isdecimal():
        if protocol not in PROTOCOL_NUMBERS:
            message = f"unknown protocol {protocol!r}"
            raise ValueError(message)
        return PROTOCOL_NUMBERS[protocol]
    return int(protocol)


def split_ports(ports: Iterable[Port]) -> tuple[Ports, tuple[str, ...]]:
    """The numeric ports as ranges and the named ports, sorted. Raises ValueError."""
    ranges: list[PortRange] = []
    names: set[str] = set()
    for port in ports:
        if isinstance(port, int) or port.isdecimal():
            ranges.append((int(port), int(port)))
        elif ":" in port:
            ranges.append(parse_range(port))
        else:
            names.add(port)
    return union(ranges), tuple(sorted(names))


def parse_range(text: str) -> PortRange:
    """A ``low:high`` range. Raises ValueError."""
    low, _, high = text.partition(":")
    if not (low.isdecimal() and high.isdecimal() and int(low) <= int(high) <= 65535):
        message = f"{text!r} is no port range"
        raise ValueError(message)
    return int(low), int(high)


def union(ranges: Iterable[PortRange]) -> Ports:
    """The same ports in as few ranges as possible, ascending."""
    merged: list[PortRange] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def common(one: Ports, other: Ports) -> Ports:
    """The ports in both."""
    return union((max(a, c), min(b, d)) for a, b in one for c, d in other if max(a, c) <= min(b, d))


def without(ports: Ports, taken: Ports) -> Ports:
    """The ports of ``ports`` that are not in ``taken``."""
    rest = ports
    for low, high in taken:
        pieces = [piece for a, b in rest for piece in ((a, min(b, low - 1)), (max(a, high + 1), b))]
        rest = tuple(piece for piece in pieces if piece[0] <= piece[1])
    return union(rest)
