"""Packets that no socket sends by itself: fragments in any order, options, extension headers, raw frames."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path

from tests.lab.namespace import open_socket
from tests.netns.wires import FAMILY

ETH_P_IP, ETH_P_IPV6, ETH_P_VLAN, ETH_P_QINQ = 0x0800, 0x86DD, 0x8100, 0x88A8
_MORE = 0x2000
_IPV6_HDRINCL = 36  # linux/in6.h; Python has no name for it
_HOP_LIMIT = 64


def checksum(data: bytes) -> int:
    """The Internet checksum."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp(source: str, destination: str, source_port: int, port: int, payload: bytes) -> bytes:
    """A UDP datagram with its checksum, without IP header."""
    ends = ip_address(source).packed + ip_address(destination).packed
    length = 8 + len(payload)
    pseudo = ends + struct.pack(
        ">II" if len(ends) == 32 else ">HH", *((length, 17) if len(ends) == 32 else (17, length))
    )
    head = struct.pack(">HHH", source_port, port, length)
    return head + struct.pack(">H", checksum(pseudo + head + b"\0\0" + payload) or 0xFFFF) + payload


def ipv4(
    source: str, destination: str, protocol: int, payload: bytes, *, options: bytes = b"", fragment: int = 0,
    identification: int = 1,
) -> bytes:  # fmt: skip
    """An IPv4 packet; ``fragment`` is the field of flags and offset."""
    words = 5 + len(options) // 4
    total = words * 4 + len(payload)
    ends = ip_address(source).packed + ip_address(destination).packed

    def header(check: int) -> bytes:
        fixed = (0x40 | words, 0, total, identification, fragment, _HOP_LIMIT, protocol, check)
        return struct.pack(">BBHHHBBH", *fixed) + ends + options

    return header(checksum(header(0))) + payload


def ipv6(source: str, destination: str, next_header: int, payload: bytes) -> bytes:
    """An IPv6 packet."""
    ends = ip_address(source).packed + ip_address(destination).packed
    return struct.pack(">IHBB", 6 << 28, len(payload), next_header, _HOP_LIMIT) + ends + payload


def fragments(source: str, destination: str, datagram: bytes, size: int = 1000) -> list[bytes]:
    """The datagram (UDP) in IP packets of ``size`` bytes of it each, in order; a multiple of 8."""
    number = int.from_bytes(os.urandom(2)) | 1
    made = []
    for at in range(0, len(datagram), size):
        part, more = datagram[at : at + size], at + size < len(datagram)
        if ":" in source:
            head = struct.pack(">BBHI", 17, 0, at | int(more), number)
            made.append(ipv6(source, destination, 44, head + part))
        else:
            field = at // 8 | (_MORE if more else 0)
            made.append(ipv4(source, destination, 17, part, fragment=field, identification=number))
    return made


def send_packets(namespace: Path, packets: Iterable[bytes], destination: str) -> None:
    """Send whole IP packets by the kernel's routes."""
    version = 6 if ":" in destination else 4
    with open_socket(namespace, FAMILY[version], socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
        if version == 6:
            sender.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
        for packet in packets:
            sender.sendto(packet, (destination, 0))


def send_frames(namespace: Path, interface: str, frames: Sequence[bytes]) -> None:
    """Send frames as they are. What a filter drops on its way out is no error here."""
    with open_socket(namespace, socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((interface, 0))
        for frame in frames:
            try:
                sender.send(frame)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise


class Tap:
    """Frames that an interface's filters let in: sockets for one type come after them."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets

    def saw(self, marks: Iterable[bytes], patience: float = 0.5) -> set[bytes]:
        """Which of the marks frames carried that came within ``patience`` seconds; less if all did."""
        wanted, seen = set(marks), set[bytes]()
        deadline = time.monotonic() + patience
        while seen != wanted and (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select(self._sockets, [], [], left)
            for one in ready:
                data = one.recv(9000)
                seen |= {mark for mark in wanted if mark in data}
        return seen


@contextmanager
def tapped(namespace: Path, interface: str, *types: int) -> Iterator[Tap]:
    """A tap on an interface for these Ethernet types."""
    with ExitStack() as stack:
        sockets = []
        for kind in types:
            made = stack.enter_context(
                open_socket(namespace, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
            )
            made.bind((interface, kind))
            sockets.append(made)
        yield Tap(sockets)
