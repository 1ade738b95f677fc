"""The resources of a cluster as its agents see them: nodes with labels and addresses, and policies."""

from __future__ import annotations

import random
from typing import Any, Final

import msgspec

from pyagent.model import KINDS, Resource
from pyagent.model.facts import HostFacts, InterfaceFacts

#: Labels of a node and how many values each has.
LABELS: Final = {"zone": 3, "role": 5, "rack": 4, "os": 2}
PORTS: Final = (22, 53, 80, 443, 6443, 8080, 9100, 10250)
CREATED_BY: Final = "projectcalico.org/created-by"


def _resource(kind: str, name: str, spec: dict[str, Any], labels: dict[str, str] | None = None) -> Resource:
    model = KINDS[kind]
    metadata = {"name": name, "labels": labels or {}, "uid": name, "generation": 1}
    return msgspec.convert(
        {"apiVersion": model.API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}, model
    )


def addresses(number: int) -> tuple[str, str]:
    """A node's addresses: two hundred nodes share a subnet."""
    subnet, place = divmod(number, 200)
    return f"10.{subnet >> 8}.{subnet & 255}.{place + 10}", f"fd00:0:0:{subnet:x}::{place + 10:x}"


def node(number: int, labels: dict[str, str]) -> Resource:
    """The automatic host endpoint of a node."""
    spec = {"node": f"n{number}", "interfaceName": "*", "expectedIPs": list(addresses(number))}
    return _resource("HostEndpoint", f"n{number}-auto-hep", spec, {CREATED_BY: "controller", **labels})


class Cluster:
    """``nodes`` nodes and ``policies`` policies of three rules each, always the same for one seed."""

    def __init__(self, nodes: int, policies: int, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.labels = [self.some_labels() for _ in range(nodes)]
        self.nodes = [node(number, labels) for number, labels in enumerate(self.labels)]
        self.policies = [self.policy(number) for number in range(policies)]

    def some_labels(self) -> dict[str, str]:
        """Labels as some node has them."""
        return {key: f"{key}-{self.random.randrange(size)}" for key, size in LABELS.items()}

    def _selector(self) -> str:
        key, other = self.random.sample(list(LABELS), 2)
        value = f"{key} == '{key}-{self.random.randrange(LABELS[key])}'"
        if self.random.random() < 0.5:
            return value
        return f"{value} && {other} != '{other}-{self.random.randrange(LABELS[other])}'"

    def _rule(self, side: str) -> dict[str, Any]:
        peer: dict[str, Any] = {"selector": self._selector()}
        if self.random.random() < 0.3:
            net = f"172.{self.random.randrange(16, 32)}.{self.random.randrange(256)}.0/24"
            peer = {"nets": [net]}
        rule: dict[str, Any] = {"action": self.random.choice(["Allow", "Allow", "Deny"]), "protocol": "TCP"}
        ports = self.random.sample(PORTS, 2)
        if self.random.random() < 0.3:
            ports = [self.random.randint(1024, 65535)]
        if side == "source":
            return {**rule, "source": peer, "destination": {"ports": ports}}
        return {**rule, "destination": {**peer, "ports": ports}}

    def policy(self, number: int) -> Resource:
        """A policy of that number; asked again it has other rules."""
        spec = {
            "tier": "default",
            "order": float(number),
            "selector": "has(role)",
            "types": ["Ingress", "Egress"],
            "ingress": [self._rule("source"), self._rule("source")],
            "egress": [self._rule("destination")],
        }
        return _resource("GlobalNetworkPolicy", f"policy-{number:04}", spec)

    def facts(self) -> HostFacts:
        """What is known of the host of node 0."""
        loopback = InterfaceFacts("lo", 1, ("127.0.0.1", "::1"))
        return HostFacts("n0", (loopback, InterfaceFacts("eth0", 2, addresses(0))))

    def touched(self, policy: Resource) -> Resource:
        """The policy with another first ingress rule."""
        spec = msgspec.to_builtins(policy.spec)  # type: ignore[attr-defined]
        spec["ingress"] = [self._rule("source"), *spec["ingress"][1:]]
        return _resource("GlobalNetworkPolicy", policy.metadata.name, spec)
