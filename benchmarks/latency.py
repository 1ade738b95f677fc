"""How long a change of policy takes: from the file's replacement to the first packet judged by it.

A real agent on an embedded datastore. Each change allows another port, which nothing has been sent to before;
a neighbour sends datagrams there all the time, each from a fresh port, and the first that arrives tells.
"""

from __future__ import annotations

import os
import select
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from pyagent import manifest
from pyagent.attach.uninstall import uninstall
from pyagent.bpf.pins import Pins
from pyagent.compiler.saved import METADATA
from pyagent.datastore import open_datastore
from tests.lab.lab import HEPCTL
from tests.lab.namespace import open_socket
from tests.netns.two_hosts import NODE_ADDRESS, TwoHosts, two_hosts

NODE: Final = "bench"
FIRST_PORT: Final = 20000
PATIENCE_S: Final = 30.0


def resource(kind: str, name: str, labels: dict[str, str] | None = None, **spec: Any) -> Any:
    """A resource as somebody writes it."""
    metadata = {"name": name, **({"labels": labels} if labels else {})}
    return manifest.decode(
        {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}
    )


def policy(port: int) -> Any:
    """The policy that changes: one port of UDP."""
    return resource(
        "GlobalNetworkPolicy",
        "changing",
        selector="all()",
        order=1,
        ingress=[{"action": "Allow", "protocol": "UDP", "destination": {"ports": [port]}}],
        egress=[{"action": "Allow"}],
    )


def others(count: int) -> Iterator[Any]:
    """Policies that are there besides."""
    for number in range(count):
        yield resource(
            "GlobalNetworkPolicy",
            f"other{number}",
            selector="all()",
            order=100 + number,
            ingress=[
                {
                    "action": "Allow",
                    "protocol": "TCP",
                    "source": {"nets": [f"10.{number >> 8}.{number & 255}.0/24"]},
                    "destination": {"ports": [1000 + number % 100]},
                }
            ],
        )


@contextmanager
def agent(namespace: str, datastore: Path, state: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real agent in a namespace; what it attached is gone afterwards."""
    instance = f"bench{os.getpid()}"
    words = ["nsenter", f"--net=/run/netns/{namespace}", str(HEPCTL), "--log-level", "error", "agent"]
    words += ["--node", NODE, "--datastore", str(datastore), "--instance", instance]
    process = subprocess.Popen([*words, "--state-dir", str(state), "--metrics-address", "off"])
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=20)
        uninstall(Pins(instance))


class _Prober:
    """Sends to one port after the other, all the time, and waits at the other end. A context manager."""

    def __init__(self, hosts: TwoHosts) -> None:
        self._peer = Path("/run/netns") / hosts.peer
        self._node = Path("/run/netns") / hosts.node
        self._port = 0
        self._over = threading.Event()
        self._sender = threading.Thread(target=self._send)

    def __enter__(self) -> Self:
        self._sender.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._sender.join()

    def arrival(self, port: int, change: Any) -> float:
        """Seconds from the beginning of ``change()`` to the first datagram at ``port``."""
        with open_socket(self._node, socket.AF_INET, socket.SOCK_DGRAM) as sink:
            sink.bind((NODE_ADDRESS, port))
            self._port = port
            begun = time.monotonic()
            change()
            arrived, _, _ = select.select([sink], [], [], PATIENCE_S)
            assert arrived, f"nothing arrived at port {port}"
            return time.monotonic() - begun

    def _send(self) -> None:
        number = 0
        raw = [open_socket(self._peer, socket.AF_INET, socket.SOCK_DGRAM) for _ in range(64)]
        while not self._over.is_set():
            if self._port:
                # The destination is new with each change, and so is the flow.
                raw[number % len(raw)].sendto(b"probe", (NODE_ADDRESS, self._port))
                number += 1
            time.sleep(0.0005)
        for each in raw:
            each.close()


def measure(changes: int, policies: int) -> dict[str, Any]:
    """Latencies of so many changes, in milliseconds, with so many other policies."""
    with tempfile.TemporaryDirectory() as folder, two_hosts() as hosts:
        store = open_datastore(f"{folder}/datastore")
        store.create(resource("HostEndpoint", NODE, node=NODE, interfaceName="wire"))
        for each in (policy(FIRST_PORT), *others(policies)):
            store.create(each)
        with agent(hosts.node, Path(folder) / "datastore", Path(folder) / "state"), _Prober(hosts) as prober:
            _enforcing(Path(folder) / "state")
            found = []
            for number in range(1, changes + 1):
                changed = policy(FIRST_PORT + number)
                found.append(
                    1e3 * prober.arrival(FIRST_PORT + number, lambda each=changed: store.update(each))
                )
                time.sleep(0.1)
    found.sort()
    return {
        "changes": changes,
        "policies": policies,
        "p50_ms": round(statistics.median(found), 1),
        "p99_ms": round(found[min(len(found) - 1, int(0.99 * len(found)))], 1),
        "max_ms": round(found[-1], 1),
    }


def _enforcing(state: Path) -> None:
    """Wait until the first policy is in force: from then on an arrival means the change."""
    deadline = time.monotonic() + PATIENCE_S
    while not (state / METADATA).exists():
        assert time.monotonic() < deadline, "the agent enforces nothing"
        time.sleep(0.05)
    time.sleep(1.0)
