"""Small resources for tests."""

from __future__ import annotations

from typing import Any

from pyagent.model import (
    CALICO_V3,
    GlobalNetworkSet,
    HostEndpoint,
    KubeControllersConfiguration,
    Metadata,
    Node,
    Service,
)
from pyagent.model.config import (
    AutoHostEndpointConfig,
    ControllersConfig,
    KubeControllersConfigurationSpec,
    NodeControllerConfig,
)
from pyagent.model.endpoint import (
    GlobalNetworkSetSpec,
    HostEndpointSpec,
    NodeAddress,
    NodeStatus,
    ServicePort,
    ServiceSpec,
)


def network_set(name: str, *nets: str, **labels: str) -> GlobalNetworkSet:
    return GlobalNetworkSet(
        api_version=CALICO_V3,
        kind="GlobalNetworkSet",
        metadata=Metadata(name=name, labels=labels),
        spec=GlobalNetworkSetSpec(nets=nets),
    )


def service(namespace: str, name: str, port: int = 80) -> Service:
    return Service(
        api_version="v1",
        kind="Service",
        metadata=Metadata(name=name, namespace=namespace),
        spec=ServiceSpec(ports=(ServicePort(name="web", port=port),)),
    )


def node(
    name: str,
    *internal_ips: str,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    addresses: tuple[tuple[str, str], ...] = (),
) -> Node:
    """A Node; ``addresses`` are further (type, address) pairs, before the internal ones."""
    listed = [*addresses, *(("InternalIP", address) for address in internal_ips)]
    return Node(
        api_version="v1",
        kind="Node",
        metadata=Metadata(name=name, labels=labels or {}, annotations=annotations or {}),
        status=NodeStatus(
            addresses=tuple(NodeAddress(type=type_, address=address) for type_, address in listed)
        ),
    )


def host_endpoint(
    name: str, node_name: str, labels: dict[str, str] | None = None, **spec: Any
) -> HostEndpoint:
    return HostEndpoint(
        api_version=CALICO_V3,
        kind="HostEndpoint",
        metadata=Metadata(name=name, labels=labels or {}),
        spec=HostEndpointSpec(node=node_name, **({"interface_name": "*"} | spec)),
    )


def controllers_configuration(**host_endpoint_config: Any) -> KubeControllersConfiguration:
    """The ``default`` configuration with these fields of spec.controllers.node.hostEndpoint."""
    config = NodeControllerConfig(host_endpoint=AutoHostEndpointConfig(**host_endpoint_config))
    return KubeControllersConfiguration(
        api_version=CALICO_V3,
        kind="KubeControllersConfiguration",
        metadata=Metadata(name="default"),
        spec=KubeControllersConfigurationSpec(controllers=ControllersConfig(node=config)),
    )
