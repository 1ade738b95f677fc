"""Every validation rule: a document it refuses, where and why, and the nearest document it accepts."""

# ruff: noqa: E501 - one line for each half of a case reads better than a narrow table
from __future__ import annotations

from typing import Any

import pytest

from pyagent.manifest import ManifestError, decode

V3 = "projectcalico.org/v3"
Document = dict[str, Any]


def resource(kind: str, name: str = "thing", /, *, metadata: Document | None = None, **spec: Any) -> Document:
    return {"apiVersion": V3, "kind": kind, "metadata": {"name": name, **(metadata or {})}, "spec": spec}


def hep(**changes: Any) -> Document:
    spec = {"node": "node1", "interfaceName": "eth0", **changes}
    return resource("HostEndpoint", **{name: value for name, value in spec.items() if value is not None})


def gnp(**spec: Any) -> Document:
    return resource("GlobalNetworkPolicy", **spec)


def ingress(**rule: Any) -> Document:
    return gnp(ingress=[{"action": "Allow", **rule}])


def egress(**rule: Any) -> Document:
    return gnp(egress=[{"action": "Allow", **rule}])


def nets(*texts: str) -> Document:
    return {"nets": list(texts)}


def kcc(**node: Any) -> Document:
    return resource("KubeControllersConfiguration", "default", controllers={"node": node})


def templates(*entries: Document) -> Document:
    return kcc(
        hostEndpoint={"templates": [{"generateName": "t", "interfacePattern": "eth", **e} for e in entries]}
    )


def felix(**spec: Any) -> Document:
    return resource("FelixConfiguration", "default", **spec)


LONG = "a" * 254
SERVICE = {"name": "web", "namespace": "default"}
TCP = {"protocol": "TCP"}

#: rule, refused document, path of the problem, part of its reason, accepted document
CASES: list[tuple[str, Document, str, str, Document]] = [
    ("1 name", resource("Profile", "Upper"), "metadata.name", "lower case", resource("Profile", "a.b-c.9")),
    ("1 length", resource("Profile", LONG), "metadata.name", "253", resource("Profile", LONG[:253])),
    ("1 required", resource("Profile", ""), "metadata.name", "required", resource("Profile", "a")),
    ("2", resource("GlobalNetworkPolicy", "a.b.c"), "metadata.name", "one '.'", resource("GlobalNetworkPolicy", "a.b")),
    ("2 staged", resource("StagedGlobalNetworkPolicy", "a.b.c"), "metadata.name", "one '.'",
     resource("StagedGlobalNetworkPolicy", "a.b")),
    ("3 dot", resource("Tier", "a.b"), "metadata.name", "letters, digits and '-'", resource("Tier", "a-b")),
    ("3 length", resource("Tier", "a" * 64), "metadata.name", "63", resource("Tier", "a" * 63)),
    ("4 key", gnp() | {"metadata": {"name": "a", "labels": {"a b": ""}}}, "metadata.labels[a b]", "letters",
     gnp() | {"metadata": {"name": "a", "labels": {"example.org/a_b": ""}}}),
    ("4 prefix", resource("Profile", metadata={"labels": {"A/b": ""}}), "metadata.labels[A/b]", "DNS subdomain",
     resource("Profile", metadata={"labels": {"a/B": ""}})),
    ("4 key length", resource("Profile", metadata={"labels": {"a" * 64: ""}}), "metadata.labels", "63",
     resource("Profile", metadata={"labels": {"a" * 63: ""}})),
    ("4 value", resource("Profile", metadata={"labels": {"a": "b" * 64}}), "metadata.labels.a", "63",
     resource("Profile", metadata={"labels": {"a": "b" * 63}})),
    ("5 key", resource("Profile", metadata={"annotations": {"/a": ""}}), "metadata.annotations[/a]", "subdomain",
     resource("Profile", metadata={"annotations": {"Projectcalico.Org/A": "any text"}})),
    ("5 size", resource("Profile", metadata={"annotations": {"a": "é" * 131072}}), "metadata.annotations", "262144",
     resource("Profile", metadata={"annotations": {"a": "é" * 131071}})),
    ("6", resource("GlobalNetworkSet", metadata={"labels": {"projectcalico.org/namespace": "x"}}),
     "metadata.labels[projectcalico.org/namespace]", "GlobalNetworkSet",
     resource("Profile", metadata={"labels": {"projectcalico.org/namespace": "x"}})),
    ("7", resource("Tier", metadata={"namespace": "default"}), "metadata.namespace", "not in a namespace",
     {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "default"}}),
    ("8 required", hep(node=None), "spec.node", "required", hep()),
    ("8 name", hep(node="Node_1"), "spec.node", "lower case", hep(node="node-1.example.org")),
    ("9", hep(interfaceName=None), "spec.interfaceName", "required", hep(interfaceName=None, expectedIPs=["::1"])),
    ("10 length", hep(interfaceName="a" * 16), "spec.interfaceName", "15", hep(interfaceName="a" * 15)),
    ("10 characters", hep(interfaceName="eth*"), "spec.interfaceName", "15", hep(interfaceName="*")),
    ("11 mask", hep(expectedIPs=["10.0.0.1/32"]), "spec.expectedIPs[0]", "not an IP", hep(expectedIPs=["10.0.0.1"])),
    ("11 zone", hep(expectedIPs=["fe80::1%eth0"]), "spec.expectedIPs[0]", "not an IP", hep(expectedIPs=["fe80::1"])),
    ("11 twice", hep(expectedIPs=["fd00::1", "FD00:0::1"]), "spec.expectedIPs[1]", "twice",
     hep(expectedIPs=["fd00::1", "fd00::2"])),
    ("12", hep(profiles=["Bad_"]), "spec.profiles[0]", "lower case", hep(profiles=["projectcalico-default-allow"])),
    ("13 name", hep(ports=[{"name": "UP", "port": 1, **TCP}]), "spec.ports[0].name", "15",
     hep(ports=[{"name": "up", "port": 1, **TCP}, {"name": "up", "port": 2, **TCP}])),
    ("13 digits", hep(ports=[{"name": "80", "port": 1, **TCP}]), "spec.ports[0].name", "letter",
     hep(ports=[{"name": "80-x", "port": 1, "protocol": 132}])),
    ("13 port", hep(ports=[{"name": "a", "port": 0, **TCP}]), "spec.ports[0].port", "65535",
     hep(ports=[{"name": "a", "port": 65535, **TCP}])),
    ("13 protocol", hep(ports=[{"name": "a", "port": 1, "protocol": "ICMP"}]), "spec.ports[0].protocol", "SCTP",
     hep(ports=[{"name": "a", "port": 1, "protocol": "SCTP"}])),
    ("13 number", hep(ports=[{"name": "a", "port": 1, "protocol": 1}]), "spec.ports[0].protocol", "132",
     hep(ports=[{"name": "a", "port": 1, "protocol": 17}])),
    ("14", gnp(doNotTrack=True, preDNAT=True, applyOnForward=True), "spec.doNotTrack", "exclude",
     gnp(doNotTrack=True, applyOnForward=True)),
    ("15", gnp(preDNAT=True, applyOnForward=True, types=["Ingress"], egress=[{"action": "Deny"}]), "spec.egress",
     "egress rules", gnp(preDNAT=True, applyOnForward=True, ingress=[{"action": "Deny"}])),
    ("16", gnp(preDNAT=True, applyOnForward=True, types=["Egress"]), "spec.types", "type Egress",
     gnp(preDNAT=True, applyOnForward=True, types=["Ingress"])),
    ("17 untracked", gnp(doNotTrack=True), "spec.applyOnForward", "must be true",
     gnp(doNotTrack=True, applyOnForward=True)),
    ("17 preDNAT", gnp(preDNAT=True, applyOnForward=False), "spec.applyOnForward", "must be true",
     gnp(preDNAT=True, applyOnForward=True)),
    ("18 name", gnp(types=["ingress"]), "spec.types[0]", "one of Ingress, Egress", gnp(types=["Ingress"])),
    ("18 empty", gnp(types=[""]), "spec.types[0]", "one of Ingress, Egress", gnp(types=[])),
    ("18 twice", gnp(types=["Egress", "Egress"]), "spec.types[1]", "twice", gnp(types=["Egress", "Ingress"])),
    ("19 selector", gnp(selector="global()"), "spec.selector", "namespaceSelector", gnp(selector="all()")),
    ("19 namespace", gnp(namespaceSelector="!global()"), "spec.namespaceSelector", "global()",
     gnp(namespaceSelector="has(a)")),
    ("19 account", gnp(serviceAccountSelector="has(a)||global()"), "spec.serviceAccountSelector", "global()",
     gnp(serviceAccountSelector="global == 'a'")),
    ("20 syntax", gnp(selector="has(a"), "spec.selector", "position 5", gnp(selector="has(a)")),
    ("20 length", gnp(selector="has(a)" + " " * 1019), "spec.selector", "1024", gnp(selector="has(a)" + " " * 1018)),
    ("21 known", gnp(performanceHints=["Fast"]), "spec.performanceHints[0]", "Assume",
     gnp(performanceHints=["AssumeNeededOnEveryNode"])),
    ("21 twice", gnp(performanceHints=["AssumeNeededOnEveryNode"] * 2), "spec.performanceHints[1]", "twice", gnp()),
    ("22 ingress", gnp(ingress=[{"action": "Deny"}] * 1025), "spec.ingress", "1024",
     gnp(ingress=[{"action": "Deny"}] * 1024)),
    ("22 egress", gnp(egress=[{"action": "Deny"}] * 1025), "spec.egress", "1024",
     gnp(egress=[{"action": "Deny"}] * 1024)),
    ("order", gnp(order=float("nan")), "spec.order", "finite", gnp(order=-1.5)),
    ("tier name", gnp(tier="a.b"), "spec.tier", "letters", gnp(tier="a-b")),
    ("staged", gnp(stagedAction="Set"), "spec.stagedAction", "not recognized",
     resource("StagedGlobalNetworkPolicy", stagedAction="Learn")),
    ("staged value", resource("StagedGlobalNetworkPolicy", stagedAction="set"), "spec.stagedAction", "one of",
     resource("StagedGlobalNetworkPolicy", stagedAction="Ignore")),
    ("24 value", ingress(action="allow"), "spec.ingress[0].action", "one of Allow", ingress(action="Log")),
    ("24 required", ingress(action=""), "spec.ingress[0].action", "required", ingress(action="Pass")),
    ("25", ingress(ipVersion=5), "spec.ingress[0].ipVersion", "4 or 6", ingress(ipVersion=6)),
    ("26 case", ingress(protocol="tcp"), "spec.ingress[0].protocol", "exactly so", ingress(protocol="UDPLite")),
    ("26 zero", ingress(protocol=0), "spec.ingress[0].protocol", "1 to 255", ingress(protocol=1)),
    ("26 high", ingress(notProtocol=256), "spec.ingress[0].notProtocol", "1 to 255", ingress(notProtocol=255)),
    ("26 quoted", ingress(protocol="6"), "spec.ingress[0].protocol", "1 to 255", ingress(protocol=6)),
    ("27 number", ingress(destination={"ports": [80]}), "spec.ingress[0].destination.ports", "need protocol",
     ingress(destination={"ports": ["http"]})),
    ("27 range", ingress(source={"notPorts": ["a", "1:2"]}, notProtocol="TCP"), "spec.ingress[0].source.notPorts",
     "need protocol", ingress(source={"notPorts": ["a", "1:2"]}, **TCP)),
    ("28", ingress(protocol="ICMP", destination={"ports": [80]}), "spec.ingress[0].destination.ports", "no ports",
     ingress(protocol=132, destination={"ports": [80]})),
    ("28 UDPLite", egress(protocol=136, source={"ports": ["a"]}), "spec.egress[0].source.ports", "no ports",
     egress(protocol="UDP", source={"ports": ["a"]})),
    ("29 zero", ingress(destination={"ports": [0]}, **TCP), "spec.ingress[0].destination.ports[0]", "1 to 65535",
     ingress(destination={"ports": [1, 65535]}, **TCP)),
    ("29 high", ingress(destination={"ports": ["65536"]}, **TCP), "spec.ingress[0].destination.ports[0]", "65535",
     ingress(destination={"ports": ["65535"]}, **TCP)),
    ("29 long", ingress(destination={"ports": ["100000"]}, **TCP), "spec.ingress[0].destination.ports[0]", "65535",
     ingress(destination={"ports": ["10000"]}, **TCP)),
    ("29 order", ingress(destination={"ports": ["2:1"]}, **TCP), "spec.ingress[0].destination.ports[0]", "lower end",
     ingress(destination={"ports": ["1:1"]}, **TCP)),
    ("29 range", ingress(destination={"ports": ["0:9"]}, **TCP), "spec.ingress[0].destination.ports[0]", "1 to",
     ingress(destination={"ports": ["1:65535"]}, **TCP)),
    ("30", ingress(destination={"ports": ["a b"]}, **TCP), "spec.ingress[0].destination.ports[0]", "name of a port",
     ingress(destination={"ports": ["A_b.c-9"]}, **TCP)),
    ("31", ingress(icmp={"type": 8}), "spec.ingress[0].icmp", "ICMP or ICMPv6", ingress(icmp={"type": 8}, protocol=1)),
    ("31 not", ingress(notICMP={"type": 8}, **TCP), "spec.ingress[0].notICMP", "ICMP or ICMPv6",
     ingress(notICMP={"type": 8}, protocol="ICMPv6")),
    ("32", ingress(icmp={"code": 0}, protocol="ICMP"), "spec.ingress[0].icmp.code", "needs a type",
     ingress(icmp={"type": 0, "code": 0}, protocol="ICMP")),
    ("33 type", ingress(icmp={"type": 255}, protocol="ICMP"), "spec.ingress[0].icmp.type", "254",
     ingress(icmp={"type": 254}, protocol="ICMP")),
    ("33 code", ingress(icmp={"type": 3, "code": 256}, protocol=58), "spec.ingress[0].icmp.code", "255",
     ingress(icmp={"type": 3, "code": 255}, protocol=58)),
    ("34 ICMP", ingress(protocol="ICMP", ipVersion=6), "spec.ingress[0].protocol", "ipVersion 6",
     ingress(protocol="ICMP", ipVersion=4)),
    ("34 ICMPv6", ingress(protocol=58, ipVersion=4), "spec.ingress[0].protocol", "ipVersion 4",
     ingress(protocol=58, ipVersion=6)),
    ("34 not", ingress(notProtocol="ICMPv6", ipVersion=4), "spec.ingress[0].notProtocol", "ipVersion 4",
     ingress(notProtocol="ICMPv6")),
    ("35 mask", ingress(source=nets("10.0.0.1/8")), "spec.ingress[0].source.nets[0]", "did you mean 10.0.0.0/8",
     ingress(source=nets("10.0.0.0/8", "10.0.0.1"))),
    ("35 text", egress(destination=nets("10.0.0/8")), "spec.egress[0].destination.nets[0]", "not a CIDR",
     egress(destination=nets("0.0.0.0/0"))),
    ("35 netmask", ingress(source={"notNets": ["10.0.0.0/255.0.0.0"]}), "spec.ingress[0].source.notNets[0]",
     "not a CIDR", ingress(source={"notNets": ["10.0.0.0/8"]})),
    ("35 long", ingress(source=nets("fd00::/129")), "spec.ingress[0].source.nets[0]", "not a CIDR",
     ingress(source=nets("fd00::/128"))),
    ("36", ingress(source=nets("10.0.0.0/8"), destination={"notNets": ["fd00::/8"]}), "spec.ingress[0]", "mixes",
     ingress(source=nets("10.0.0.0/8"), destination={"notNets": ["10.0.0.0/9"]})),
    ("37", ingress(ipVersion=6, source=nets("10.0.0.0/8")), "spec.ingress[0].source.nets[0]", "ipVersion 6",
     ingress(ipVersion=6, source=nets("fd00::/8"))),
    ("38", ingress(source={"notNets": ["0.0.0.0/0"]}), "spec.ingress[0].source.notNets[0]", "every address",
     ingress(source={"notNets": ["0.0.0.0/1"]})),
    ("38 spelling", ingress(source={"notNets": ["0:0::0/0"]}), "spec.ingress[0].source.notNets[0]", "every address",
     ingress(source={"notNets": ["::/1"]})),
    ("39 selector", ingress(source={"selector": "global()"}), "spec.ingress[0].source.selector", "namespaceSelector",
     ingress(source={"namespaceSelector": "global()"})),
    ("39 not", ingress(source={"notSelector": "global()"}), "spec.ingress[0].source.notSelector", "global()",
     ingress(source={"notSelector": "has(a)"})),
    ("39 alone", ingress(source={"namespaceSelector": "global() || has(a)"}),
     "spec.ingress[0].source.namespaceSelector", "alone", ingress(source={"namespaceSelector": "(global())"})),
    ("39 syntax", ingress(destination={"selector": "a ="}), "spec.ingress[0].destination.selector", "single =",
     ingress(destination={"selector": "a == ''"})),
    ("40 action", ingress(action="Deny", http={"methods": ["GET"]}), "spec.ingress[0].http", "Allow",
     ingress(http={"methods": ["GET"]})),
    ("40 protocol", ingress(protocol="UDP", http={}), "spec.ingress[0].http", "TCP", ingress(http={}, **TCP)),
    ("40 direction", egress(http={"methods": ["GET"]}), "spec.egress[0].http", "ingress", ingress(protocol=6, http={})),
    ("40 methods", ingress(http={"methods": ["GET", "GET"]}), "spec.ingress[0].http.methods[1]", "twice",
     ingress(http={"methods": ["GET", "PUT"]})),
    ("40 slash", ingress(http={"paths": [{"exact": "a"}]}), "spec.ingress[0].http.paths[0].exact", "begin with /",
     ingress(http={"paths": [{"exact": "/a"}]})),
    ("40 query", ingress(http={"paths": [{"prefix": "/a?b"}]}), "spec.ingress[0].http.paths[0].prefix", "blank",
     ingress(http={"paths": [{"prefix": "/a"}]})),
    ("40 xor", ingress(http={"paths": [{"exact": "/a", "prefix": "/"}]}), "spec.ingress[0].http.paths[0]", "either",
     ingress(http={"paths": [{"prefix": "/"}]})),
    ("41 name", egress(destination={"services": {"namespace": "a"}}), "spec.egress[0].destination.services.name",
     "required", egress(destination={"services": SERVICE})),
    ("41 namespace", ingress(source={"services": {"name": "a"}}), "spec.ingress[0].source.services.namespace",
     "required", ingress(source={"services": SERVICE})),
    ("41 place", ingress(destination={"services": SERVICE}), "spec.ingress[0].destination.services",
     "ingress rule's source", egress(destination={"services": SERVICE})),
    *(
        (f"41 {field}", ingress(source={"services": SERVICE, field: value}), "spec.ingress[0].source.services", field,
         ingress(source={field: value}))
        for field, value in (
            ("selector", "has(a)"), ("notSelector", "has(a)"), ("namespaceSelector", "has(a)"),
            ("serviceAccounts", {"names": ["a"]}), ("nets", ["10.0.0.0/8"]), ("notNets", ["10.0.0.0/8"]),
        )
    ),
    ("41 ports", egress(destination={"services": SERVICE, "ports": [80]}, **TCP), "spec.egress[0].destination.services",
     "cannot have ports", ingress(source={"services": SERVICE, "ports": [80]}, **TCP)),
    ("42 nets", ingress(source=nets(*["10.0.0.0/8"] * 257)), "spec.ingress[0].source.nets", "256",
     ingress(source=nets(*["10.0.0.0/8"] * 256))),
    ("42 ports", ingress(destination={"notPorts": [1] * 51}, **TCP), "spec.ingress[0].destination.notPorts", "50",
     ingress(destination={"notPorts": [1] * 50}, **TCP)),
    ("account selector", ingress(source={"serviceAccounts": {"selector": "("}}),
     "spec.ingress[0].source.serviceAccounts.selector", "invalid selector",
     ingress(source={"serviceAccounts": {"selector": "has(a)"}})),
    ("account name", ingress(source={"serviceAccounts": {"names": ["A"]}}),
     "spec.ingress[0].source.serviceAccounts.names[0]", "lower case",
     ingress(source={"serviceAccounts": {"names": ["a"]}})),
    ("rule annotation", ingress(metadata={"annotations": {"a b": "c"}}),
     "spec.ingress[0].metadata.annotations[a b]", "letters", ingress(metadata={"annotations": {"a": "b c"}})),
    ("profile rule", resource("Profile", egress=[{"action": "x"}]), "spec.egress[0].action", "one of",
     resource("Profile", egress=[{"action": "Allow"}])),
    ("profile labels", resource("Profile", labelsToApply={"a b": ""}), "spec.labelsToApply[a b]", "letters",
     resource("Profile", labelsToApply={"a": ""})),
    ("43", resource("GlobalNetworkSet", nets=["10.0.0.0/33"]), "spec.nets[0]", "not a CIDR",
     resource("GlobalNetworkSet", nets=["10.0.0.1/8", "fd00::1", "10.0.0.1"])),
    ("44 value", resource("Tier", defaultAction="Allow"), "spec.defaultAction", "Deny, Pass",
     resource("Tier", defaultAction="Pass")),
    ("44 order", resource("Tier", order=float("inf")), "spec.order", "finite", resource("Tier", order=5)),
    *(
        (f"44 {name} {field}", resource("Tier", name, **{field: bad}), f"spec.{field}", "always",
         resource("Tier", name, **{field: good}))
        for name, field, bad, good in (
            ("default", "order", 5, 1e6), ("default", "defaultAction", "Pass", "Deny"),
            ("kube-admin", "order", 1001, 1000), ("kube-admin", "defaultAction", "Deny", "Pass"),
            ("kube-baseline", "order", 5, 1e7), ("kube-baseline", "defaultAction", "Deny", "Pass"),
        )
    ),
    ("45 name", resource("KubeControllersConfiguration", "other"), "metadata.name", "default", kcc()),
    ("45 autoCreate", kcc(hostEndpoint={"autoCreate": "yes"}), "spec.controllers.node.hostEndpoint.autoCreate",
     "Enabled", kcc(hostEndpoint={"autoCreate": "Enabled"})),
    ("45 createDefault", kcc(hostEndpoint={"createDefaultHostEndpoint": "No"}),
     "spec.controllers.node.hostEndpoint.createDefaultHostEndpoint", "Disabled",
     kcc(hostEndpoint={"createDefaultHostEndpoint": "Disabled"})),
    ("45 syncLabels", kcc(syncLabels="x"), "spec.controllers.node.syncLabels", "Enabled", kcc(syncLabels="Disabled")),
    ("45 period", kcc(reconcilerPeriod="5"), "spec.controllers.node.reconcilerPeriod", "duration",
     kcc(reconcilerPeriod="5m")),
    ("45 negative", kcc(leakGracePeriod="-5m"), "spec.controllers.node.leakGracePeriod", "negative",
     kcc(leakGracePeriod="0")),
    ("45 policy", resource("KubeControllersConfiguration", "default", controllers={"policy": {"reconcilerPeriod": "x"}}),
     "spec.controllers.policy.reconcilerPeriod", "duration",
     resource("KubeControllersConfiguration", "default", controllers={"policy": {"reconcilerPeriod": "1m"}})),
    ("45 log", resource("KubeControllersConfiguration", "default", logSeverityScreen="Loud"),
     "spec.logSeverityScreen", "Debug",
     resource("KubeControllersConfiguration", "default", logSeverityScreen="Debug")),
    ("45 health", resource("KubeControllersConfiguration", "default", healthChecks="On"), "spec.healthChecks",
     "Enabled", resource("KubeControllersConfiguration", "default", healthChecks="Enabled")),
    ("45 port", resource("KubeControllersConfiguration", "default", prometheusMetricsPort=65536),
     "spec.prometheusMetricsPort", "65535",
     resource("KubeControllersConfiguration", "default", prometheusMetricsPort=0)),
    ("45 assignIPs", resource("KubeControllersConfiguration", "default", controllers={"loadBalancer": {"assignIPs": "x"}}),
     "spec.controllers.loadBalancer.assignIPs", "AllServices",
     resource("KubeControllersConfiguration", "default",
              controllers={"loadBalancer": {"assignIPs": "RequestedServicesOnly"}})),
    ("45 migrator", resource("KubeControllersConfiguration", "default",
                             controllers={"migration": {"policyNameMigrator": "x"}}),
     "spec.controllers.migration.policyNameMigrator", "Enabled",
     resource("KubeControllersConfiguration", "default",
              controllers={"migration": {"policyNameMigrator": "Enabled"}})),
    ("1.4 name", templates({"generateName": ""}), "spec.controllers.node.hostEndpoint.templates[0].generateName",
     "required", templates({})),
    ("1.4 name form", templates({"generateName": "A"}),
     "spec.controllers.node.hostEndpoint.templates[0].generateName", "lower case", templates({"generateName": "a"})),
    ("1.4 unique", templates({}, {}), "spec.controllers.node.hostEndpoint.templates[1].generateName", "before",
     templates({}, {"generateName": "u"})),
    ("1.4 one of", templates({"interfacePattern": ""}), "spec.controllers.node.hostEndpoint.templates[0]",
     "required", templates({"interfacePattern": "", "interfaceCIDRs": ["10.0.0.0/8"]})),
    ("1.4 CIDR", templates({"interfaceCIDRs": ["10.0.0.1"]}),
     "spec.controllers.node.hostEndpoint.templates[0].interfaceCIDRs[0]", "not a CIDR",
     templates({"interfaceCIDRs": ["fd00::/8"]})),
    ("1.4 pattern", templates({"interfacePattern": "("}),
     "spec.controllers.node.hostEndpoint.templates[0].interfacePattern", "regular expression",
     templates({"interfacePattern": "^eth[0-9]+$"})),
    ("1.4 selector", templates({"nodeSelector": "has("}),
     "spec.controllers.node.hostEndpoint.templates[0].nodeSelector", "invalid selector",
     templates({"nodeSelector": "has(a)"})),
    ("1.4 labels", templates({"labels": {"a b": ""}}),
     "spec.controllers.node.hostEndpoint.templates[0].labels[a b]", "letters", templates({"labels": {"a": ""}})),
    ("1.4 annotations", templates({"annotations": {"a b": ""}}),
     "spec.controllers.node.hostEndpoint.templates[0].annotations[a b]", "letters",
     templates({"annotations": {"a": ""}})),
    ("46 protocol", felix(failsafeInboundHostPorts=[{"protocol": "tcp", "port": 22}]),
     "spec.failsafeInboundHostPorts[0].protocol", "TCP, UDP, SCTP",
     felix(failsafeInboundHostPorts=[{"protocol": "SCTP", "port": 22}])),
    ("46 port", felix(failsafeOutboundHostPorts=[{"protocol": "UDP", "port": 65536}]),
     "spec.failsafeOutboundHostPorts[0].port", "65535", felix(failsafeOutboundHostPorts=[])),
    ("46 net", felix(failsafeInboundHostPorts=[{"protocol": "TCP", "port": 22, "net": "x"}]),
     "spec.failsafeInboundHostPorts[0].net", "not a CIDR",
     felix(failsafeInboundHostPorts=[{"protocol": "TCP", "port": 22, "net": "10.0.0.0/8"}])),
    ("46 profile", felix(failsafeProfile="v1"), "spec.failsafeProfile", "v3.14", felix(failsafeProfile="v3.14")),
    ("46 action", felix(defaultEndpointToHostAction="Reject"), "spec.defaultEndpointToHostAction", "Drop",
     felix(defaultEndpointToHostAction="RETURN")),
    ("46 flows", felix(existingFlows="cut"), "spec.existingFlows", "Keep, Cut", felix(existingFlows="Cut")),
    ("46 node ports", felix(nodePorts=["9:1"]), "spec.nodePorts[0]", "lower", felix(nodePorts=["tcp:1:9", "80"])),
    ("46 node port text", felix(nodePorts=["web"]), "spec.nodePorts[0]", "LOW:HIGH", felix(nodePorts=["30000:32767"])),
    ("46 exclude", felix(interfaceExclude=["/kube/"]), "spec.interfaceExclude[0]", "shell pattern",
     felix(interfaceExclude=["kube-*"])),
    ("46 workload", felix(workloadInterfaces=[""]), "spec.workloadInterfaces[0]", "shell pattern",
     felix(workloadInterfaces=["cali*"])),
    ("46 vxlan", felix(vxlanPort=0), "spec.vxlanPort", "65535", felix(vxlanPort=4789)),
    ("46 interval", felix(reportingInterval="x"), "spec.reportingInterval", "duration",
     felix(reportingInterval="30s")),
    ("46 log", felix(logSeverityScreen="x"), "spec.logSeverityScreen", "one of", felix(logSeverityScreen="info")),
]  # fmt: skip
IDS = [case[0] for case in CASES]


def _problems(document: Document) -> list[tuple[str, str]]:
    with pytest.raises(ManifestError) as raised:
        decode(document)
    return [(problem.path, problem.reason) for problem in raised.value.problems]


@pytest.mark.parametrize(("refused", "path", "reason"), [case[1:4] for case in CASES], ids=IDS)
def test_a_broken_rule_is_refused_with_its_field_and_reason(
    refused: Document, path: str, reason: str
) -> None:
    problems = _problems(refused)
    assert any(found.startswith(path) and reason in why for found, why in problems), problems


@pytest.mark.parametrize("accepted", [case[4] for case in CASES], ids=IDS)
def test_the_nearest_document_that_keeps_the_rule_is_accepted(accepted: Document) -> None:
    assert decode(accepted).kind == accepted["kind"]


def test_every_numbered_rule_but_the_tiers_existence_has_a_case() -> None:
    covered = {int(name.split()[0]) for name in IDS if name.split()[0].isdigit()}
    assert covered == set(range(1, 47)) - {23}


def test_all_problems_of_a_document_are_reported_at_once() -> None:
    document = gnp(selector="(", types=["x"], ingress=[{"action": "a"}, {"action": "Allow", "ipVersion": 5}])
    assert [path for path, _ in _problems(document)] == [
        "spec.selector",
        "spec.types[0]",
        "spec.ingress[0].action",
        "spec.ingress[1].ipVersion",
    ]
