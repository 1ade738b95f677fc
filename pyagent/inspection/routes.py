"""What an image holds of where packets belong: this host's addresses, known nodes, tunnels, node ports."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, summarize_address_range
from itertools import groupby
from typing import Any, Final

from pyagent import abi
from pyagent.inspection.held import Held
from pyagent.inspection.names import protocol_name
from pyagent.inspection.spans import spans

_FAMILIES: Final[dict[int, Any]] = {4: IPv4Address, 6: IPv6Address}
_KINDS: Final = ((abi.ADDRESS_HOST, "this host"), (abi.ADDRESS_NODE, "known node"))
_NODE_PORT_PROTOCOLS: Final = (6, 17, 132)
_NODE_PORT_BYTES: Final = 8192


def routes(held: Held) -> list[dict[str, str]]:
    """Rows of ``is`` and ``what``: addresses as networks, then tunnels, then ports that are redirected."""
    found = [
        {"is": kind, "what": network}
        for flag, kind in _KINDS
        for version in _FAMILIES
        for network in _networks(held, version, flag)
    ]
    found += [{"is": "tunnel between nodes", "what": each} for each in _tunnels(held)]
    return found + [{"is": "node port", "what": each} for each in _node_ports(held)]


def _networks(held: Held, version: int, flag: int) -> Iterator[str]:
    """Addresses of a family that have a flag."""
    walker, family = held.walker, _FAMILIES[version]
    starts = [start for start, _ in spans(walker, version)]
    ends = [*starts[1:], 1 << family(0).max_prefixlen]
    flagged = [bool(walker.address_flags(version, start) & flag) for start in starts]
    for inside, group in groupby(zip(flagged, starts, ends, strict=True), key=lambda each: each[0]):
        pieces = list(group)
        if inside:
            yield from map(str, summarize_address_range(family(pieces[0][1]), family(pieces[-1][2] - 1)))


def _tunnels(held: Held) -> Iterator[str]:
    header = held.walker.header
    for index in range(header["tunnels"]):
        at = header["tunnels_at"] + index * abi.IMAGE_TUNNEL.size
        protocol, port = abi.IMAGE_TUNNEL.unpack_from(held.walker.whole, at)
        yield f"{protocol_name(protocol)} to port {port}" if port else f"protocol {protocol_name(protocol)}"


def _node_ports(held: Held) -> Iterator[str]:
    at = held.walker.header["node_ports_at"]
    for index, protocol in enumerate(_NODE_PORT_PROTOCOLS if at else ()):
        start = at + index * _NODE_PORT_BYTES
        bits = held.walker.whole[start : start + _NODE_PORT_BYTES]
        ports = (port for port in range(8 * _NODE_PORT_BYTES) if bits[port >> 3] >> (port & 7) & 1)
        yield from (f"{port}/{protocol_name(protocol)}" for port in ports)
