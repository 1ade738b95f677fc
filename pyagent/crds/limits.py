"""What the types of the model do not say and a schema can: values, bounds, patterns, defaults, CEL rules.

The full rules are manifest.validate's; these are those of them that an API server can check at once. Where a
rule cannot be told exactly in a schema, it is left out or looser here, never stricter. Lengths are bounded
also where nothing else asks for it: the API server refuses CEL rules whose cost it cannot bound.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pyagent.manifest.failsafe import PROFILES
from pyagent.manifest.validation.config import FAILSAFE_PROTOCOLS, LOG_LEVELS, SWITCH
from pyagent.manifest.validation.peer import MAX_NETS, MAX_PORTS
from pyagent.manifest.validation.policy import DIRECTIONS, MAX_RULES, PERFORMANCE_HINTS, STAGED_ACTIONS
from pyagent.manifest.validation.rule import ACTIONS
from pyagent.manifest.validation.services import SERVICE_PROTOCOLS
from pyagent.model import (
    ClusterServices,
    GlobalNetworkPolicy,
    HostEndpoint,
    KubeControllersConfiguration,
    StagedGlobalNetworkPolicy,
    Tier,
)
from pyagent.model.config import (
    AutoHostEndpointConfig,
    FelixConfigurationSpec,
    HostEndpointTemplate,
    KubeControllersConfigurationSpec,
    LoadBalancerControllerConfig,
    MigrationControllerConfig,
    NodeControllerConfig,
    PlainControllerConfig,
    ProtoPort,
)
from pyagent.model.endpoint import EndpointPort, GlobalNetworkSetSpec, HostEndpointSpec
from pyagent.model.policy import (
    EntityRule,
    HTTPMatch,
    HTTPPath,
    ICMPFields,
    PolicySpec,
    ProfileSpec,
    Rule,
    ServiceAccountMatch,
    ServiceMatch,
    TierSpec,
)
from pyagent.model.services import ProtocolPorts, ServiceAddress, ServiceEndpoints

Struct = type[msgspec.Struct]

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME: dict[str, Any] = {"maxLength": 253, "pattern": rf"^{_LABEL}(\.{_LABEL})*$"}
_SELECTOR: dict[str, Any] = {"maxLength": 1024}
_NET: dict[str, Any] = {"maxLength": 49, "pattern": r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"}
_ADDRESS: dict[str, Any] = {"maxLength": 45, "pattern": r"^[0-9A-Fa-f:.]+$"}
_NETS: dict[str, Any] = {"maxItems": MAX_NETS, "items": _NET}
_PORT: dict[str, Any] = {"pattern": r"^[a-zA-Z0-9_.:-]{1,128}$"}
_PORTS: dict[str, Any] = {"maxItems": MAX_PORTS, "items": _PORT}
_PROTOCOL: dict[str, Any] = {"pattern": r"^(TCP|UDP|ICMP|ICMPv6|SCTP|UDPLite)$", "minimum": 1, "maximum": 255}
_DURATION: dict[str, Any] = {"maxLength": 64, "pattern": r"^[0-9.µμa-z]+$"}
_LISTENING_PORT: dict[str, Any] = {"minimum": 0, "maximum": 65535}
_REAL_PORT: dict[str, Any] = {"minimum": 1, "maximum": 65535}
_RULES: dict[str, Any] = {"maxItems": MAX_RULES}
_GLOBS: dict[str, Any] = {"items": {"pattern": r"^[A-Za-z0-9_.*?!\[\]-]{1,64}$"}}


def _one_of(*values: str, **more: Any) -> dict[str, Any]:
    """One of these, or nothing: an empty text counts as not given."""
    return {"enum": [*values, ""], **more}


#: Structs that take settings of upstream's that have no field of their own here.
OPEN_STRUCTS: frozenset[Struct] = frozenset({FelixConfigurationSpec})

REQUIRED: dict[Struct, tuple[str, ...]] = {
    HostEndpoint: ("spec",),
    HostEndpointSpec: ("node",),
    EndpointPort: ("name", "port", "protocol"),
    Rule: ("action",),
    ServiceMatch: ("name",),
    ProtoPort: ("protocol",),  # port 0, any port, is left out when written
    HostEndpointTemplate: ("generateName",),
    ProtocolPorts: ("protocol",),
    ServiceAddress: ("address",),
    ServiceEndpoints: ("protocol",),
}

FIELDS: dict[tuple[Struct, str], dict[str, Any]] = {
    (HostEndpointSpec, "node"): {"minLength": 1, **_NAME},
    (HostEndpointSpec, "interface_name"): {"pattern": r"^(\*|[A-Za-z0-9_.-]{1,15})?$"},
    (HostEndpointSpec, "expected_ips"): {"items": _ADDRESS},
    (HostEndpointSpec, "profiles"): {"items": _NAME},
    (HostEndpointSpec, "ports"): {"maxItems": 1024},
    (EndpointPort, "name"): {"maxLength": 15, "pattern": r"^[a-z0-9]+(-[a-z0-9]+)*$"},
    (EndpointPort, "port"): _REAL_PORT,
    (EndpointPort, "protocol"): {"pattern": "^(TCP|UDP|SCTP)$"},
    (GlobalNetworkSetSpec, "nets"): {"items": _NET},
    (TierSpec, "default_action"): _one_of("Deny", "Pass"),
    (PolicySpec, "tier"): {"default": "default", "maxLength": 63, "pattern": rf"^({_LABEL})?$"},
    (PolicySpec, "selector"): _SELECTOR,
    (PolicySpec, "namespace_selector"): _SELECTOR,
    (PolicySpec, "service_account_selector"): _SELECTOR,
    (PolicySpec, "types"): {
        "maxItems": 2,
        "x-kubernetes-list-type": "set",
        "items": {"enum": list(DIRECTIONS)},
    },
    (PolicySpec, "performance_hints"): {
        "maxItems": len(PERFORMANCE_HINTS),
        "x-kubernetes-list-type": "set",
        "items": {"enum": list(PERFORMANCE_HINTS)},
    },
    (PolicySpec, "ingress"): _RULES,
    (PolicySpec, "egress"): _RULES,
    (PolicySpec, "staged_action"): _one_of(*STAGED_ACTIONS),
    (ProfileSpec, "ingress"): _RULES,
    (ProfileSpec, "egress"): _RULES,
    (Rule, "action"): {"enum": list(ACTIONS)},
    (Rule, "protocol"): _PROTOCOL,
    (Rule, "not_protocol"): _PROTOCOL,
    (Rule, "ip_version"): {"enum": [4, 6]},
    (ICMPFields, "type"): {"minimum": 0, "maximum": 254},
    (ICMPFields, "code"): {"minimum": 0, "maximum": 255},
    (EntityRule, "nets"): _NETS,
    (EntityRule, "not_nets"): _NETS,
    (EntityRule, "selector"): _SELECTOR,
    (EntityRule, "not_selector"): _SELECTOR,
    (EntityRule, "namespace_selector"): _SELECTOR,
    (EntityRule, "ports"): _PORTS,
    (EntityRule, "not_ports"): _PORTS,
    (ServiceMatch, "name"): {"minLength": 1, "maxLength": 253},
    (ServiceMatch, "namespace"): {"maxLength": 253},
    (ServiceAccountMatch, "names"): {"items": _NAME},
    (ServiceAccountMatch, "selector"): _SELECTOR,
    (HTTPMatch, "methods"): {"maxItems": 20, "items": {"maxLength": 20}},
    (HTTPMatch, "paths"): {"maxItems": 20},
    (HTTPPath, "exact"): {"maxLength": 1024},
    (HTTPPath, "prefix"): {"maxLength": 1024},
    (KubeControllersConfigurationSpec, "log_severity_screen"): _one_of(*LOG_LEVELS, default="Info"),
    (KubeControllersConfigurationSpec, "health_checks"): _one_of(*SWITCH, default="Enabled"),
    (KubeControllersConfigurationSpec, "etcd_v3_compaction_period"): {"default": "10m0s", **_DURATION},
    (KubeControllersConfigurationSpec, "prometheus_metrics_port"): _LISTENING_PORT,
    (KubeControllersConfigurationSpec, "debug_profile_port"): _LISTENING_PORT,
    (NodeControllerConfig, "reconciler_period"): _DURATION,
    (NodeControllerConfig, "leak_grace_period"): _DURATION,
    (NodeControllerConfig, "sync_labels"): _one_of(*SWITCH),
    (AutoHostEndpointConfig, "auto_create"): _one_of(*SWITCH),
    (AutoHostEndpointConfig, "create_default_host_endpoint"): _one_of(*SWITCH),
    (AutoHostEndpointConfig, "templates"): {
        "maxItems": 1024,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["generateName"],
    },
    (HostEndpointTemplate, "generate_name"): {"minLength": 1, **_NAME},
    (HostEndpointTemplate, "interface_cidrs"): {
        "items": {"maxLength": 49, "pattern": r"^[0-9A-Fa-f:.]+/[0-9]{1,3}$"}
    },
    (HostEndpointTemplate, "interface_pattern"): {"maxLength": 1024},
    (HostEndpointTemplate, "node_selector"): _SELECTOR,
    (PlainControllerConfig, "reconciler_period"): _DURATION,
    (LoadBalancerControllerConfig, "assign_ips"): _one_of("AllServices", "RequestedServicesOnly"),
    (MigrationControllerConfig, "policy_name_migrator"): _one_of(*SWITCH),
    (ProtoPort, "protocol"): {"enum": list(FAILSAFE_PROTOCOLS)},
    (ProtoPort, "port"): _LISTENING_PORT,
    (ProtoPort, "net"): {"maxLength": 49, "pattern": r"^([0-9A-Fa-f:.]+(/[0-9]{1,3})?)?$"},
    (FelixConfigurationSpec, "failsafe_profile"): _one_of(*PROFILES),
    (FelixConfigurationSpec, "existing_flows"): _one_of("Keep", "Cut"),
    (FelixConfigurationSpec, "floating_ips"): _one_of(*SWITCH),
    (FelixConfigurationSpec, "default_endpoint_to_host_action"): {"pattern": "^(?i:drop|accept|return)?$"},
    # A list here, a text with commas in upstream's manifests.
    (FelixConfigurationSpec, "interface_exclude"): {"x-kubernetes-preserve-unknown-fields": True},
    (FelixConfigurationSpec, "workload_interfaces"): _GLOBS,
    (FelixConfigurationSpec, "node_ports"): {
        "items": {"pattern": r"^((?i:tcp|udp|sctp):)?[0-9]{1,5}(:[0-9]{1,5})?$"}
    },
    (FelixConfigurationSpec, "reporting_interval"): {"pattern": r"^([0-9.µμa-z]+)?$", "maxLength": 64},
    (FelixConfigurationSpec, "prometheus_metrics_port"): _LISTENING_PORT,
    (FelixConfigurationSpec, "vxlan_port"): _REAL_PORT,
    (FelixConfigurationSpec, "wireguard_listening_port"): _REAL_PORT,
    (FelixConfigurationSpec, "geneve_port"): _REAL_PORT,
    (ProtocolPorts, "protocol"): {"enum": list(SERVICE_PROTOCOLS)},
    (ProtocolPorts, "ports"): {"items": _REAL_PORT},
    (ServiceAddress, "address"): _ADDRESS,
    (ServiceEndpoints, "protocol"): {"enum": list(SERVICE_PROTOCOLS)},
    (ServiceEndpoints, "ports"): {"items": _REAL_PORT},
    (ServiceEndpoints, "addresses"): {"items": _ADDRESS},
}


def _set(path: str) -> str:
    """CEL for: the optional list or text ``path`` is there and not empty."""
    return f"has({path}) && size({path}) > 0"


def _true(path: str) -> str:
    return f"has({path}) && {path}"


def _fixed(tier: str, order: str, action: str) -> tuple[tuple[str, str], ...]:
    given = f"self.metadata.name != '{tier}' || !has(self.spec)"
    return (
        (
            f"{given} || !has(self.spec.order) || self.spec.order == {order}",
            f"the order of tier {tier} is always {order.removesuffix('.0')}",
        ),
        (
            f"{given} || !has(self.spec.defaultAction) || self.spec.defaultAction in ['', '{action}']",
            f"the default action of tier {tier} is always {action}",
        ),
    )


_ICMP = ("'ICMP'", "'ICMPv6'", "1", "58")
_IS_ICMP = " || ".join(f"self.protocol == {value}" for value in _ICMP)
_HAS_PORTS = " || ".join(
    f"self.protocol == {value}" for value in ("'TCP'", "'UDP'", "'SCTP'", "6", "17", "132")
)


def _rule_ports(path: str) -> tuple[tuple[str, str], ...]:
    side = path.split(".", maxsplit=1)[0]
    absent = f"!has(self.{side}) || !has(self.{path}) || size(self.{path}) == 0"
    # Ranges are texts, too; telling them apart costs more than the API server allows.
    named = f"self.{path}.all(p, type(p) == string)"
    return (
        (f"{absent} || has(self.protocol) || {named}", f"numeric {path} need protocol TCP, UDP or SCTP"),
        (f"{absent} || !has(self.protocol) || {_HAS_PORTS}", f"{path} need protocol TCP, UDP or SCTP"),
    )


def _family(field: str) -> tuple[tuple[str, str], ...]:
    absent = f"!has(self.{field}) || !has(self.ipVersion)"
    four, six = (
        " || ".join(f"self.{field} == {value}" for value in pair) for pair in (_ICMP[::2], _ICMP[1::2])
    )
    return (
        (f"{absent} || self.ipVersion == 4 || !({four})", f"{field} ICMP cannot be used with ipVersion 6"),
        (f"{absent} || self.ipVersion == 6 || !({six})", f"{field} ICMPv6 cannot be used with ipVersion 4"),
    )


_GOOD_PORTS = tuple(
    (
        f"!has(self.{field}) || self.{field}.all(p, type(p) == string || (p >= 1 && p <= 65535))",
        f"{field} are from 1 to 65535",
    )
    for field in ("ports", "notPorts")
)


def _nowhere(direction: str, what: str) -> str:
    """CEL for: no rule ``r`` of a direction is so."""
    return f"!has(self.{direction}) || !self.{direction}.exists(r, {what})"


def _without_namespace(side: str) -> str:
    services = f"r.{side}.services"
    # CEL reserves the word, so an API server calls the field by this name.
    return f"has(r.{side}) && has({services}) && !({_set(f'{services}.__namespace__')})"


_DESTINATION_PORTS = " || ".join(f"({_set(f'self.destination.{name}')})" for name in ("ports", "notPorts"))
_BEFORE_ROUTING = f"({_true('self.doNotTrack')}) || ({_true('self.preDNAT')})"
_BESIDE_SERVICES = " || ".join(
    f"({_set(f'self.{field}')})"
    for field in ("selector", "notSelector", "namespaceSelector", "nets", "notNets")
)

# That names are DNS names the API server sees to by itself. It knows no bound for their length, so these
# rules must be cheap.
_POLICY_NAME = (
    "self.metadata.name.matches('^[^.]*([.][^.]*)?$')",
    "the name may have one '.', behind the tier's name",
)

RULES: dict[Struct, tuple[tuple[str, str], ...]] = {
    HostEndpointSpec: (
        (
            f"({_set('self.interfaceName')}) || ({_set('self.expectedIPs')})",
            "interfaceName or expectedIPs is required",
        ),
    ),
    EndpointPort: (
        (
            "type(self.protocol) == string || self.protocol in [6, 17, 132]",
            "protocol must be TCP, UDP or SCTP (or 6, 17 or 132)",
        ),
        ("self.name.matches('[a-z]')", "a port's name needs a letter"),
    ),
    GlobalNetworkPolicy: (
        _POLICY_NAME,
        (
            "!has(self.spec) || !has(self.spec.stagedAction) || self.spec.stagedAction == ''",
            "stagedAction is for staged policies only",
        ),
    ),
    StagedGlobalNetworkPolicy: (_POLICY_NAME,),
    PolicySpec: (
        (
            f"!({_true('self.doNotTrack')} && {_true('self.preDNAT')})",
            "doNotTrack and preDNAT exclude each other",
        ),
        (f"!({_true('self.preDNAT')} && {_set('self.egress')})", "a preDNAT policy cannot have egress rules"),
        (
            f"!({_true('self.preDNAT')} && has(self.types) && 'Egress' in self.types)",
            "a preDNAT policy cannot have type Egress",
        ),
        (
            f"({_true('self.applyOnForward')}) || !({_BEFORE_ROUTING})",
            "applyOnForward must be true if doNotTrack or preDNAT is true",
        ),
        (_nowhere("egress", "has(r.http)"), "http is for ingress rules only"),
        (
            _nowhere("ingress", "has(r.destination) && has(r.destination.services)"),
            "services can only be an ingress rule's source or an egress rule's destination",
        ),
        (
            _nowhere("egress", "has(r.source) && has(r.source.services)"),
            "services can only be an ingress rule's source or an egress rule's destination",
        ),
        (
            _nowhere("ingress", _without_namespace("source")),
            "services need a namespace",
        ),
        (
            _nowhere("egress", _without_namespace("destination")),
            "services need a namespace",
        ),
    ),
    Rule: (
        *_rule_ports("source.ports"),
        *_rule_ports("source.notPorts"),
        *_rule_ports("destination.ports"),
        *_rule_ports("destination.notPorts"),
        (f"!has(self.icmp) || (has(self.protocol) && ({_IS_ICMP}))", "icmp needs protocol ICMP or ICMPv6"),
        (
            f"!has(self.notICMP) || (has(self.protocol) && ({_IS_ICMP}))",
            "notICMP needs protocol ICMP or ICMPv6",
        ),
        *_family("protocol"),
        *_family("notProtocol"),
        ("!has(self.http) || self.action == 'Allow'", "http needs action Allow"),
        (
            "!has(self.http) || !has(self.protocol) || self.protocol == 'TCP' || self.protocol == 6",
            "http needs protocol TCP or none",
        ),
        (
            f"!has(self.destination) || !has(self.destination.services) || !({_DESTINATION_PORTS})",
            "a destination with services cannot have ports: the service brings its own",
        ),
    ),
    ICMPFields: (("!has(self.code) || has(self.type)", "an ICMP code needs a type"),),
    EntityRule: (
        *_GOOD_PORTS,
        (
            "!has(self.notNets) || !self.notNets.exists(n, n.endsWith('/0'))",
            "notNets would exclude every address, so that the rule matches nothing",
        ),
        (
            f"!has(self.services) || !({_BESIDE_SERVICES} || has(self.serviceAccounts))",
            "services cannot be used together with selectors, nets or serviceAccounts",
        ),
    ),
    Tier: (
        (
            "size(self.metadata.name) <= 63 && !self.metadata.name.contains('.')",
            "the name must be a DNS label",
        ),
        *_fixed("kube-admin", "1000.0", "Pass"),
        *_fixed("default", "1000000.0", "Deny"),
        *_fixed("kube-baseline", "10000000.0", "Pass"),
    ),
    KubeControllersConfiguration: (
        ("self.metadata.name == 'default'", "the only KubeControllersConfiguration is called default"),
    ),
    ClusterServices: (("self.metadata.name == 'default'", "the only ClusterServices is called default"),),
    HostEndpointTemplate: (
        (
            f"({_set('self.interfaceCIDRs')}) || ({_set('self.interfacePattern')})",
            "interfaceCIDRs or interfacePattern is required",
        ),
    ),
}
