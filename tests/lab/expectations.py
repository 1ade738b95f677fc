"""What gets through at each stage of the walkthrough: data, and nothing computed from the program under test.

Worked out by hand from the policies in examples/seed and from docs/policy.md:

* Ingress policies only; so egress is left to the endpoint's profile, which allows.
* Once a policy with ingress selects a node, what no rule and no failsafe (22, 6443, ...) opens is denied
  there, whichever interface it comes in by: ``lo`` and the node's own pod included.
* The rule for 127.0.0.1/32 says nothing of ::1: over IPv6 a node reaches only its open ports by loopback.
* What is forwarded to or from a pod meets no policy, for none has applyOnForward.
* A pod that talks to another node or to the world is seen as its own node.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Stage(IntEnum):
    """How far the walkthrough has come, after the command that changes what gets through."""

    NO_ENDPOINTS = 0  # automatic host endpoints are disabled
    ENDPOINTS = 1  # enabled: endpoints exist, their profile allows everything
    LABELLED = 2  # nodes carry kubernetes-host, master its role
    MASTERS = 3  # ingress-k8s-masters
    WORKERS = 4  # ingress-k8s-workers; the web server is started after this
    LOCKED = 5  # nothing has changed, but the web server runs
    GLOBAL = 6  # global-access
    CLOSED_AGAIN = 7  # global-access is deleted
    INTERNAL = 8  # internal-access


ALL = frozenset(Stage)
UNTIL_MASTERS = frozenset(stage for stage in Stage if stage < Stage.MASTERS)
UNTIL_WORKERS = frozenset(stage for stage in Stage if stage < Stage.WORKERS)
WEB_RUNS = frozenset(stage for stage in Stage if stage >= Stage.LOCKED)
WEB_GLOBAL = frozenset({Stage.GLOBAL})
WEB_CLUSTER = frozenset({Stage.GLOBAL, Stage.INTERNAL})
BOTH = (4, 6)
V4 = (4,)
V6 = (6,)


@dataclass(frozen=True, slots=True)
class Check:
    """One attempt. ``opens``: the stages in which it gets through; ``made``: those in which it is made.

    ``seen_as``: the machine (or address) the other side must see it come from; empty: the source itself.
    """

    what: str
    source: str
    target: str
    port: int
    protocol: str
    opens: frozenset[Stage]
    seen_as: str = ""
    families: tuple[int, ...] = BOTH
    made: frozenset[Stage] = ALL


def web(what: str, source: str, opens: frozenset[Stage]) -> Check:
    """An attempt at the web server on master, from when it runs."""
    return Check(what, source, "master", 8888, "web", opens, made=WEB_RUNS)


CHECKS = (
    # Failsafe ports stay open from everywhere.
    Check("SSH from outside", "external", "master", 22, "tcp", ALL),
    Check("SSH from outside", "external", "node1", 22, "tcp", ALL),
    Check("SSH from a pod of another node", "node2-pod", "master", 22, "tcp", ALL, seen_as="node2"),
    Check("SSH to itself", "master", "::1", 22, "tcp", ALL, seen_as="::1", families=V6),
    Check("API server from outside", "external", "master", 6443, "tcp", ALL),
    Check("API server from a worker", "node1", "master", 6443, "tcp", ALL),
    Check("API server from a pod", "node2-pod", "master", 6443, "tcp", ALL, seen_as="node2"),
    # The kubelet: masters only.
    Check("kubelet of a worker from master", "master", "node1", 10250, "tcp", ALL),
    Check("kubelet of a worker from the other", "node2", "node1", 10250, "tcp", UNTIL_WORKERS),
    Check("kubelet of a worker from outside", "external", "node1", 10250, "tcp", UNTIL_WORKERS),
    Check("kubelet from the node's own pod", "node1-pod", "node1", 10250, "tcp", UNTIL_WORKERS),
    Check("kubelet from a pod, seen as master", "master-pod", "node1", 10250, "tcp", ALL, seen_as="master"),
    Check("kubelet of master from master", "master", "master", 10250, "tcp", ALL),
    Check("kubelet of master from a worker", "node1", "master", 10250, "tcp", UNTIL_MASTERS),
    # DNS.
    Check("DNS on master from outside", "external", "master", 53, "udp", ALL),
    Check("DNS on a worker from outside", "external", "node1", 53, "udp", ALL),
    Check("DNS from the node's own pod", "node1-pod", "node1", 53, "udp", ALL),
    # Loopback.
    Check("loopback on master", "master", "127.0.0.1", 9000, "tcp", ALL, seen_as="127.0.0.1", families=V4),
    Check("loopback on master", "master", "::1", 9000, "tcp", UNTIL_MASTERS, seen_as="::1", families=V6),
    Check("loopback on a worker", "node1", "127.0.0.1", 10250, "tcp", ALL, seen_as="127.0.0.1", families=V4),
    Check("loopback on a worker", "node1", "::1", 10250, "tcp", UNTIL_WORKERS, seen_as="::1", families=V6),
    # A program of master's that no policy mentions.
    Check("port 9000 from outside", "external", "master", 9000, "tcp", UNTIL_MASTERS),
    Check("port 9000 from a worker", "node1", "master", 9000, "tcp", UNTIL_MASTERS),
    Check("port 9000 from a pod", "node1-pod", "master", 9000, "tcp", UNTIL_MASTERS, seen_as="node1"),
    Check("port 9000 from the node's own pod", "master-pod", "master", 9000, "tcp", UNTIL_MASTERS),
    Check("port 9000 by the node's own address", "master", "master", 9000, "tcp", UNTIL_MASTERS),
    Check("ping to master from outside", "external", "master", 0, "icmp", UNTIL_MASTERS),
    Check("ping to a worker from outside", "external", "node2", 0, "icmp", UNTIL_WORKERS),
    # What the nodes' own traffic and their pods' must never notice.
    Check("node to world", "node1", "external", 8080, "tcp", ALL),
    Check("node pings world", "master", "external", 0, "icmp", ALL),
    Check("pod to pod", "node1-pod", "node2-pod", 8080, "tcp", ALL),
    Check("pod to pod", "node1-pod", "node2-pod", 8081, "udp", ALL),
    Check("pod to pod", "node1-pod", "node2-pod", 0, "icmp", ALL),
    Check("pod of master to pod of a worker", "master-pod", "node1-pod", 8080, "tcp", ALL),
    Check("pod to world, masqueraded", "node1-pod", "external", 8080, "tcp", ALL, seen_as="node1"),
    Check("pod to world, masqueraded", "node1-pod", "external", 8081, "udp", ALL, seen_as="node1"),
    Check("pod pings world, masqueraded", "node1-pod", "external", 0, "icmp", ALL),
    Check(
        "pod of master to world, masqueraded", "master-pod", "external", 8080, "tcp", ALL, seen_as="master"
    ),
    Check("world to pod", "external", "node2-pod", 8080, "tcp", ALL),
    Check("node to its own pod", "node1", "node1-pod", 8080, "tcp", ALL),
    Check("node to another node's pod", "master", "node1-pod", 8080, "tcp", ALL),
    # The web server of the story.
    web("web from outside", "external", WEB_GLOBAL),
    web("web from a worker", "node1", WEB_CLUSTER),
    web("web from a pod, seen as its node", "node2-pod", WEB_CLUSTER),
    web("web from the node's own pod", "master-pod", WEB_GLOBAL),
    web("web by the node's own address", "master", WEB_CLUSTER),
    Check("web by loopback", "master", "127.0.0.1", 8888, "web", ALL, families=V4, made=WEB_RUNS),
    Check("web by loopback", "master", "::1", 8888, "web", WEB_GLOBAL, families=V6, made=WEB_RUNS),
)

# Opened while everything was still allowed, and to be alive at the end: source, target, port.
LASTING = (
    ("external", "master", 9000),
    ("node1", "master", 9000),
    ("node1-pod", "master", 9000),
    ("node1-pod", "external", 8080),
    ("external", "node2-pod", 8080),
)
