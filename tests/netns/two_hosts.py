"""Two hosts joined by a wire, as two network namespaces: what attaching needs and no more."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pyroute2 import netns

NODE_ADDRESS, PEER_ADDRESS = "192.0.2.1", "192.0.2.2"


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class TwoHosts:
    """This thread is in ``node`` while the hosts exist; ``ifindex`` is its end of the wire, ``wire``."""

    node: str
    peer: str
    ifindex: int

    def peer_reaches_node(self, seconds: str = "0.3") -> bool:
        """Send one ping from the peer, wait so long for its answer."""
        ping = ["ip", "netns", "exec", self.peer, "ping", "-c1", "-W", seconds, NODE_ADDRESS]
        return subprocess.run(ping, capture_output=True, check=False).returncode == 0


@contextmanager
def two_hosts() -> Iterator[TwoHosts]:
    """Make both, go into the node's namespace, and leave nothing."""
    node, peer = f"hepnode{os.getpid()}", f"heppeer{os.getpid()}"
    netns.create(node)
    try:
        netns.create(peer)
        run("ip", "-n", node, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", peer)
        for name, address in ((node, NODE_ADDRESS), (peer, PEER_ADDRESS)):
            run("ip", "-n", name, "address", "add", f"{address}/24", "broadcast", "+", "dev", "wire")
            run("ip", "-n", name, "link", "set", "wire", "up")
            run("ip", "-n", name, "link", "set", "lo", "up")
        netns.pushns(node)
        try:
            yield TwoHosts(node, peer, ifindex_of("wire"))
        finally:
            netns.popns()
    finally:
        for name in (node, peer):
            if name in netns.listnetns():
                netns.remove(name)


def ifindex_of(name: str) -> int:
    """Index of an interface here."""
    return int(run("ip", "-o", "link", "show", name).split(":", 1)[0])
