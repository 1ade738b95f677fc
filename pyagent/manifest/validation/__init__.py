"""Every rule a resource must keep beyond its types; all violations are reported, not only the first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyagent.errors import Problem
from pyagent.manifest.validation.config import check_felix, check_kube_controllers
from pyagent.manifest.validation.endpoint import check_host_endpoint, check_network_set
from pyagent.manifest.validation.findings import Findings
from pyagent.manifest.validation.metadata import check_metadata
from pyagent.manifest.validation.policy import check_policy, check_profile, check_tier
from pyagent.manifest.validation.services import check_cluster_services
from pyagent.model import (
    ClusterServices,
    FelixConfiguration,
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    HostEndpoint,
    KubeControllersConfiguration,
    Profile,
    Resource,
    StagedGlobalNetworkPolicy,
    Tier,
)

_BY_KIND: dict[type[Resource], Callable[[Any, Findings], None]] = {
    HostEndpoint: check_host_endpoint,
    GlobalNetworkSet: check_network_set,
    GlobalNetworkPolicy: check_policy,
    StagedGlobalNetworkPolicy: check_policy,
    Tier: check_tier,
    Profile: check_profile,
    KubeControllersConfiguration: check_kube_controllers,
    FelixConfiguration: check_felix,
    ClusterServices: check_cluster_services,
}


def validate(resource: Resource) -> list[Problem]:
    """Everything that is wrong with a defaulted ``resource``; problems have paths, but no file or line."""
    findings = Findings()
    check_metadata(resource, findings)
    check = _BY_KIND.get(type(resource))
    if check is not None:
        check(resource, findings)
    return findings.problems
