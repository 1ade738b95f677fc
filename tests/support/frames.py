"""Frames as bytes from packets as policy sees them: Ethernet, VLAN tags, IPv4 and IPv6 with all that may
stand between their header and the ports. Checksums are left 0: the program looks at none.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Final

from pyagent.model.packet import Packet

VLAN: Final = 0x8100
QINQ: Final = 0x88A8
QINQ_OLD: Final = 0x9100
IPV4: Final = 0x0800
IPV6: Final = 0x86DD
ETHERTYPE: Final = {4: IPV4, 6: IPV6}

HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
#: Next headers that the program walks over; no packet's protocol in IPv6.
EXTENSIONS: Final = (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION)

#: Ethernet addresses, locally administered.
_ADDRESSES: Final = bytes.fromhex("020000000002020000000001")
_MORE_FRAGMENTS: Final = 0x2000


class Part(Enum):
    """Which part of a datagram a frame carries; a later fragment is said by the packet itself."""

    WHOLE = "whole"
    FIRST = "first fragment"
    ATOMIC = "atomic fragment"


@dataclass(frozen=True, slots=True)
class Wrapping:
    """How a packet travels; the verdict depends on none of it.

    ``tags``: ethertypes of VLAN tags, outermost first. ``options``: bytes of IPv4 options, a multiple of 4 up
    to 40. ``extensions``: (next header, further 8-byte units) of IPv6 extension headers; a fragment header in
    it is atomic. ``identifier``: of ICMP echo. ``padding``: bytes of the frame behind the IP packet.
    """

    tags: tuple[int, ...] = ()
    options: int = 0
    extensions: tuple[tuple[int, int], ...] = ()
    part: Part = Part.WHOLE
    fragment_id: int = 0x1234
    identifier: int = 1
    payload: bytes = field(default=b"", repr=False)
    padding: int = 0


PLAIN: Final = Wrapping()


def frame(packet: Packet, wrapping: Wrapping = PLAIN) -> bytes:
    """The Ethernet frame that carries ``packet``."""
    tags = b"".join(struct.pack(">HH", tag, 7) for tag in wrapping.tags)
    ethertype = struct.pack(">H", ETHERTYPE[packet.version])
    return _ADDRESSES + tags + ethertype + datagram(packet, wrapping) + bytes(wrapping.padding)


def ethernet(ethertype: int, payload: bytes, tags: tuple[int, ...] = ()) -> bytes:
    """A frame of any type; below 1536 ``ethertype`` is a length and the frame LLC."""
    return (
        _ADDRESSES
        + b"".join(struct.pack(">HH", tag, 7) for tag in tags)
        + struct.pack(">H", ethertype)
        + payload
    )


def datagram(packet: Packet, wrapping: Wrapping = PLAIN) -> bytes:
    """The IP packet alone, as layer 3 devices and ICMP errors carry it."""
    inner = wrapping.payload if packet.fragment else segment(packet, wrapping)
    return _ipv4(packet, wrapping, inner) if packet.version == 4 else _ipv6(packet, wrapping, inner)


def segment(packet: Packet, wrapping: Wrapping = PLAIN) -> bytes:
    """What stands behind the IP header."""
    ports = packet.source_port, packet.destination_port
    payload = wrapping.payload
    match packet.protocol:
        case 6:
            return struct.pack(">HHIIBBHHH", *ports, 1, 1, 0x50, packet.tcp_flags, 65535, 0, 0) + payload
        case 17:
            return struct.pack(">HHHH", *ports, 8 + len(payload), 0) + payload
        case 132:
            return struct.pack(">HHII", *ports, 1, 0) + payload
        case 1 | 58:
            kind = packet.icmp_type, packet.icmp_code
            return struct.pack(">BBHHH", *kind, 0, wrapping.identifier, 1) + payload
        case _:
            return payload


def _ipv4(packet: Packet, wrapping: Wrapping, inner: bytes) -> bytes:
    words = 5 + wrapping.options // 4
    fragment = 0
    if packet.fragment:
        fragment = 185
    elif wrapping.part is Part.FIRST:
        fragment = _MORE_FRAGMENTS
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x40 | words, 0, words * 4 + len(inner), wrapping.fragment_id & 0xFFFF, fragment, 64,
        packet.protocol, 0, packet.source.to_bytes(4), packet.destination.to_bytes(4),
    )  # fmt: skip
    return header + b"\x01" * wrapping.options + inner


def _ipv6(packet: Packet, wrapping: Wrapping, inner: bytes) -> bytes:
    chain = list(wrapping.extensions)
    fragment = 0
    if packet.fragment:
        chain, fragment = [*chain, (FRAGMENT, 0)], 185 << 3
    elif wrapping.part is not Part.WHOLE:
        chain, fragment = [*chain, (FRAGMENT, 0)], int(wrapping.part is Part.FIRST)
    numbers = [*(number for number, _ in chain), packet.protocol]
    headers = b""
    for at, ((number, units), upper) in enumerate(zip(chain, numbers[1:], strict=True)):
        if number == FRAGMENT:
            last = fragment if at == len(chain) - 1 else 0
            headers += struct.pack(">BBHI", upper, 0, last, wrapping.fragment_id)
        else:
            # The rest is padding: Pad1 options.
            headers += bytes([upper, units]) + bytes(6 + 8 * units)
    header = struct.pack(
        ">IHBB16s16s", 6 << 28, len(headers) + len(inner), numbers[0], 64,
        packet.source.to_bytes(16), packet.destination.to_bytes(16),
    )  # fmt: skip
    return header + headers + inner


def random_wrapping(random: Random, packet: Packet) -> Wrapping:
    """One way among all for ``packet`` to travel; half of the time the plain one."""
    if random.random() < 0.5:
        return PLAIN
    tags = random.choice(((), (), (VLAN,), (QINQ, VLAN), (VLAN, VLAN), (QINQ_OLD, VLAN)))
    part = random.choice((Part.WHOLE, Part.WHOLE, Part.FIRST, Part.ATOMIC))
    options = 0
    extensions: tuple[tuple[int, int], ...] = ()
    if packet.version == 4:
        options = random.choice((0, 0, 4, 8, 40))
    elif random.random() < 0.6:
        extensions = tuple(
            (random.choice(EXTENSIONS), random.choice((0, 0, 1, 3))) for _ in range(random.randint(0, 7))
        )
        # What a fragment header says of length is reserved and 0.
        extensions = tuple((number, 0 if number == FRAGMENT else units) for number, units in extensions)
    return Wrapping(
        tags=tags,
        options=options,
        extensions=extensions,
        part=part,
        fragment_id=random.getrandbits(16) | 1,
        identifier=random.getrandbits(16),
        payload=bytes(random.choice((0, 0, 1, 8, 100, 1000))),
        padding=random.choice((0, 0, 0, 6, 18)),
    )
