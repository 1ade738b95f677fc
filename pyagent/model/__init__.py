"""Resources as immutable values: the kinds of the API and nothing else."""

from __future__ import annotations

from pyagent.model.config import FelixConfiguration, KubeControllersConfiguration
from pyagent.model.endpoint import EndpointSlice, GlobalNetworkSet, HostEndpoint, Node, Service
from pyagent.model.policy import GlobalNetworkPolicy, Profile, StagedGlobalNetworkPolicy, Tier
from pyagent.model.resource import CALICO_V3, Metadata, Resource
from pyagent.model.services import AUTOHEP_V1, ClusterServices

#: Every kind, by its name on the wire.
KINDS: dict[str, type[Resource]] = {
    kind.KIND: kind
    for kind in (
        Node,
        HostEndpoint,
        GlobalNetworkPolicy,
        StagedGlobalNetworkPolicy,
        GlobalNetworkSet,
        Tier,
        Profile,
        KubeControllersConfiguration,
        FelixConfiguration,
        Service,
        EndpointSlice,
        ClusterServices,
    )
}

__all__ = [
    "AUTOHEP_V1",
    "CALICO_V3",
    "KINDS",
    "ClusterServices",
    "EndpointSlice",
    "FelixConfiguration",
    "GlobalNetworkPolicy",
    "GlobalNetworkSet",
    "HostEndpoint",
    "KubeControllersConfiguration",
    "Metadata",
    "Node",
    "Profile",
    "Resource",
    "Service",
    "StagedGlobalNetworkPolicy",
    "Tier",
]
