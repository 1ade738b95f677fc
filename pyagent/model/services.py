"""ClusterServices: what agents need of all Services and EndpointSlices, in one small object.

The controller writes it; so 5,000 agents follow one object that rarely changes, not every pod that comes up.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from pyagent.model.resource import Resource, Struct

#: The group of the kinds that are this project's own.
AUTOHEP_V1: Final = "autohep.io/v1"


class ProtocolPorts(Struct, frozen=True):
    """Ports of one protocol: TCP, UDP or SCTP."""

    protocol: str = ""
    ports: tuple[int, ...] = ()


class ServiceAddress(Struct, frozen=True):
    """An external IP or a load balancer's ingress address, and the ports that Services have there."""

    address: str = ""
    ports: tuple[ProtocolPorts, ...] = ()


class ServiceEndpoints(Struct, frozen=True):
    """Addresses that have these ports of one protocol."""

    protocol: str = ""
    ports: tuple[int, ...] = ()
    addresses: tuple[str, ...] = ()


class NamedService(Struct, frozen=True):
    """A Service that a policy names, and where its endpoints are."""

    namespace: str = ""
    name: str = ""
    endpoints: tuple[ServiceEndpoints, ...] = ()


class ClusterServicesSpec(Struct, frozen=True):
    """NodePorts, addresses beyond the cluster's own, and the Services that policies name."""

    node_ports: tuple[ProtocolPorts, ...] = ()
    addresses: tuple[ServiceAddress, ...] = ()
    services: tuple[NamedService, ...] = ()


class ClusterServices(Resource, frozen=True):
    """The digest of all Services; the only one is called ``default``."""

    KIND: ClassVar[str] = "ClusterServices"
    API_VERSION: ClassVar[str] = AUTOHEP_V1
    PLURAL: ClassVar[str] = "clusterservices"
    spec: ClusterServicesSpec = ClusterServicesSpec()
    status: dict[str, Any] | None = None
