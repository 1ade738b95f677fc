"""What Services mean for a host: NodePorts, outside addresses, endpoints; of Services or of their digest.

Two sources, one meaning: Services and EndpointSlices themselves (embedded datastore, manifests offline), and
ClusterServices, which the controller makes of them by :func:`services_digest`. What both say is united.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pyagent.calc.nets import parse_net
from pyagent.calc.view import Net
from pyagent.calc.world import World
from pyagent.model import (
    ClusterServices,
    EndpointSlice,
    GlobalNetworkPolicy,
    Profile,
    Service,
    StagedGlobalNetworkPolicy,
)
from pyagent.model.packet import PORT_PROTOCOLS, PROTOCOL_NUMBERS
from pyagent.model.services import (
    ClusterServicesSpec,
    NamedService,
    ProtocolPorts,
    ServiceAddress,
    ServiceEndpoints,
)

SERVICE_LABEL: Final = "kubernetes.io/service-name"
#: Kinds whose rules can name Services.
Ruled = GlobalNetworkPolicy | StagedGlobalNetworkPolicy | Profile
RULED: Final = (GlobalNetworkPolicy, StagedGlobalNetworkPolicy, Profile)
_NAMES: Final = {number: name for name, number in PROTOCOL_NUMBERS.items() if number in PORT_PROTOCOLS}
_SERVED: Final = {name: number for number, name in _NAMES.items()}

#: (protocol number, port).
Port = tuple[int, int]
#: (namespace, name).
ServiceName = tuple[str, str]
#: IP version and network, as calc has them, by protocol and port.
Triples = dict[Port, set[tuple[int, Net]]]


def node_ports(world: World) -> set[Port]:
    """The NodePorts of all Services."""
    found = {port for service in world.of(Service).values() for port in _node_ports(service)}
    for digest in world.of(ClusterServices).values():
        found |= set(_ports(digest.spec.node_ports))
    return found


def outside_ports(world: World) -> dict[str, set[Port]]:
    """What Services have at external IPs and load balancers' addresses, by address as it is written."""
    found = _outside(world.of(Service).values())
    for digest in world.of(ClusterServices).values():
        for each in digest.spec.addresses:
            found.setdefault(each.address, set()).update(_ports(each.ports))
    return found


def endpoints_of(world: World, namespace: str, name: str) -> Triples:
    """Where a Service's endpoints are."""
    triples: Triples = {}
    for port, addresses in _slices(world.of(EndpointSlice).values()).get((namespace, name), {}).items():
        _add(triples, port, addresses)
    for digest in world.of(ClusterServices).values():
        for service in digest.spec.services:
            if (service.namespace, service.name) == (namespace, name):
                for group in service.endpoints:
                    for port in _ports((ProtocolPorts(protocol=group.protocol, ports=group.ports),)):
                        _add(triples, port, group.addresses)
    return {port: nets for port, nets in triples.items() if nets}


def services_digest(
    services: Iterable[Service],
    slices: Iterable[EndpointSlice],
    ruled: Iterable[Ruled],
) -> ClusterServicesSpec:
    """What agents need of ``services`` and ``slices`` when ``ruled`` are the policies and profiles.

    The same for the same input in any order; addresses are sorted as texts.
    """
    services = tuple(services)
    named = _slices(slices)
    wanted = sorted({name for each in ruled for name in _named(each)} & named.keys())
    outside = sorted(_outside(services).items())
    found = (
        NamedService(namespace=namespace, name=name, endpoints=_endpoints(named[namespace, name]))
        for namespace, name in wanted
    )
    return ClusterServicesSpec(
        node_ports=_grouped(port for service in services for port in _node_ports(service)),
        addresses=tuple(ServiceAddress(address=each, ports=_grouped(ports)) for each, ports in outside),
        services=tuple(service for service in found if service.endpoints),
    )


# ---- what Services and EndpointSlices say


def _node_ports(service: Service) -> Iterator[Port]:
    """Without healthCheckNodePort: there kube-proxy itself answers, and policy decides as for any program."""
    for port in service.spec.ports:
        if port.node_port and port.protocol in _SERVED:
            yield _SERVED[port.protocol], port.node_port


def _outside(services: Iterable[Service]) -> dict[str, set[Port]]:
    found: dict[str, set[Port]] = {}
    for service in services:
        served = (port for port in service.spec.ports if port.protocol in _SERVED)
        ports = {(_SERVED[port.protocol], port.port) for port in served}
        for address in (*service.spec.external_ips, *_ingress(service.status or {})):
            if ports and _is_address(address):
                found.setdefault(address, set()).update(ports)
    return found


def _ingress(status: Mapping[str, Any]) -> Iterator[str]:
    """The load balancer's addresses that nodes accept themselves: not those of ipMode Proxy."""
    balancer = status.get("loadBalancer")
    entries = balancer.get("ingress") if isinstance(balancer, Mapping) else None
    for entry in entries or ():
        if isinstance(entry, Mapping) and isinstance(entry.get("ip"), str) and entry.get("ipMode") != "Proxy":
            yield entry["ip"]


def _slices(slices: Iterable[EndpointSlice]) -> dict[ServiceName, dict[Port, set[str]]]:
    """The endpoints' addresses as texts, by Service."""
    found: dict[ServiceName, dict[Port, set[str]]] = {}
    for each in slices:
        if (name := each.metadata.labels.get(SERVICE_LABEL)) is None:
            continue
        ports = found.setdefault((each.metadata.namespace, name), {})
        addresses = {address for endpoint in each.endpoints for address in endpoint.addresses}
        for port in each.ports:
            if port.port and port.protocol in _SERVED:
                ports.setdefault((_SERVED[port.protocol], port.port), set()).update(addresses)
    return found


def _named(each: Ruled) -> Iterator[ServiceName]:
    for rule in (*each.spec.ingress, *each.spec.egress):
        for side in (rule.source, rule.destination):
            if side.services is not None:
                yield side.services.namespace, side.services.name


# ---- groups


def _ports(groups: Iterable[ProtocolPorts]) -> Iterator[Port]:
    for group in groups:
        if group.protocol in _SERVED:
            yield from ((_SERVED[group.protocol], port) for port in group.ports if 0 < port < 65536)


def _grouped(ports: Iterable[Port]) -> tuple[ProtocolPorts, ...]:
    by_protocol: dict[int, set[int]] = {}
    for protocol, port in ports:
        by_protocol.setdefault(protocol, set()).add(port)
    return tuple(
        ProtocolPorts(protocol=_NAMES[protocol], ports=tuple(sorted(numbers)))
        for protocol, numbers in sorted(by_protocol.items())
    )


def _endpoints(found: Mapping[Port, set[str]]) -> tuple[ServiceEndpoints, ...]:
    """All ports of a protocol that have the same addresses together."""
    same: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    for (protocol, port), texts in sorted(found.items()):
        if addresses := tuple(sorted(text for text in texts if _is_address(text))):
            same.setdefault((protocol, addresses), []).append(port)
    return tuple(
        ServiceEndpoints(protocol=_NAMES[protocol], ports=tuple(ports), addresses=addresses)
        for (protocol, addresses), ports in same.items()
    )


def _add(triples: Triples, port: Port, addresses: Iterable[str]) -> None:
    triples.setdefault(port, set()).update(parse_net(text) for text in addresses if _is_address(text))


def _is_address(text: str) -> bool:
    try:
        parse_net(text)
    except ValueError:
        return False
    return "/" not in text
