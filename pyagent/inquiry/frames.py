"""Packets as the kernel gets them: frames, and the keys of the flows that they belong to.

Checksums are 0: the program looks at none.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Final

from pyagent import abi
from pyagent.abi import Direction, FlowOrigin
from pyagent.model.packet import ICMP_PROTOCOLS, Packet

#: Locally administered Ethernet addresses: destination, source.
_ETHERNET: Final = bytes.fromhex("020000000002020000000001")
_ETHERTYPES: Final = {4: 0x0800, 6: 0x86DD}
#: An offset of a later fragment, in units of 8 bytes.
_OFFSET: Final = 185
_FRAGMENT_HEADER: Final = 44
#: The identifier of ICMP messages.
_IDENTIFIER: Final = 1
#: ICMP replies and the requests that they answer, by protocol.
REPLIES: Final = {(1, 0): 8, (1, 14): 13, (1, 16): 15, (1, 18): 17, (58, 129): 128}
_REQUESTS: Final = {(protocol, request) for (protocol, _), request in REPLIES.items()}
#: ICMP types that tell of another packet.
ERRORS: Final = {1: (3, 11, 12), 58: (1, 2, 3, 4)}
_UDP: Final = 17


def is_error(packet: Packet) -> bool:
    """An ICMP message about another packet."""
    return not packet.fragment and packet.icmp_type in ERRORS.get(packet.protocol, ())


def has_flow(packet: Packet) -> bool:
    """Packets like this one belong to flows of their own."""
    if packet.fragment:
        return False
    kind = (packet.protocol, packet.icmp_type)
    return packet.protocol not in ICMP_PROTOCOLS or kind in _REQUESTS or kind in REPLIES


def complaint_about(packet: Packet) -> Packet:
    """What an ICMP error could be about: a packet that went the other way."""
    return replace(
        packet,
        source=packet.destination,
        destination=packet.source,
        protocol=_UDP,
        source_port=1000,
        destination_port=53,
        icmp_type=0,
        icmp_code=0,
    )


def frame(packet: Packet) -> bytes:
    """The Ethernet frame that carries a packet."""
    return _ETHERNET + struct.pack(">H", _ETHERTYPES[packet.version]) + _datagram(packet)


def _datagram(packet: Packet) -> bytes:
    inner = bytes(8) if packet.fragment else _segment(packet)
    return _ipv4(packet, inner) if packet.version == 4 else _ipv6(packet, inner)


def _segment(packet: Packet) -> bytes:
    ports = packet.source_port, packet.destination_port
    match packet.protocol:
        case 6:
            return struct.pack(">HHIIBBHHH", *ports, 1, 1, 0x50, packet.tcp_flags, 65535, 0, 0)
        case 17:
            return struct.pack(">HHHH", *ports, 8, 0)
        case 132:
            return struct.pack(">HHII", *ports, 1, 0)
        case 1 | 58:
            about = _datagram(complaint_about(packet)) if is_error(packet) else b""
            return struct.pack(">BBHHH", packet.icmp_type, packet.icmp_code, 0, _IDENTIFIER, 1) + about
        case _:
            return bytes(8)


def _ipv4(packet: Packet, inner: bytes) -> bytes:
    head = 0x45, 0, 20 + len(inner), 1, _OFFSET if packet.fragment else 0, 64, packet.protocol, 0
    ends = packet.source.to_bytes(4), packet.destination.to_bytes(4)
    return struct.pack(">BBHHHBBH4s4s", *head, *ends) + inner


def _ipv6(packet: Packet, inner: bytes) -> bytes:
    upper = packet.protocol
    if packet.fragment:
        inner = struct.pack(">BBHI", packet.protocol, 0, _OFFSET << 3, 1) + inner
        upper = _FRAGMENT_HEADER
    ends = packet.source.to_bytes(16), packet.destination.to_bytes(16)
    return struct.pack(">IHBB16s16s", 6 << 28, len(inner), upper, 64, *ends) + inner


def flow_key(packet: Packet, direction: Direction) -> bytes:
    """The key of the flow of a packet that has one, as the map has it."""
    width = 4 if packet.version == 4 else 16
    ends = (packet.source, packet.source_port), (packet.destination, packet.destination_port)
    local, remote = ends if direction is Direction.EGRESS else ends[::-1]
    ports, opener = struct.pack(">HH", local[1], remote[1]), 0
    if packet.protocol in ICMP_PROTOCOLS:
        request = REPLIES.get((packet.protocol, packet.icmp_type))
        asked = packet.icmp_type if request is None else request
        ports = struct.pack(">H", _IDENTIFIER) + struct.pack("=H", asked)
        opener = 1 + (direction if request is None else 1 - direction)
    addresses = local[0].to_bytes(width) + remote[0].to_bytes(width)
    return addresses + ports + bytes([packet.protocol, opener, 0, 0])


def flow_entry(opener: Direction, jiffies: int) -> bytes:
    """An approved flow as the map has it, opened and answered just now."""
    now = jiffies & 0xFFFFFFFF
    every_endpoint = (1 << abi.ENDPOINTS_MAX) - 1
    return abi.FLOW.pack(every_endpoint, 1, 60, now, now, 0, 1, opener, FlowOrigin.SEEDED, abi.FLOW_REPLIED)
