"""What the walkthrough expects at each stage is what both engines say of its packets, hook by hook."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from functools import cache

import pytest

from pyagent import manifest
from pyagent.model import Resource
from pyagent.model.facts import HostFacts, InterfaceFacts
from pyagent.model.packet import Packet
from pyagent.reference import Verdict
from tests.lab.expectations import CHECKS, Check, Stage
from tests.lab.lab import PROJECT
from tests.lab.topology import MACHINES, NODES, POD_INTERFACE, POD_NETWORKS, Machine
from tests.support.agreement import Engines
from tests.support.generate import RandomWorld
from tests.support.generate_packets import Case

PROTOCOLS = {"tcp": 6, "web": 6, "udp": 17}
LOCKED = ("ingress-k8s-masters", "ingress-k8s-workers")
POLICIES = {
    Stage.MASTERS: LOCKED[:1],
    Stage.WORKERS: LOCKED,
    Stage.LOCKED: LOCKED,
    Stage.GLOBAL: (*LOCKED, "global-access"),
    Stage.CLOSED_AGAIN: LOCKED,
    Stage.INTERNAL: (*LOCKED, "internal-access"),
}


def labels(node: Machine, stage: Stage) -> dict[str, str]:
    """The labels a node has got by a stage."""
    given = {"kubernetes-host": ""} if stage >= Stage.LABELLED else {}
    if node.name == "master":
        return given | ({"node-role.kubernetes.io/master": ""} if stage >= Stage.LABELLED else {})
    return given | ({"kubernetes-worker": ""} if stage >= Stage.WORKERS else {})


def endpoint(node: Machine, stage: Stage) -> Resource:
    return manifest.decode(
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": "HostEndpoint",
            "metadata": {"name": f"{node.name}-auto-hep", "labels": labels(node, stage)},
            "spec": {
                "node": node.name,
                "interfaceName": "*",
                "expectedIPs": [node.ipv4, node.ipv6],
                "profiles": ["projectcalico-default-allow"],
            },
        }
    )


@cache
def engines(node: str, stage: Stage) -> Engines:
    """Reference evaluator and compiled tables of a node at a stage."""
    resources = [] if stage is Stage.NO_ENDPOINTS else [endpoint(each, stage) for each in NODES]
    for name in POLICIES.get(stage, ()):
        (document,) = manifest.load_paths([str(PROJECT / "examples" / "seed" / f"{name}.yaml")])
        assert document.resource is not None
        resources.append(document.resource)
    interfaces = (
        InterfaceFacts("lo", 1, ("127.0.0.1", "::1")),
        InterfaceFacts("eth0", 2, (MACHINES[node].ipv4, MACHINES[node].ipv6)),
        InterfaceFacts(POD_INTERFACE, 3, (), workload=True),
    )
    return Engines(RandomWorld(0, tuple(resources), HostFacts(node, interfaces)))


def packet(check: Check, family: int, source: str, destination: str) -> Packet:
    addresses = (int(ipaddress.ip_address(source)), int(ipaddress.ip_address(destination)))
    if check.protocol == "icmp":
        return Packet(family, *addresses, *((1, 0, 0, 8) if family == 4 else (58, 0, 0, 128)))
    return Packet(family, *addresses, PROTOCOLS[check.protocol], 40000, check.port)


def crossings(check: Check, family: int) -> Iterator[tuple[str, Case]]:
    """Every hook that the opening packet crosses if nothing drops it, and its node."""
    nodes = {node.name for node in NODES}
    origin = MACHINES[check.source]
    target = MACHINES.get(check.target)
    home = origin.pod_of or origin.name  # where it starts from, seen from the bridge
    if target is None or target is origin:  # a node to itself
        to = target.address(family) if target else check.target
        looped = packet(check, family, to, to)
        yield home, Case("lo", "egress", looped)
        yield home, Case("lo", "ingress", looped)
        return
    to = target.address(family)
    end = target.pod_of or target.name
    sent = packet(check, family, origin.address(family), to)
    if origin.pod_of:
        yield home, Case(POD_INTERFACE, "ingress", sent)
        in_pods = ipaddress.ip_address(to) in ipaddress.ip_network(POD_NETWORKS[family])
        if end != home and not in_pods:  # masqueraded on the way out
            sent = packet(check, family, MACHINES[home].address(family), to)
    if end != home:
        if home in nodes:
            yield home, Case("eth0", "egress", sent, received=bool(origin.pod_of))
        if end in nodes:
            yield end, Case("eth0", "ingress", sent)
    if target.pod_of:
        yield end, Case(POD_INTERFACE, "egress", sent, received=end != home)


@pytest.mark.parametrize("stage", Stage, ids=lambda stage: stage.name.lower())
def test_both_engines_agree_with_what_the_walkthrough_expects(stage: Stage) -> None:
    made = 0
    for check in CHECKS:
        for family in check.families if stage in check.made else ():
            met = [(node, case, *engines(node, stage).ask(case)) for node, case in crossings(check, family)]
            expected = stage in check.opens
            what = f"{check}, IPv{family}: {met}"
            assert all(decision.verdict is Verdict.ALLOW for _, _, decision, _ in met) == expected, what
            assert all(judged.allowed for _, _, _, judged in met) == expected, what
            made += 1
    assert made > 70
