"""One host and a few resources, written as manifests are, for tests with expectations worked out by hand."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import msgspec

from pyagent.model import KINDS, Resource
from pyagent.model.facts import HostFacts, InterfaceFacts, Tunnel
from pyagent.model.packet import PROTOCOL_NUMBERS, Packet
from pyagent.reference import Decision, Evaluator

HOST, HOST6 = "10.0.0.1", "fd00::1"
PEER, PEER6 = "10.0.0.2", "fd00::2"
WORLD, WORLD6 = "198.51.100.7", "2001:db8::7"
POD = "10.244.0.5"

FACTS = HostFacts(
    "n1",
    (
        InterfaceFacts("lo", 1, ("127.0.0.1", "::1")),
        InterfaceFacts("eth0", 2, (HOST, HOST6)),
        InterfaceFacts("eth1", 3, ("192.0.2.1",)),
        InterfaceFacts("cali1", 4, workload=True),
    ),
    ("10.0.0.255",),
    (Tunnel(17, 4789), Tunnel(4)),
    frozenset({(6, 30080)}),
)


def resource(
    kind: str,
    name: str,
    spec: dict[str, Any] | None = None,
    labels: dict[str, str] | None = None,
    **fields: Any,
) -> Resource:
    """A resource from the words of its manifest."""
    metadata: dict[str, Any] = {"name": name, "labels": labels or {}}
    if "namespace" in fields:
        metadata["namespace"] = fields.pop("namespace")
    whole = {
        "apiVersion": KINDS[kind].API_VERSION,
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
        **fields,
    }
    return msgspec.convert({key: value for key, value in whole.items() if value is not None}, KINDS[kind])


def service_at(*addresses: str, port: int) -> Resource:
    """A Service with TCP ``port`` at external addresses."""
    spec = {"ports": [{"port": port, "protocol": "TCP"}], "externalIPs": list(addresses)}
    return resource("Service", "web", spec, namespace="default")


def endpoint(name: str = "n1-auto-hep", *, labels: dict[str, str] | None = None, **spec: Any) -> Resource:
    """A host endpoint of n1, by default the automatic one without a profile."""
    spec = {"node": "n1", "interfaceName": "*", "expectedIPs": [HOST, HOST6], **spec}
    return resource("HostEndpoint", name, spec, labels)


def peer(**spec: Any) -> Resource:
    """The host endpoint of another node."""
    spec = {"node": "n2", "interfaceName": "*", "expectedIPs": [PEER, PEER6], **spec}
    return resource("HostEndpoint", "n2-auto-hep", spec, {"role": "peer"})


def policy(name: str = "p", *ingress: dict[str, Any], **spec: Any) -> Resource:
    """A policy with these ingress rules."""
    return resource("GlobalNetworkPolicy", name, ({"ingress": list(ingress)} if ingress else {}) | spec)


def staged(name: str, *ingress: dict[str, Any], **spec: Any) -> Resource:
    """A staged policy with these ingress rules."""
    return resource("StagedGlobalNetworkPolicy", name, {"ingress": list(ingress)} | spec)


def tier(name: str, order: float | None = None, action: str = "Deny") -> Resource:
    return resource("Tier", name, ({} if order is None else {"order": order}) | {"defaultAction": action})


def felix(name: str = "default", **spec: Any) -> Resource:
    return resource("FelixConfiguration", name, spec)


def rule(action: str = "Allow", **fields: Any) -> dict[str, Any]:
    return {"action": action, **fields}


def packet(
    destination_port: int = 80,
    *,
    source: str = WORLD,
    destination: str = HOST,
    protocol: str | int = "TCP",
    **fields: Any,
) -> Packet:
    """A packet, by default a TCP SYN from the outside world to the host."""
    if ":" in source and destination == HOST:
        destination = HOST6
    number = protocol if isinstance(protocol, int) else PROTOCOL_NUMBERS[protocol]
    if number in (6, 17, 132) and not fields.get("fragment"):
        fields = {"source_port": 40000, "destination_port": destination_port} | fields
    start, end = ip_address(source), ip_address(destination)
    return Packet(start.version, int(start), int(end), number, **fields)


def outgoing(destination_port: int = 80, *, destination: str = WORLD, **fields: Any) -> Packet:
    """A packet from the host."""
    source = fields.pop("source", HOST6 if ":" in destination else HOST)
    return packet(destination_port, source=source, destination=destination, **fields)


def judge(
    what: Packet, *resources: Resource, interface: str = "eth0", direction: str = "ingress", **question: Any
) -> Decision:
    """What the reference says."""
    facts = question.pop("facts", FACTS)
    return Evaluator(resources, facts).evaluate(interface, direction, what, **question)  # type: ignore[arg-type]


def judge_out(what: Packet, *resources: Resource, **question: Any) -> Decision:
    """What the reference says at egress."""
    return judge(what, *resources, direction="egress", **question)
