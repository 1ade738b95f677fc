"""Who is where: the lab's machines and addresses. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

POD_NETWORKS = {4: "10.244.0.0/16", 6: "fd00:244::/32"}
POD_INTERFACE = "cali0"  # the host's side of a pod's veth pair, in its node's namespace


@dataclass(frozen=True, slots=True)
class Machine:
    """A network namespace. ``pod_of``: the node whose pod it is; empty for a machine on the bridge."""

    name: str
    ipv4: str
    ipv6: str
    tcp: tuple[int, ...] = ()
    udp: tuple[int, ...] = ()
    pod_of: str = ""

    def address(self, family: int) -> str:
        """Its address of family 4 or 6."""
        return self.ipv4 if family == 4 else self.ipv6


# Ports that answer: SSH, kubelet and DNS on each node; on master also the API server and one of its own.
NODES = (
    Machine("master", "192.168.2.10", "fd00:2::10", tcp=(22, 6443, 9000, 10250), udp=(53,)),
    Machine("node1", "192.168.2.11", "fd00:2::11", tcp=(22, 10250), udp=(53,)),
    Machine("node2", "192.168.2.12", "fd00:2::12", tcp=(22, 10250), udp=(53,)),
)
EXTERNAL = Machine("external", "192.168.2.100", "fd00:2::100", tcp=(8080,), udp=(8081,))


def _pod(number: int, node: Machine) -> Machine:
    ipv6 = str(ip_address(f"fd00:244:{number}::2"))
    return Machine(f"{node.name}-pod", f"10.244.{number}.2", ipv6, tcp=(8080,), udp=(8081,), pod_of=node.name)


PODS = tuple(_pod(number, node) for number, node in enumerate(NODES))
ON_BRIDGE = (*NODES, EXTERNAL)
MACHINES = {machine.name: machine for machine in (*ON_BRIDGE, *PODS)}


def pod_network(pod: Machine, family: int) -> str:
    """The addresses that a pod's node hands out."""
    number = PODS.index(pod)
    return f"10.244.{number}.0/24" if family == 4 else f"fd00:244:{number}::/64"
