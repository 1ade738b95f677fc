"""What one side of a rule stands for: addresses of a selector, triples of named ports and of services."""

from __future__ import annotations

from functools import cache

from pyagent.model import HostEndpoint
from pyagent.model.packet import PORT_PROTOCOLS, PROTOCOL_NUMBERS
from pyagent.model.policy import EntityRule, Port, Protocol
from pyagent.reference.resources import Resources
from pyagent.selector import parse

#: Address as text, protocol number, port.
Triple = tuple[str, int, int]


def protocol_number(protocol: Protocol) -> int:
    """The number of a protocol given by name or number."""
    return protocol if isinstance(protocol, int) else PROTOCOL_NUMBERS[protocol]


def port_range(port: Port) -> tuple[int, int] | None:
    """The inclusive range of a numeric port or ``low:high``; None: a named port."""
    if isinstance(port, int):
        return port, port
    low, _, high = port.partition(":")
    if low.isdigit() and (high or low).isdigit():
        return int(low), int(high or low)
    return None


def matches_no_host(side: EntityRule) -> str:
    """Why nothing that this product knows can be on this side; empty: something can."""
    accounts = side.service_accounts
    if accounts is not None and (accounts.names or accounts.selector):
        return "service accounts never match a host"
    if side.namespace_selector and not parse(side.namespace_selector).is_global:
        return f"namespaceSelector {side.namespace_selector} never matches a host"
    return ""


class Peers:
    """Looks up peers among the resources; each look-up is remembered, for resources do not change."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self.addresses = cache(self._addresses)
        self.named_port = cache(self._named_port)
        self.service = cache(self._service)

    def _addresses(self, selector: str) -> tuple[str, ...]:
        """All networks of the host endpoints and network sets that ``selector`` picks."""
        endpoints, groups = self._resources.selected(selector)
        found = [address for endpoint in endpoints for address in endpoint.spec.expected_ips]
        return tuple(found + [net for group in groups for net in group.spec.nets])

    def _named_port(self, name: str, selector: str) -> tuple[Triple, ...]:
        """Where the port of that name is, on the host endpoints that ``selector`` picks (empty: on all)."""
        everything = self._resources.of(HostEndpoint)
        endpoints = self._resources.selected(selector)[0] if selector else everything
        return tuple(
            (address, protocol_number(port.protocol), port.port)
            for endpoint in endpoints
            for address in endpoint.spec.expected_ips
            for port in endpoint.spec.ports
            if port.name == name and protocol_number(port.protocol) in PORT_PROTOCOLS
        )

    def _service(self, namespace: str, name: str) -> tuple[Triple, ...]:
        """Address, protocol and port of every endpoint of a Service."""
        direct = [
            (address, protocol_number(port.protocol), port.port)
            for piece in self._resources.slices(namespace, name)
            for endpoint in piece.endpoints
            for address in endpoint.addresses
            for port in piece.ports
            if port.port is not None
        ]
        told = [
            (address, protocol_number(group.protocol), port)
            for digest in self._resources.digests()
            for service in digest.spec.services
            if (service.namespace, service.name) == (namespace, name)
            for group in service.endpoints
            for address in group.addresses
            for port in group.ports
        ]
        return tuple(direct + told)

    def triples(self, side: EntityRule) -> set[Triple]:
        """Every triple that this side could be compared with."""
        found: set[Triple] = set()
        for port in (*side.ports, *side.not_ports):
            if port_range(port) is None:
                found |= set(self.named_port(str(port), side.selector))
        if side.services is not None:
            found |= set(self.service(side.services.namespace, side.services.name))
        return found
