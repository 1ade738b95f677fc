"""HostEndpoint, GlobalNetworkSet and what is read of Kubernetes: Node, Service, EndpointSlice."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from pyagent.model.policy import Protocol
from pyagent.model.resource import Resource, Struct


class EndpointPort(Struct, frozen=True):
    """A named port of a host endpoint."""

    name: str = ""
    port: int = 0
    protocol: Protocol = ""


class HostEndpointSpec(Struct, frozen=True):
    """Which interfaces of which node, by name (``*``: all) or by address, and what it carries."""

    node: str = ""
    interface_name: str = ""
    expected_ips: tuple[str, ...] = msgspec.field(default=(), name="expectedIPs")
    profiles: tuple[str, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class HostEndpoint(Resource, frozen=True):
    """A node's interface (or all of them) as a subject and a peer of policy."""

    KIND: ClassVar[str] = "HostEndpoint"
    PLURAL: ClassVar[str] = "hostendpoints"
    spec: HostEndpointSpec = HostEndpointSpec()
    status: dict[str, Any] | None = None


class GlobalNetworkSetSpec(Struct, frozen=True):
    """A list of networks that selectors can pick by the set's labels."""

    nets: tuple[str, ...] = ()


class GlobalNetworkSet(Resource, frozen=True):
    """Networks under a label."""

    KIND: ClassVar[str] = "GlobalNetworkSet"
    PLURAL: ClassVar[str] = "globalnetworksets"
    spec: GlobalNetworkSetSpec = GlobalNetworkSetSpec()
    status: dict[str, Any] | None = None


class NodeAddress(Struct, frozen=True):
    """One of a node's addresses: type InternalIP, ExternalIP, Hostname, ..."""

    address: str = ""
    type: str = ""


class NodeSpec(Struct, frozen=True):
    """The parts of a Node's spec that are kept; only podCIDRs matters here."""

    pod_cidr: str = msgspec.field(default="", name="podCIDR")
    pod_cidrs: tuple[str, ...] = msgspec.field(default=(), name="podCIDRs")
    provider_id: str = msgspec.field(default="", name="providerID")
    unschedulable: bool = False
    taints: tuple[Any, ...] = ()
    external_id: str = msgspec.field(default="", name="externalID")
    config_source: Any = None


class NodeStatus(Struct, frozen=True):
    """The parts of a Node's status that are kept; only addresses are interpreted."""

    addresses: tuple[NodeAddress, ...] = ()
    conditions: tuple[Any, ...] = ()
    capacity: dict[str, Any] = {}
    allocatable: dict[str, Any] = {}
    node_info: dict[str, Any] = {}
    images: tuple[Any, ...] = ()
    daemon_endpoints: dict[str, Any] = {}
    phase: str = ""
    volumes_in_use: tuple[str, ...] = ()
    volumes_attached: tuple[Any, ...] = ()
    config: Any = None
    runtime_handlers: tuple[Any, ...] = ()
    features: Any = None
    declared_features: tuple[Any, ...] = ()


class Node(Resource, frozen=True):
    """A Kubernetes Node."""

    KIND: ClassVar[str] = "Node"
    API_VERSION: ClassVar[str] = "v1"
    PLURAL: ClassVar[str] = "nodes"
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class ServicePort(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A port of a Service; ``node_port`` 0 means none."""

    name: str = ""
    protocol: str = "TCP"
    port: int = 0
    target_port: int | str = 0
    node_port: int = 0


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The parts of a Service's spec that matter; reading drops the others, for we never write Services."""

    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")
    external_ips: tuple[str, ...] = msgspec.field(default=(), name="externalIPs")
    ports: tuple[ServicePort, ...] = ()
    health_check_node_port: int = 0


class Service(Resource, frozen=True):
    """A Kubernetes Service: NodePorts, outside addresses, and the name that EndpointSlices point to."""

    KIND: ClassVar[str] = "Service"
    API_VERSION: ClassVar[str] = "v1"
    PLURAL: ClassVar[str] = "services"
    NAMESPACED: ClassVar[bool] = True
    spec: ServiceSpec = ServiceSpec()
    status: dict[str, Any] | None = None


class SliceEndpoint(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One endpoint of a slice; conditions are kept as given."""

    addresses: tuple[str, ...] = ()
    conditions: dict[str, Any] = {}
    node_name: str = ""


class SlicePort(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One port of a slice."""

    name: str | None = None
    protocol: str = "TCP"
    port: int | None = None


class EndpointSlice(Resource, frozen=True):
    """A Kubernetes EndpointSlice; the label ``kubernetes.io/service-name`` names its Service."""

    KIND: ClassVar[str] = "EndpointSlice"
    API_VERSION: ClassVar[str] = "discovery.k8s.io/v1"
    PLURAL: ClassVar[str] = "endpointslices"
    NAMESPACED: ClassVar[bool] = True
    address_type: str = "IPv4"
    endpoints: tuple[SliceEndpoint, ...] = ()
    ports: tuple[SlicePort, ...] = ()
