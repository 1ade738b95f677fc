"""Builds the lab's namespaces and what joins them, with iproute2 and nftables. Nothing else is touched.

Every machine on the bridge has ``eth0``. A pod has ``eth0`` too, with a /32 and a /128, and reaches
everything through its node, as Calico lays it out: the node's side (``cali0``) answers ARP for the pod's
gateway, and what leaves for addresses that are not pods takes the node's address.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.lab.topology import (
    EXTERNAL,
    MACHINES,
    NODES,
    ON_BRIDGE,
    POD_INTERFACE,
    POD_NETWORKS,
    PODS,
    Machine,
    pod_network,
)

POD_GATEWAY = "169.254.1.1"
POD_INTERFACE_MAC = "ee:ee:ee:ee:ee:ee"
POD_GATEWAY6 = "fe80::ecee:eeff:feee:eeee"  # what that MAC makes
NETNS = Path("/run/netns")
NAMESPACES = ("bridge", *MACHINES)

# Duplicate address detection would leave addresses unusable for a second or two; nobody else is here.
SYSCTLS_EVERYWHERE = {
    "net.ipv6.conf.all.accept_dad": "0",
    "net.ipv6.conf.default.accept_dad": "0",
    "net.ipv6.conf.all.accept_ra": "0",
    "net.ipv6.conf.default.accept_ra": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}
SYSCTLS_NODE = {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"}
SYSCTLS_POD_INTERFACE = {
    f"net.ipv4.conf.{POD_INTERFACE}.proxy_arp": "1",
    f"net.ipv4.neigh.{POD_INTERFACE}.proxy_delay": "0",
}
SYSCTLS_BRIDGE = {"net.ipv6.conf.all.disable_ipv6": "1", "net.ipv6.conf.default.disable_ipv6": "1"}


class Network:
    """The namespaces of one lab, all named ``<prefix>-<machine>``."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def namespace(self, machine: str) -> str:
        """A machine's namespace as ``ip netns`` knows it."""
        return f"{self.prefix}-{machine}"

    def path(self, machine: str) -> Path:
        """A machine's namespace as a file, for nsenter and setns."""
        return NETNS / self.namespace(machine)

    def up(self) -> None:
        """Make everything; the caller calls down() if this raises."""
        for name in NAMESPACES:
            run(["ip", "netns", "add", self.namespace(name)])
            self._sysctl(name, SYSCTLS_EVERYWHERE)
            self._ip(name, ["link set lo up"])
        self._bridge()
        for machine in ON_BRIDGE:
            self._join_bridge(machine)
        for pod in PODS:
            self._pod(pod)
        for node in NODES:
            self._routes_to_pods(node)
            self._default_route(node)
            self._masquerade(node)
        self._routes_to_pods(EXTERNAL)

    def down(self) -> None:
        """Remove what is there, also what an attempt that failed half-way has left."""
        for name in self._present():
            run(["ip", "netns", "delete", self.namespace(name)])

    def exists(self) -> bool:
        """Whether any namespace of this lab is there."""
        return bool(self._present())

    def processes(self) -> list[int]:
        """Everything that still runs inside the lab's namespaces."""
        listed = (run(["ip", "netns", "pids", self.namespace(name)]) for name in self._present())
        return [int(pid) for output in listed for pid in output.split()]

    def _present(self) -> list[str]:
        return [name for name in NAMESPACES if self.path(name).exists()]

    def _bridge(self) -> None:
        self._sysctl("bridge", SYSCTLS_BRIDGE)
        self._ip("bridge", ["link add br0 type bridge forward_delay 0 mcast_snooping 0", "link set br0 up"])

    def _join_bridge(self, machine: Machine) -> None:
        inside = self.namespace(machine.name)
        self._ip(
            "bridge",
            [
                f"link add to-{machine.name} type veth peer name eth0 netns {inside}",
                f"link set to-{machine.name} master br0",
                f"link set to-{machine.name} up",
            ],
        )
        self._ip(
            machine.name,
            [
                "link set eth0 up",
                f"address add {machine.ipv4}/24 broadcast + dev eth0",
                f"address add {machine.ipv6}/64 dev eth0 nodad",
            ],
        )

    def _pod(self, pod: Machine) -> None:
        node = pod.pod_of
        self._sysctl(node, SYSCTLS_NODE)
        inside = self.namespace(pod.name)
        self._ip(
            node,
            [
                f"link add {POD_INTERFACE} type veth peer name eth0 netns {inside}",
                f"link set {POD_INTERFACE} address {POD_INTERFACE_MAC}",
                f"link set {POD_INTERFACE} up",
                f"route add {pod.ipv4}/32 dev {POD_INTERFACE}",
                f"route add {pod.ipv6}/128 dev {POD_INTERFACE}",
            ],
        )
        self._sysctl(node, SYSCTLS_POD_INTERFACE)
        self._ip(
            pod.name,
            [
                "link set eth0 up",
                f"address add {pod.ipv4}/32 dev eth0",
                f"address add {pod.ipv6}/128 dev eth0 nodad",
                f"route add {POD_GATEWAY} dev eth0 scope link",
                f"route add default via {POD_GATEWAY} dev eth0",
                f"route add default via {POD_GATEWAY6} dev eth0",
            ],
        )

    def _routes_to_pods(self, machine: Machine) -> None:
        nodes = {node.name: node for node in NODES}
        elsewhere = [pod for pod in PODS if pod.pod_of != machine.name]
        self._ip(
            machine.name,
            [f"route add {pod_network(pod, 4)} via {nodes[pod.pod_of].ipv4}" for pod in elsewhere]
            + [f"route add {pod_network(pod, 6)} via {nodes[pod.pod_of].ipv6}" for pod in elsewhere],
        )

    def _default_route(self, node: Machine) -> None:
        """The world is behind ``external``. Proxy ARP answers only for what the node has a route to."""
        self._ip(
            node.name,
            [f"route add default via {EXTERNAL.ipv4}", f"route add default via {EXTERNAL.ipv6}"],
        )

    def _masquerade(self, node: Machine) -> None:
        pods = POD_NETWORKS
        rules = f"""
            table inet lab {{
                chain postrouting {{
                    type nat hook postrouting priority srcnat;
                    oifname "eth0" ip saddr {pods[4]} ip daddr != {pods[4]} masquerade
                    oifname "eth0" ip6 saddr {pods[6]} ip6 daddr != {pods[6]} masquerade
                }}
            }}
        """
        run(self.inside(node.name, ["nft", "-f", "-"]), stdin=rules)

    def inside(self, machine: str, argv: Iterable[str]) -> list[str]:
        """``argv`` run in a machine's namespace. Not by ``ip netns exec``: that hides /sys/fs/bpf."""
        return ["nsenter", f"--net={self.path(machine)}", "--", *argv]

    def _ip(self, machine: str, commands: Iterable[str]) -> None:
        run(["ip", "-netns", self.namespace(machine), "-batch", "-"], stdin="\n".join(commands) + "\n")

    def _sysctl(self, machine: str, values: dict[str, str]) -> None:
        run(self.inside(machine, ["sysctl", "-q", *(f"{name}={value}" for name, value in values.items())]))


def run(argv: list[str], stdin: str = "") -> str:
    """Run a command that must succeed; its standard output. RuntimeError carries what it said."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(argv)}: exit {done.returncode}: {(done.stderr or done.stdout).strip()}"
        )
    return done.stdout
