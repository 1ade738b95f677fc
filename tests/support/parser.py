"""Frames to packets in plain Python, by the rules that bpf/packet.h states: the judge of broken frames."""

from __future__ import annotations

from dataclasses import dataclass

from pyagent.abi import Direction, Reason
from pyagent.compiler.pipeline import Pipeline
from pyagent.model.packet import Packet
from tests.support.frames import DESTINATION, FRAGMENT, HOP_BY_HOP, IPV4, IPV6, QINQ, QINQ_OLD, ROUTING, VLAN

_TAGS = {VLAN, QINQ, QINQ_OLD}
_EXTENSIONS = {HOP_BY_HOP, ROUTING, DESTINATION, FRAGMENT}
_MOST_EXTENSIONS = 8
#: Bytes that a protocol's header needs of the IP packet.
_NEEDS = {6: 20, 17: 8, 132: 12, 1: 8, 58: 8}
#: Extension headers are followed this far into the frame, ports this far.
_FARTHEST = 1000
_FARTHEST_PORTS = 1024


class Broken(Exception):  # noqa: N818  (a property of the frame)
    """No packet comes of the frame; why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a frame carries. ``identifier``: of ICMP; ``first``: the first of several fragments."""

    packet: Packet
    first: bool = False
    identifier: int = 0


@dataclass(frozen=True, slots=True)
class _Network:
    """What the IP header said, and what is behind it."""

    version: int
    source: int
    destination: int
    protocol: int
    inner: bytes
    first: bool = False
    later: bool = False


def parse(data: bytes) -> Parsed:
    """The packet in an Ethernet frame; raises Broken."""
    ethertype, at = _ethernet(data)
    if ethertype == IPV4:
        return _transport(_ipv4(data[at:]))
    if ethertype == IPV6:
        return _transport(_ipv6(data, at))
    raise Broken(Reason.NON_IP)


def _ethernet(data: bytes) -> tuple[int, int]:
    """The type behind at most two tags, and where its payload begins."""
    ethertype, at = _word(data, 12), 14
    while ethertype in _TAGS:
        if at == 22:
            raise Broken(Reason.VLAN)
        if len(data) < at + 4:
            raise Broken(Reason.SHORT)
        ethertype, at = _word(data, at + 2), at + 4
    return ethertype, at


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2])


def _ipv4(data: bytes) -> _Network:
    if len(data) < 20:
        raise Broken(Reason.SHORT)
    header, total = (data[0] & 15) * 4, _word(data, 2) or len(data)
    if data[0] >> 4 != 4 or header < 20 or total < header:
        raise Broken(Reason.MALFORMED)
    if total > len(data):
        raise Broken(Reason.SHORT)
    fragment = _word(data, 6)
    later, more = bool(fragment & 0x1FFF), bool(fragment & 0x2000)
    addresses = int.from_bytes(data[12:16]), int.from_bytes(data[16:20])
    return _Network(4, *addresses, data[9], data[header:total], more and not later, later)


def _ipv6(data: bytes, start: int) -> _Network:
    at = start + 40
    if len(data) < at:
        raise Broken(Reason.SHORT)
    if data[start] >> 4 != 6:
        raise Broken(Reason.MALFORMED)
    payload = _word(data, start + 4)
    stop = at + payload if payload else len(data)
    if stop > len(data):
        raise Broken(Reason.SHORT)
    addresses = int.from_bytes(data[start + 8 : start + 24]), int.from_bytes(data[start + 24 : at])
    following, first, later, count = data[start + 6], False, False, 0
    while following in _EXTENSIONS and not later:
        if count == _MOST_EXTENSIONS or at > _FARTHEST:
            raise Broken(Reason.EXTENSIONS)
        if at + 8 > stop:
            raise Broken(Reason.SHORT)
        count += 1
        if following == FRAGMENT:
            fragment = _word(data, at + 2)
            later = fragment >= 8
            first = first or (not later and bool(fragment & 1))
            size = 8
        else:
            size = 8 + data[at + 1] * 8
        following, at = data[at], at + size
        if at > stop:
            raise Broken(Reason.SHORT)
    if at > _FARTHEST_PORTS and not later:
        raise Broken(Reason.EXTENSIONS)
    return _Network(6, *addresses, following, data[at:stop], first and not later, later)


def _transport(network: _Network) -> Parsed:
    ends = network.version, network.source, network.destination
    protocol, inner = network.protocol, network.inner
    if network.later:
        return Parsed(Packet(*ends, protocol, tcp_flags=0, fragment=True))
    if len(inner) < _NEEDS.get(protocol, 0):
        raise Broken(Reason.SHORT)
    if protocol == 6:
        if inner[12] < 0x50:
            raise Broken(Reason.MALFORMED)
        packet = Packet(*ends, 6, _word(inner, 0), _word(inner, 2), tcp_flags=inner[13])
    elif protocol in {17, 132}:
        packet = Packet(*ends, protocol, _word(inner, 0), _word(inner, 2))
    elif protocol in {1, 58}:
        packet = Packet(*ends, protocol, icmp_type=inner[0], icmp_code=inner[1])
        return Parsed(packet, network.first, _word(inner, 4))
    else:
        packet = Packet(*ends, protocol)
    return Parsed(packet, network.first)


def judge_frame(pipeline: Pipeline, data: bytes, interface: str, direction: Direction) -> Reason:
    """What this parser and the image say of a frame of which nothing is known."""
    nothing = Packet(4, 0, 0, 0)
    covered = pipeline.judge(interface, direction, nothing).reason
    if covered in {Reason.EXCLUDED, Reason.NO_ENDPOINT}:
        return covered
    try:
        parsed = parse(data)
    except Broken as broken:
        return broken.reason
    return pipeline.judge(interface, direction, parsed.packet).reason
