"""Packets as people write them, and the packets they mean; one that cannot exist is refused."""

from __future__ import annotations

import ipaddress
from typing import Final

from pyagent.errors import AutohepError
from pyagent.inquiry.frames import has_flow, is_error
from pyagent.inquiry.hosts import Hosts, is_address
from pyagent.model.packet import ICMP_PROTOCOLS, PORT_PROTOCOLS, PROTOCOL_NUMBERS, Packet
from pyagent.model.resource import Struct
from pyagent.reference import FlowState

#: The source port of a packet that names none.
CLIENT_PORT: Final = 40000
#: Echo request, by protocol.
ECHO_REQUEST: Final = {1: 8, 58: 128}
FLAGS: Final = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ECE": 64, "CWR": 128}
_TCP: Final = 6
_ICMP_VERSION: Final = {1: 4, 58: 6}
#: Routing, fragment and destination options; 0 (hop by hop) is no protocol anyway.
_EXTENSION_HEADERS: Final = frozenset({43, 44, 60})


class PacketError(AutohepError):
    """No such packet can exist; ``field`` is the field at fault."""

    def __init__(self, field: str, reason: str) -> None:
        self.field, self.reason = field, reason
        super().__init__(f"{field}: {reason}")


class PacketSpec(Struct, frozen=True):
    """A packet in words: ``source`` and ``destination`` are addresses, names of nodes, or ``external``."""

    protocol: int | str | None = None
    source: str = ""
    source_port: int | None = None
    destination: str = ""
    destination_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    ip_version: int | None = None
    tcp_flags: int | str | tuple[str, ...] | None = None
    fragment: bool = False


def build(spec: PacketSpec, hosts: Hosts) -> Packet:
    """The packet that ``spec`` means. Raises PacketError if none can be like that."""
    protocol = _protocol(spec)
    version = _version(spec, protocol, hosts)
    if version == 6 and protocol in _EXTENSION_HEADERS:
        raise PacketError("protocol", f"{protocol} is an IPv6 extension header, no protocol of a packet")
    _refuse_misplaced(spec, protocol)
    kind, code = _icmp(spec, protocol)
    return Packet(
        version=version,
        source=_address("source", spec.source, version, hosts),
        destination=_address("destination", spec.destination, version, hosts),
        protocol=protocol,
        source_port=_port("sourcePort", spec.source_port, spec, protocol, CLIENT_PORT),
        destination_port=_port("destinationPort", spec.destination_port, spec, protocol, None),
        icmp_type=kind,
        icmp_code=code,
        tcp_flags=_flags(spec.tcp_flags),
        fragment=spec.fragment,
    )


def check_flow(packet: Packet, flow: FlowState) -> str:
    """Why nothing like that can be known of the packet's flow; empty: it can."""
    if flow is FlowState.RELATED and not is_error(packet):
        return "only an ICMP error is related to another flow"
    if flow is FlowState.ESTABLISHED and not has_flow(packet):
        what = "a later fragment" if packet.fragment else "this ICMP message"
        return f"{what} belongs to no flow of its own"
    return ""


def _protocol(spec: PacketSpec) -> int:
    given = spec.protocol
    if given is None:
        raise PacketError("protocol", "a packet has a protocol: a name or a number from 1 to 255")
    if isinstance(given, int):
        if not 1 <= given <= 255:
            raise PacketError("protocol", f"{given} is not from 1 to 255")
        return given
    if given not in PROTOCOL_NUMBERS:
        raise PacketError("protocol", f"'{given}' is none of {', '.join(PROTOCOL_NUMBERS)}, or a number")
    return PROTOCOL_NUMBERS[given]


def _version(spec: PacketSpec, protocol: int, hosts: Hosts) -> int:
    """What the field says, the addresses written out, the protocol; else IPv4 where both ends have it."""
    said: dict[str, int] = {}
    if spec.ip_version is not None:
        if spec.ip_version not in {4, 6}:
            raise PacketError("ipVersion", f"{spec.ip_version} is neither 4 nor 6")
        said["ipVersion"] = spec.ip_version
    for field, text in (("source", spec.source), ("destination", spec.destination)):
        if is_address(text):
            said[field] = ipaddress.ip_address(text).version
    if protocol in _ICMP_VERSION:
        said["protocol"] = _ICMP_VERSION[protocol]
    if len(set(said.values())) > 1:
        told = ", ".join(f"{field} says IPv{version}" for field, version in said.items())
        raise PacketError(list(said)[-1], f"one packet has one IP version: {told}")
    if said:
        return next(iter(said.values()))
    names = [text for text in (spec.source, spec.destination) if text in hosts.names]
    return 4 if all(hosts.address(name, 4) for name in names) else 6


def _address(field: str, text: str, version: int, hosts: Hosts) -> int:
    if not text:
        raise PacketError(field, f"a packet has a {field}: an address, a node's name, or external")
    try:
        found = hosts.resolve(text, version)
    except AutohepError as error:
        raise PacketError(field, str(error)) from error
    if found is None:
        raise PacketError(field, f"{text} has no IPv{version} address")
    return int(ipaddress.ip_address(found))


def _refuse_misplaced(spec: PacketSpec, protocol: int) -> None:
    """Fields that the protocol does not have."""
    name = spec.protocol
    for field, value in (("sourcePort", spec.source_port), ("destinationPort", spec.destination_port)):
        if value is not None and protocol not in PORT_PROTOCOLS:
            raise PacketError(field, f"a packet of protocol {name} has no ports that policy could see")
        if value is not None and spec.fragment:
            raise PacketError(field, "a later fragment carries no ports")
    for field, value in (("icmpType", spec.icmp_type), ("icmpCode", spec.icmp_code)):
        if value is not None and protocol not in ICMP_PROTOCOLS:
            raise PacketError(field, f"a packet of protocol {name} is no ICMP message")
        if value is not None and spec.fragment:
            raise PacketError(field, "a later fragment carries no ICMP type and code")
    if spec.tcp_flags is not None and (protocol != _TCP or spec.fragment):
        raise PacketError("tcpFlags", "only a TCP packet that is no later fragment has them")


def _icmp(spec: PacketSpec, protocol: int) -> tuple[int, int]:
    if protocol not in ICMP_PROTOCOLS or spec.fragment:
        return 0, 0
    if spec.icmp_code is not None and spec.icmp_type is None:
        raise PacketError("icmpCode", "a code means something only with icmpType")
    kind = ECHO_REQUEST[protocol] if spec.icmp_type is None else spec.icmp_type
    for field, value in (("icmpType", kind), ("icmpCode", spec.icmp_code or 0)):
        if not 0 <= value <= 255:
            raise PacketError(field, f"{value} is not from 0 to 255")
    return kind, spec.icmp_code or 0


def _port(field: str, value: int | None, spec: PacketSpec, protocol: int, default: int | None) -> int:
    if protocol not in PORT_PROTOCOLS or spec.fragment:
        return 0
    if value is None:
        if default is None:
            raise PacketError(field, f"a packet of protocol {spec.protocol} has a {field}")
        return default
    if not 0 <= value <= 65535:
        raise PacketError(field, f"{value} is not from 0 to 65535")
    return value


def _flags(given: int | str | tuple[str, ...] | None) -> int:
    """Flags as a number, ``SYN,ACK`` or a list of names; a packet that names none opens a connection."""
    if given is None:
        return FLAGS["SYN"]
    if isinstance(given, int):
        if not 0 <= given <= 255:
            raise PacketError("tcpFlags", f"{given} is not from 0 to 255")
        return given
    names = given.replace(",", " ").split() if isinstance(given, str) else given
    unknown = [name for name in names if name not in FLAGS]
    if unknown:
        raise PacketError("tcpFlags", f"'{unknown[0]}' is none of {', '.join(FLAGS)}")
    return sum(FLAGS[name] for name in set(names))
