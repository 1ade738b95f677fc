"""KubeControllersConfiguration and FelixConfiguration: what the controller and the agent obey."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from pyagent.model.resource import Resource, Struct


class HostEndpointTemplate(Struct, frozen=True):
    """A recipe for further automatic host endpoints on the nodes its selector picks."""

    generate_name: str = ""
    interface_cidrs: tuple[str, ...] = msgspec.field(default=(), name="interfaceCIDRs")
    interface_pattern: str = ""
    node_selector: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class AutoHostEndpointConfig(Struct, frozen=True):
    """Whether and which host endpoints the controller makes by itself."""

    auto_create: str = ""
    create_default_host_endpoint: str = ""
    templates: tuple[HostEndpointTemplate, ...] = ()


class NodeControllerConfig(Struct, frozen=True):
    """The node controller; only ``host_endpoint`` is ours to act on."""

    reconciler_period: str = ""
    sync_labels: str = ""
    host_endpoint: AutoHostEndpointConfig | None = None
    leak_grace_period: str = ""


class PlainControllerConfig(Struct, frozen=True):
    """Controllers that exist upstream only; kept so that upstream's manifests round-trip."""

    reconciler_period: str = ""


class LoadBalancerControllerConfig(Struct, frozen=True):
    """Upstream's; kept."""

    assign_ips: str = msgspec.field(default="", name="assignIPs")


class MigrationControllerConfig(Struct, frozen=True):
    """Upstream's; kept."""

    policy_name_migrator: str = ""


class ControllersConfig(Struct, frozen=True):
    """One entry a controller; None: not run."""

    node: NodeControllerConfig | None = None
    policy: PlainControllerConfig | None = None
    workload_endpoint: PlainControllerConfig | None = None
    service_account: PlainControllerConfig | None = None
    namespace: PlainControllerConfig | None = None
    load_balancer: LoadBalancerControllerConfig | None = None
    migration: MigrationControllerConfig | None = None


class KubeControllersConfigurationSpec(Struct, frozen=True):
    """The controllers' configuration; durations in Go's notation (``5m0s``)."""

    log_severity_screen: str = ""
    health_checks: str = ""
    etcd_v3_compaction_period: str = ""
    prometheus_metrics_port: int | None = None
    debug_profile_port: int | None = None
    controllers: ControllersConfig = ControllersConfig()


class KubeControllersConfigurationStatus(Struct, frozen=True):
    """What is really in force: the environment's share and the effective configuration.

    ``conditions``: whatever stands there, as it stands there.
    """

    environment_vars: dict[str, str] = {}
    running_config: KubeControllersConfigurationSpec | None = None
    conditions: tuple[dict[str, Any], ...] = ()


class KubeControllersConfiguration(Resource, frozen=True):
    """The only object is called ``default``."""

    KIND: ClassVar[str] = "KubeControllersConfiguration"
    PLURAL: ClassVar[str] = "kubecontrollersconfigurations"
    spec: KubeControllersConfigurationSpec = KubeControllersConfigurationSpec()
    status: KubeControllersConfigurationStatus | None = None


class ProtoPort(Struct, frozen=True):
    """A failsafe: protocol, port and optionally the peers' network."""

    protocol: str = ""
    port: int = 0
    net: str = ""


class FelixConfigurationSpec(Struct, frozen=True):
    """What an agent obeys. None or empty: the default of docs/policy.md.

    ``failsafe_profile``, ``interface_exclude``, ``workload_interfaces``, ``node_ports`` and
    ``existing_flows`` are autohep's own; the rest is upstream's. Interface patterns are shell globs.
    """

    failsafe_inbound_host_ports: tuple[ProtoPort, ...] | None = None
    failsafe_outbound_host_ports: tuple[ProtoPort, ...] | None = None
    failsafe_profile: str = ""
    default_endpoint_to_host_action: str = ""
    interface_exclude: tuple[str, ...] | None = None
    interface_prefix: str = ""
    workload_interfaces: tuple[str, ...] | None = None
    node_ports: tuple[str, ...] = ()
    existing_flows: str = ""
    log_severity_screen: str = ""
    vxlan_enabled: bool | None = None
    vxlan_port: int | None = None
    ipip_enabled: bool | None = None
    wireguard_enabled: bool | None = None
    wireguard_listening_port: int | None = None
    geneve_enabled: bool | None = None
    geneve_port: int | None = None
    bpf_enabled: bool | None = None
    bpf_log_level: str = ""
    prometheus_metrics_enabled: bool | None = None
    prometheus_metrics_port: int | None = None
    health_enabled: bool | None = None
    reporting_interval: str = ""
    iptables_backend: str = ""
    floating_ips: str = msgspec.field(default="", name="floatingIPs")
    upstream: dict[str, Any] = {}


class FelixConfiguration(Resource, frozen=True):
    """Agents read ``default`` and then ``node.<name>``, whose fields win."""

    KIND: ClassVar[str] = "FelixConfiguration"
    PLURAL: ClassVar[str] = "felixconfigurations"
    spec: FelixConfigurationSpec = FelixConfigurationSpec()
    status: dict[str, Any] | None = None
