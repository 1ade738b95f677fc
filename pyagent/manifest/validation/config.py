"""KubeControllersConfiguration and FelixConfiguration."""

from __future__ import annotations

import re
import warnings

from pyagent.manifest.durations import parse_duration
from pyagent.manifest.failsafe import PROFILES
from pyagent.manifest.networks import Network, parse_network
from pyagent.manifest.nodeports import parse_node_ports
from pyagent.manifest.validation.findings import Findings
from pyagent.manifest.validation.metadata import check_annotations, check_labels, name_fault
from pyagent.model import FelixConfiguration, KubeControllersConfiguration
from pyagent.model.config import FelixConfigurationSpec, HostEndpointTemplate, NodeControllerConfig, ProtoPort

SWITCH = ("Enabled", "Disabled")
LOG_LEVELS = ("None", "Trace", "Debug", "Info", "Warning", "Error", "Fatal", "Panic")
FAILSAFE_PROTOCOLS = ("TCP", "UDP", "SCTP")
_GLOB = re.compile(r"[A-Za-z0-9_.*?!\[\]-]{1,64}")
_MAX_PATTERN = 1024


def check_kube_controllers(resource: KubeControllersConfiguration, findings: Findings) -> None:
    """The one object ``default``, its switches, durations and templates."""
    if resource.metadata.name not in {"", "default"}:
        findings.add(
            "metadata.name", "the only KubeControllersConfiguration is called default", resource.name
        )
    spec = resource.spec
    findings.one_of("spec.logSeverityScreen", spec.log_severity_screen, LOG_LEVELS)
    findings.one_of("spec.healthChecks", spec.health_checks, SWITCH)
    _check_duration("spec.etcdV3CompactionPeriod", spec.etcd_v3_compaction_period, findings)
    _check_listening_port("spec.prometheusMetricsPort", spec.prometheus_metrics_port, findings)
    _check_listening_port("spec.debugProfilePort", spec.debug_profile_port, findings)
    controllers = spec.controllers
    for name, plain in (
        ("policy", controllers.policy),
        ("workloadEndpoint", controllers.workload_endpoint),
        ("serviceAccount", controllers.service_account),
        ("namespace", controllers.namespace),
    ):
        if plain is not None:
            _check_duration(f"spec.controllers.{name}.reconcilerPeriod", plain.reconciler_period, findings)
    if controllers.load_balancer is not None:
        allowed = ("AllServices", "RequestedServicesOnly")
        findings.one_of(
            "spec.controllers.loadBalancer.assignIPs", controllers.load_balancer.assign_ips, allowed
        )
    if controllers.migration is not None:
        switch = controllers.migration.policy_name_migrator
        findings.one_of("spec.controllers.migration.policyNameMigrator", switch, SWITCH)
    if controllers.node is not None:
        _check_node_controller("spec.controllers.node", controllers.node, findings)


def _check_node_controller(path: str, node: NodeControllerConfig, findings: Findings) -> None:
    _check_duration(f"{path}.reconcilerPeriod", node.reconciler_period, findings)
    _check_duration(f"{path}.leakGracePeriod", node.leak_grace_period, findings)
    findings.one_of(f"{path}.syncLabels", node.sync_labels, SWITCH)
    endpoints = node.host_endpoint
    if endpoints is None:
        return
    path = f"{path}.hostEndpoint"
    findings.one_of(f"{path}.autoCreate", endpoints.auto_create, SWITCH)
    findings.one_of(f"{path}.createDefaultHostEndpoint", endpoints.create_default_host_endpoint, SWITCH)
    names: set[str] = set()
    for index, template in enumerate(endpoints.templates):
        place = f"{path}.templates[{index}]"
        _check_template(place, template, findings)
        if template.generate_name and template.generate_name in names:
            findings.add(f"{place}.generateName", "is used by a template before", template.generate_name)
        names.add(template.generate_name)


def _check_template(path: str, template: HostEndpointTemplate, findings: Findings) -> None:
    if not template.generate_name:
        findings.add(f"{path}.generateName", "generateName is required")
    elif fault := name_fault(template.generate_name):
        findings.add(f"{path}.generateName", fault, template.generate_name)
    if not template.interface_cidrs and not template.interface_pattern:
        findings.add(path, "interfaceCIDRs or interfacePattern is required")
    for index, cidr in enumerate(template.interface_cidrs):
        findings.parses(f"{path}.interfaceCIDRs[{index}]", cidr, _cidr)
    if template.interface_pattern:
        findings.parses(f"{path}.interfacePattern", template.interface_pattern, _pattern)
    findings.selector_without_global(f"{path}.nodeSelector", template.node_selector)
    check_labels(f"{path}.labels", template.labels, findings)
    check_annotations(f"{path}.annotations", template.annotations, findings)


def _cidr(text: str) -> Network:
    if "/" not in text:
        raise ValueError(f"{text!r} is not a CIDR")
    return parse_network(text)


def _pattern(text: str) -> re.Pattern[str]:
    if len(text) > _MAX_PATTERN:
        raise ValueError(f"has {len(text)} characters, the most is {_MAX_PATTERN}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return re.compile(text)
    except (re.error, Warning, RecursionError, OverflowError) as error:
        raise ValueError(f"is not a regular expression: {error}") from None


def _check_duration(path: str, text: str, findings: Findings) -> None:
    if text and (duration := findings.parses(path, text, parse_duration)) is not None and duration.days < 0:
        findings.add(path, "must not be negative", text)


def _check_listening_port(path: str, port: int | None, findings: Findings) -> None:
    if port is not None and not 0 <= port <= 65535:
        findings.add(path, "must be from 0 to 65535", port)


def check_felix(resource: FelixConfiguration, findings: Findings) -> None:
    """Failsafes, switches and patterns of the agents' configuration."""
    spec = resource.spec
    _check_failsafes("spec.failsafeInboundHostPorts", spec.failsafe_inbound_host_ports, findings)
    _check_failsafes("spec.failsafeOutboundHostPorts", spec.failsafe_outbound_host_ports, findings)
    findings.one_of("spec.failsafeProfile", spec.failsafe_profile, tuple(PROFILES))
    action = spec.default_endpoint_to_host_action
    findings.one_of("spec.defaultEndpointToHostAction", action, ("Drop", "Accept", "Return"))
    findings.one_of("spec.existingFlows", spec.existing_flows, ("Keep", "Cut"))
    findings.one_of("spec.floatingIPs", spec.floating_ips, SWITCH)
    findings.one_of("spec.logSeverityScreen", spec.log_severity_screen.capitalize(), LOG_LEVELS)
    findings.one_of("spec.bpfLogLevel", spec.bpf_log_level.capitalize(), ("Off", "Info", "Debug"))
    findings.one_of("spec.iptablesBackend", spec.iptables_backend.lower(), ("auto", "legacy", "nft"))
    _check_duration("spec.reportingInterval", spec.reporting_interval, findings)
    for index, ports in enumerate(spec.node_ports):
        findings.parses(f"spec.nodePorts[{index}]", ports, parse_node_ports)
    _check_globs("spec.interfaceExclude", spec.interface_exclude, findings)
    _check_globs("spec.workloadInterfaces", spec.workload_interfaces, findings)
    _check_felix_ports(spec, findings)


def _check_felix_ports(spec: FelixConfigurationSpec, findings: Findings) -> None:
    _check_listening_port("spec.prometheusMetricsPort", spec.prometheus_metrics_port, findings)
    for name, port in (
        ("vxlanPort", spec.vxlan_port),
        ("wireguardListeningPort", spec.wireguard_listening_port),
        ("genevePort", spec.geneve_port),
    ):
        if port is not None and not 1 <= port <= 65535:
            findings.add(f"spec.{name}", "must be from 1 to 65535", port)


def _check_failsafes(path: str, failsafes: tuple[ProtoPort, ...] | None, findings: Findings) -> None:
    for index, failsafe in enumerate(failsafes or ()):
        place = f"{path}[{index}]"
        if failsafe.protocol not in FAILSAFE_PROTOCOLS:
            findings.add(
                f"{place}.protocol", f"must be one of {', '.join(FAILSAFE_PROTOCOLS)}", failsafe.protocol
            )
        if not 0 <= failsafe.port <= 65535:
            findings.add(f"{place}.port", "must be from 0 to 65535", failsafe.port)
        if failsafe.net:
            findings.parses(f"{place}.net", failsafe.net, parse_network)


def _check_globs(path: str, globs: tuple[str, ...] | None, findings: Findings) -> None:
    for index, glob in enumerate(globs or ()):
        if not _GLOB.fullmatch(glob):
            reason = "must be an interface name or a shell pattern of one (* ? [...])"
            findings.add(f"{path}[{index}]", reason, glob)
