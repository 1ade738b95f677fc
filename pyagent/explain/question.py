"""``--from`` and ``--to``: a packet on a command line, and the hooks that it crosses."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from pyagent.errors import UsageError
from pyagent.inquiry import Crossing, Hosts, PacketError, PacketSpec, build, check_flow, inbound, outbound
from pyagent.inquiry.hosts import is_address
from pyagent.inquiry.route import ends, is_own
from pyagent.model.packet import ICMP_PROTOCOLS, PROTOCOL_NUMBERS, Packet
from pyagent.reference import FlowState

_NAMES: Final = {name.lower(): name for name in PROTOCOL_NUMBERS}
_END: Final = re.compile(
    r"(?:\[(?P<bracketed>[^\]]+)\]|(?P<host>[^:/\[\]]+))(?::(?P<port>[^:/\[\]]*))?(?:/(?P<protocol>.+))?"
)


@dataclass(frozen=True, slots=True)
class End:
    """One end as given: host (address, node or ``external``), port, protocol with what follows it."""

    host: str
    port: int | None = None
    protocol: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """Everything that a command line says of a packet and its way.

    ``node`` and ``direction`` keep to the hooks of one host or of one direction; ``interface`` is where the
    packet enters, or where it leaves if it is only asked about on its way out.
    """

    source: End
    destination: End
    version: int | None = None
    node: str = ""
    interface: str = ""
    direction: str = ""
    flow: FlowState = FlowState.NEW

    def packet(self, hosts: Hosts) -> Packet:
        """The packet. Raises UsageError if none can be like that."""
        protocol, kind, code = self._protocol()
        spec = PacketSpec(
            protocol=protocol,
            source=self.source.host,
            source_port=self.source.port,
            destination=self.destination.host,
            destination_port=self.destination.port,
            icmp_type=kind,
            icmp_code=code,
            ip_version=self.version,
            tcp_flags=None if self.flow is FlowState.NEW or protocol != "TCP" else "ACK",
        )
        try:
            packet = build(spec, hosts)
        except PacketError as error:
            raise UsageError(f"no such packet: {error}") from error
        if why := check_flow(packet, self.flow):
            raise UsageError(f"--flow {self.flow.lower()}: {why}")
        return packet

    def _protocol(self) -> tuple[int | str, int | None, int | None]:
        """Name or number, ICMP type, ICMP code; TCP where there is only a port, else ICMP."""
        name, *rest = (
            self.destination.protocol or ("tcp" if self.destination.port is not None else "icmp")
        ).split(":")
        numbers = [_number(text, f"/{self.destination.protocol}") for text in rest]
        protocol: int | str = _NAMES.get(name.lower(), "") or _number(name, "protocol")
        is_icmp = (PROTOCOL_NUMBERS[protocol] if isinstance(protocol, str) else protocol) in ICMP_PROTOCOLS
        if len(numbers) > 2 or (numbers and not is_icmp):
            raise UsageError(f"'{self.destination.protocol}': only icmp and icmpv6 go on, as in icmp:3:4")
        if protocol == "ICMP" and 6 in {
            self.version,
            *map(_version, (self.source.host, self.destination.host)),
        }:
            protocol = "ICMPv6"
        kind, code = [*numbers, None, None][:2]
        return protocol, kind, code

    def crossings(self, hosts: Hosts, packet: Packet) -> tuple[Crossing, ...]:
        """The hooks that the packet crosses, in order. Raises UsageError if no host of ours is on its way."""
        found = [each for each in self._way(hosts, packet) if self._is_asked(each)]
        if not found:
            raise UsageError(
                "neither end is a node of these resources: say with --node whose hooks the packet crosses"
                if not self.node
                else f"the packet crosses no {self.direction or 'such'} hook of {self.node}"
            )
        if self.interface and not any(each.direction == "ingress" for each in found):
            return tuple(replace(each, interface=self.interface) for each in found)
        return tuple(found)

    def _is_asked(self, crossing: Crossing) -> bool:
        return self.node in {"", crossing.node} and self.direction in {"", crossing.direction}

    def _way(self, hosts: Hosts, packet: Packet) -> list[Crossing]:
        source, destination = ends(packet)
        starts, stops = hosts.owner(str(source)), hosts.owner(str(destination))
        if source.is_loopback or destination.is_loopback:
            starts = stops = self.node or starts or stops
        way: list[Crossing] = []
        if starts is not None:
            way.append(self._crossing(hosts, starts, "egress", packet))
        if self.node and self.node not in {starts, stops}:
            way += self._through(hosts, packet)
        if stops is not None:
            way.append(self._crossing(hosts, stops, "ingress", packet))
        return way

    def _through(self, hosts: Hosts, packet: Packet) -> list[Crossing]:
        """Hooks of a host that is neither end: forwarded, unless the destination is local everywhere."""
        hosts.check(self.node)
        enters = self._crossing(hosts, self.node, "ingress", packet)
        if is_own(hosts, self.node, ends(packet)[1]):
            return [enters]
        leaves = self._crossing(hosts, self.node, "egress", packet, received=True)
        return [enters, leaves]

    def _crossing(
        self, hosts: Hosts, node: str, direction: str, packet: Packet, *, received: bool = False
    ) -> Crossing:
        if direction == "ingress":
            return Crossing(node, self.interface or inbound(hosts, node, packet), "ingress", packet)
        return Crossing(node, outbound(hosts, node, packet), "egress", packet, received)


def _version(host: str) -> int | None:
    if not is_address(host):
        return None
    return 6 if ":" in host else 4


def _number(text: str, where: str) -> int:
    if not text.isdecimal() or not text.isascii() or len(text) > 5:
        raise UsageError(f"{where}: '{text}' is neither a number nor one of {', '.join(_NAMES)}")
    return int(text)


def parse_end(text: str, option: str, *, protocol: bool) -> End:
    """``HOST``, ``HOST:PORT``, ``HOST:PORT/PROTOCOL`` or ``HOST/icmp:TYPE:CODE``; an IPv6 address that has
    a port stands in brackets. Raises UsageError.
    """
    host, slash, rest = text.partition("/")
    if is_address(host):
        found: End | None = End(host, None, rest)
    else:
        match = _END.fullmatch(text)
        found = None
        if match is not None:
            port = None if match["port"] is None else _port(match["port"], option, text)
            found = End(match["bracketed"] or match["host"], port, match["protocol"] or "")
    shape = "HOST:PORT/PROTOCOL" if protocol else "HOST or HOST:PORT"
    if found is None or (slash and not found.protocol) or (found.protocol and not protocol):
        raise UsageError(f"{option} '{text}' is not of the form {shape}")
    return found


def _port(text: str, option: str, whole: str) -> int:
    if not text.isdecimal() or not text.isascii() or int(text) > 65535:
        raise UsageError(f"{option} '{whole}': '{text}' is no port from 0 to 65535")
    return int(text)
