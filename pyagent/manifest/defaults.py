"""What is filled in when a manifest leaves it out; everything here may be applied again without effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from pyagent.model import (
    CALICO_V3,
    FelixConfiguration,
    GlobalNetworkPolicy,
    KubeControllersConfiguration,
    Metadata,
    Profile,
    Resource,
    StagedGlobalNetworkPolicy,
    Tier,
)
from pyagent.model.config import (
    AutoHostEndpointConfig,
    ControllersConfig,
    KubeControllersConfigurationSpec,
    LoadBalancerControllerConfig,
    MigrationControllerConfig,
    NodeControllerConfig,
    PlainControllerConfig,
)
from pyagent.model.policy import EntityRule, PolicySpec, Port, Rule, TierSpec

DEFAULT_TIER = "default"
TIER_LABEL = "projectcalico.org/tier"
#: The tiers that always exist, with the only order and default action they may have.
BUILT_IN_TIERS = {
    "kube-admin": TierSpec(order=1_000.0, default_action="Pass"),
    DEFAULT_TIER: TierSpec(order=1_000_000.0, default_action="Deny"),
    "kube-baseline": TierSpec(order=10_000_000.0, default_action="Pass"),
}
RECONCILER_PERIOD = "5m0s"
_ENDPOINT_TO_HOST_ACTIONS = {"drop": "Drop", "accept": "Accept", "return": "Return"}


def default(resource: Resource) -> Resource:
    """``resource`` with every default filled in; also of a resource that is not valid."""
    filled = _BY_KIND.get(type(resource))
    return resource if filled is None else filled(resource)


def initial_kube_controllers_configuration() -> KubeControllersConfiguration:
    """The object that the controller writes when there is none."""
    plain = PlainControllerConfig(reconciler_period=RECONCILER_PERIOD)
    controllers = ControllersConfig(
        node=NodeControllerConfig(
            reconciler_period=RECONCILER_PERIOD,
            sync_labels="Enabled",
            host_endpoint=AutoHostEndpointConfig(
                auto_create="Disabled", create_default_host_endpoint="Enabled"
            ),
            leak_grace_period="15m0s",
        ),
        policy=plain,
        workload_endpoint=plain,
        service_account=plain,
        namespace=plain,
        load_balancer=LoadBalancerControllerConfig(assign_ips="AllServices"),
        migration=MigrationControllerConfig(policy_name_migrator="Enabled"),
    )
    return KubeControllersConfiguration(
        api_version=CALICO_V3,
        kind=KubeControllersConfiguration.KIND,
        metadata=Metadata(name="default"),
        spec=KubeControllersConfigurationSpec(
            log_severity_screen="Info",
            health_checks="Enabled",
            etcd_v3_compaction_period="10m0s",
            prometheus_metrics_port=9094,
            controllers=controllers,
        ),
    )


def _policy(resource: GlobalNetworkPolicy | StagedGlobalNetworkPolicy) -> Resource:
    spec = resource.spec
    tier = spec.tier or DEFAULT_TIER
    staged = isinstance(resource, StagedGlobalNetworkPolicy)
    metadata = resource.metadata
    if metadata.labels.get(TIER_LABEL) != tier:
        metadata = replace(metadata, labels={**metadata.labels, TIER_LABEL: tier})
    filled = replace(
        spec,
        tier=tier,
        types=spec.types or _types(spec),
        staged_action=(spec.staged_action or "Set") if staged else spec.staged_action,
        ingress=_rules(spec.ingress),
        egress=_rules(spec.egress),
    )
    return replace(resource, metadata=metadata, spec=filled)


def _types(spec: PolicySpec) -> tuple[str, ...]:
    if not spec.egress:
        return ("Ingress",)
    return ("Ingress", "Egress") if spec.ingress else ("Egress",)


def _profile(resource: Profile) -> Resource:
    spec = resource.spec
    return replace(resource, spec=replace(spec, ingress=_rules(spec.ingress), egress=_rules(spec.egress)))


def _rules(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """``rules`` with every port that is a number in quotes as a number."""
    return tuple(
        replace(rule, source=_side(rule.source), destination=_side(rule.destination))
        if _has_quoted_port(rule.source) or _has_quoted_port(rule.destination)
        else rule
        for rule in rules
    )


def _has_quoted_port(side: EntityRule) -> bool:
    return any(_is_quoted_number(port) for port in (*side.ports, *side.not_ports))


def _side(side: EntityRule) -> EntityRule:
    return replace(side, ports=_ports(side.ports), not_ports=_ports(side.not_ports))


def _ports(ports: tuple[Port, ...]) -> tuple[Port, ...]:
    return tuple(int(port) if _is_quoted_number(port) else port for port in ports)


def _is_quoted_number(port: Port) -> bool:
    return isinstance(port, str) and port.isascii() and port.isdigit() and len(port) <= 5


def _tier(resource: Tier) -> Resource:
    built_in = BUILT_IN_TIERS.get(resource.metadata.name, TierSpec(default_action="Deny"))
    spec = resource.spec
    order = built_in.order if spec.order is None else spec.order
    filled = TierSpec(order=order, default_action=spec.default_action or built_in.default_action)
    return replace(resource, spec=filled)


def _kube_controllers(resource: KubeControllersConfiguration) -> Resource:
    spec = resource.spec
    filled = replace(
        spec,
        log_severity_screen=spec.log_severity_screen or "Info",
        health_checks=spec.health_checks or "Enabled",
        etcd_v3_compaction_period=spec.etcd_v3_compaction_period or "10m0s",
        controllers=_controllers(spec.controllers),
    )
    return replace(resource, spec=filled)


def _controllers(controllers: ControllersConfig) -> ControllersConfig:
    """The controllers that are given, each complete; one that is not given stays out: it is not run."""
    node = controllers.node
    if node is not None:
        endpoints = node.host_endpoint
        if endpoints is not None:
            endpoints = replace(
                endpoints,
                auto_create=endpoints.auto_create or "Disabled",
                create_default_host_endpoint=endpoints.create_default_host_endpoint or "Enabled",
            )
        node = replace(
            node,
            reconciler_period=node.reconciler_period or RECONCILER_PERIOD,
            sync_labels=node.sync_labels or "Enabled",
            host_endpoint=endpoints,
        )
    plain: dict[str, Any] = {
        name: replace(given, reconciler_period=given.reconciler_period or RECONCILER_PERIOD)
        for name in ("policy", "workload_endpoint", "service_account", "namespace")
        if (given := getattr(controllers, name)) is not None
    }
    return replace(controllers, node=node, **plain)


def _felix(resource: FelixConfiguration) -> Resource:
    given = resource.spec.default_endpoint_to_host_action
    action = _ENDPOINT_TO_HOST_ACTIONS.get(given.lower(), given)
    return replace(resource, spec=replace(resource.spec, default_endpoint_to_host_action=action))


_BY_KIND: dict[type[Resource], Callable[[Any], Resource]] = {
    GlobalNetworkPolicy: _policy,
    StagedGlobalNetworkPolicy: _policy,
    Profile: _profile,
    Tier: _tier,
    KubeControllersConfiguration: _kube_controllers,
    FelixConfiguration: _felix,
}
