"""Does a rule match a packet? If not, which of its conditions failed first, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pyagent.model.packet import ICMP_PROTOCOLS, PORT_PROTOCOLS, PROTOCOL_NUMBERS, Packet
from pyagent.model.policy import EntityRule, ICMPFields, Port, Rule
from pyagent.reference.address import Address, address, destination_of, source_of, within
from pyagent.reference.peers import Peers, Triple, matches_no_host, port_range, protocol_number

#: A condition that does not hold, in words; None: it holds.
Failure = str | None


@dataclass(frozen=True, slots=True)
class End:
    """What a rule's source or destination looks at. ``port`` None: the protocol has no ports."""

    name: str
    address: Address
    protocol: int
    port: int | None


def first_failure(rule: Rule, packet: Packet, peers: Peers) -> Failure:
    """The first condition of the rule that the packet does not meet; None: the rule matches.

    A later fragment must be given with the ports that it is to be judged by.
    """
    return next(_failures(rule, packet, peers), None)


def _failures(rule: Rule, packet: Packet, peers: Peers) -> Iterator[str]:
    has_ports = packet.protocol in PORT_PROTOCOLS
    source_port = packet.source_port if has_ports else None
    destination_port = packet.destination_port if has_ports else None
    yield from _protocol_failures(rule, packet)
    yield from _icmp_failures(rule, packet)
    source = End("source", source_of(packet), packet.protocol, source_port)
    yield from _side_failures(rule.source, source, peers)
    destination = End("destination", destination_of(packet), packet.protocol, destination_port)
    yield from _side_failures(rule.destination, destination, peers)


def _name(protocol: int) -> str:
    names = {number: name for name, number in PROTOCOL_NUMBERS.items()}
    return names.get(protocol, f"protocol {protocol}")


def _protocol_failures(rule: Rule, packet: Packet) -> Iterator[str]:
    wanted = protocol_number(rule.protocol) if rule.protocol is not None else None
    version = rule.ip_version
    if version is None:
        version = {1: 4, 58: 6}.get(wanted or 0)
    if version is not None and packet.version != version:
        yield f"it is IPv{packet.version}, not IPv{version}"
    if wanted is not None and packet.protocol != wanted:
        yield f"it is {_name(packet.protocol)}, not {_name(wanted)}"
    if rule.not_protocol is not None and packet.protocol == protocol_number(rule.not_protocol):
        yield f"it is {_name(packet.protocol)}, which notProtocol excludes"


def _is_icmp(fields: ICMPFields, packet: Packet) -> bool:
    """What is left open is met by every ICMP message; ``{}`` is any."""
    if packet.protocol not in ICMP_PROTOCOLS:
        return False
    if fields.type is not None and packet.icmp_type != fields.type:
        return False
    return fields.code is None or packet.icmp_code == fields.code


def _icmp_failures(rule: Rule, packet: Packet) -> Iterator[str]:
    what = f"ICMP type {packet.icmp_type} code {packet.icmp_code}"
    if rule.icmp is not None and not _is_icmp(rule.icmp, packet):
        yield f"{what} is not what icmp asks for"
    if rule.not_icmp is not None and _is_icmp(rule.not_icmp, packet):
        yield f"{what} is what notICMP excludes"


def _side_failures(side: EntityRule, end: End, peers: Peers) -> Iterator[str]:
    impossible = matches_no_host(side)
    if impossible:
        yield f"{end.name}: {impossible}"
    yield from _net_failures(side, end)
    yield from _selector_failures(side, end, peers)
    yield from _service_failures(side, end, peers)

    def any_of(ports: tuple[Port, ...]) -> bool:
        return any(_is_port(port, end, lambda name: peers.named_port(name, side.selector)) for port in ports)

    if side.ports and not any_of(side.ports):
        yield f"{end.name} port {_shown(end)} is none of {_listed(side.ports)}"
    if side.not_ports and any_of(side.not_ports):
        yield f"{end.name} port {_shown(end)} is one of notPorts {_listed(side.not_ports)}"


def _net_failures(side: EntityRule, end: End) -> Iterator[str]:
    if side.nets and not within(end.address, side.nets):
        yield f"{end.name} {end.address} is in none of {_listed(side.nets)}"
    if side.not_nets and within(end.address, side.not_nets):
        yield f"{end.name} {end.address} is in notNets {_listed(side.not_nets)}"


def _selector_failures(side: EntityRule, end: End, peers: Peers) -> Iterator[str]:
    selector = side.selector
    if side.namespace_selector and not selector:
        selector = "all()"
    if selector and not within(end.address, peers.addresses(selector)):
        yield f"{end.name} {end.address} is none of the endpoints and network sets with {selector}"
    if side.not_selector and within(end.address, peers.addresses(side.not_selector)):
        yield f"{end.name} {end.address} is one of those that notSelector {side.not_selector} excludes"


def _service_failures(side: EntityRule, end: End, peers: Peers) -> Iterator[str]:
    if side.services is None:
        return
    namespace, name = side.services.namespace, side.services.name
    triples = peers.service(namespace, name)
    if end.name == "source":
        # A service's endpoints open connections from ports of their own choice: only their addresses count.
        is_peer = any(address(where) == end.address for where, _, _ in triples)
    else:
        is_peer = _is_one_of(triples, end)
    if not is_peer:
        yield f"{end.name} {_shown(end)} is no endpoint of service {namespace}/{name}"


def _is_port(port: Port, end: End, named: Callable[[str], tuple[Triple, ...]]) -> bool:
    if end.port is None:
        return False
    span = port_range(port)
    if span is not None:
        return span[0] <= end.port <= span[1]
    return _is_one_of(named(str(port)), end)


def _is_one_of(triples: tuple[Triple, ...], end: End) -> bool:
    return end.port is not None and any(
        address(where) == end.address and protocol == end.protocol and port == end.port
        for where, protocol, port in triples
    )


def _shown(end: End) -> str:
    if end.port is None:
        return f"{end.address} ({_name(end.protocol)}, no ports)"
    return f"{end.address}:{end.port}" if end.address.version == 4 else f"[{end.address}]:{end.port}"


def _listed(items: tuple[Port, ...] | tuple[str, ...], limit: int = 6) -> str:
    texts = [str(item) for item in items]
    tail = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + tail
