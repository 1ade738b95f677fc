"""Services of a cluster reach the kernel: API server, controller, digest, agents, each its own process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import Lab
from tests.lab.convergence import settle
from tests.lab.lab import CONTROLLER
from tests.lab.topology import MACHINES

NODE_PORT, AT_ADDRESS = 30080, 8088
NODE, POD = MACHINES["node1"], MACHINES["node1-pod"]
#: What kube-proxy would do.
DNAT = f"""
table ip cluster {{
    chain in {{
        type nat hook prerouting priority dstnat;
        ip daddr {NODE.ipv4} tcp dport {{ {NODE_PORT}, {AT_ADDRESS} }} dnat to {POD.ipv4}:8080
    }}
}}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Every node's ingress is closed but for what the agents' way to the API server needs."""
    with Lab("svc", in_cluster=True) as made:
        enabled = {"spec": {"controllers": {"node": {"hostEndpoint": {"autoCreate": "Enabled"}}}}}
        made.hepctl("patch", "kubecontrollersconfiguration", "default", f"--patch={json.dumps(enabled)}")
        run = made.exec("node1", ["nft", DNAT])
        assert run.returncode == 0, run.stderr
        loopback = {"action": "Allow", "destination": {"nets": ["127.0.0.0/8"]}}
        apply(made, policy("closed", ingress=[loopback]))
        settle(made)
        yield made


def policy(name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name}
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": metadata,
        "spec": spec,
    }


def service(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "web", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def apply(lab: Lab, document: dict[str, Any]) -> None:
    lab.hepctl("apply", "-f", "-", stdin=json.dumps(document))


def told(lab: Lab, node_ports: list[int], addresses: list[str]) -> None:
    """Wait until the controller has told exactly this, and every agent enforces it."""

    def is_told() -> bool:
        spec = json.loads(lab.hepctl("get", "clusterservices", "default", "-o", "json")).get("spec", {})
        ports = [port for group in spec.get("nodePorts", []) for port in group["ports"]]
        outside = [each["address"] for each in spec.get("addresses", [])]
        return (ports, outside) == (node_ports, addresses)

    lab.wait(is_told, f"the digest has {node_ports} and {addresses}", CONTROLLER)
    settle(lab)


def reached(lab: Lab) -> dict[int, bool]:
    """Whether the outside reaches the pod by NodePort and by the Service's port at the node's address."""
    return {port: lab.connect("external", "node1", port).reached for port in (NODE_PORT, AT_ADDRESS)}


def test_a_service_opens_the_way_to_its_pods_and_prednat_policy_closes_it(lab: Lab) -> None:
    assert reached(lab) == {NODE_PORT: False, AT_ADDRESS: False}, "ports of the host, as far as anybody knows"
    port = {"port": AT_ADDRESS, "protocol": "TCP", "nodePort": NODE_PORT}
    apply(lab, service(type="NodePort", ports=[port]))
    told(lab, [NODE_PORT], [])
    assert reached(lab) == {NODE_PORT: True, AT_ADDRESS: False}
    apply(lab, service(type="NodePort", ports=[port], externalIPs=[NODE.ipv4]))
    told(lab, [NODE_PORT], [NODE.ipv4])
    assert reached(lab) == {NODE_PORT: True, AT_ADDRESS: True}
    assert not lab.connect("external", "node1", 10250).reached, "the host's own port stays closed"
    to_it = {"action": "Deny", "protocol": "TCP", "destination": {"ports": [NODE_PORT]}}
    apply(lab, policy("early", preDNAT=True, applyOnForward=True, ingress=[to_it]))
    settle(lab)
    assert reached(lab) == {NODE_PORT: False, AT_ADDRESS: True}
    lab.hepctl("delete", "gnp", "early")
    lab.hepctl("delete", "service", "web", "-n", "default")
    told(lab, [], [])
    assert reached(lab) == {NODE_PORT: False, AT_ADDRESS: False}
