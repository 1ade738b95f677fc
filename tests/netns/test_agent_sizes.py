"""An agent that starts with other map sizes: flows go on in the new tables, and policy is never away."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pyagent.attach.uninstall import uninstall
from pyagent.bpf.maps import Map
from pyagent.bpf.pins import Pins
from pyagent.datastore import open_datastore
from pyagent.model import HostEndpoint
from pyagent.model.status import PROTECTED, HostEndpointStatus, Truth
from tests.lab.lab import HEPCTL
from tests.lab.namespace import open_socket
from tests.netns.guarded import NODE, Guarded, endpoint, guarded, policy
from tests.netns.two_hosts import run

PORT, PATIENCE = 5311, 60.0
ONE_WAY = policy(egress=[{"action": "Allow"}], types=["Ingress", "Egress"])


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("state")) as made:
        yield made


@contextmanager
def agent(
    host: Guarded, folder: Path, instance: str, *options: str
) -> Iterator[Callable[[], dict[str, Any]]]:
    """A process on the guarded host; yields a look at its status."""
    process = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{host.hosts.node}", str(HEPCTL), "agent", "--node", "guarded",
         "--datastore", str(folder / "store"), "--instance", instance, "--state-dir", str(folder / "state"),
         *options],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def status() -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((folder / "state" / "status.json").read_text())
        except FileNotFoundError:
            return {}
        return found if found["pid"] == process.pid else {}

    try:
        yield status
    finally:
        process.terminate()
        _, log = process.communicate(timeout=20)
        print(log)


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def sizes(pins: Pins) -> tuple[int, int]:
    with Map.open(pins.map("flows4")) as flows, Map.open(pins.map("images")) as images:
        return flows.info.max_entries, images.info.value_size


def test_flows_survive_other_map_sizes_and_the_datastore_hears_that_the_node_is_protected(
    host: Guarded, tmp_path: Path
) -> None:
    instance = f"sizes{os.getpid()}"
    pins = Pins(instance)
    store = open_datastore(str(tmp_path / "store"))
    for resource in (endpoint(), ONE_WAY):
        store.create(resource)
    # UDP: no socket of the kernel's speaks for it, only the flow does.
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    there = open_socket(host.peer, socket.AF_INET, socket.SOCK_DGRAM)
    with here, there:
        for each in (here, there):
            each.settimeout(2)
        here.bind((NODE[4], PORT))
        there.bind(("0.0.0.0", PORT))
        peer = run("ip", "-n", host.hosts.peer, "-4", "-o", "address", "show", "dev", "wire").split()[3]
        try:
            with agent(host, tmp_path, instance, "--flows-max", "4096") as status:
                until(lambda: status().get("ready"))
                assert sizes(pins) == (4096, 8 << 20)
                here.sendto(b"begin", (peer.partition("/")[0], PORT))
                assert there.recvfrom(100)[0] == b"begin"
                until(lambda: protected(store))
            options = ("--flows-max", "8192", "--image-bytes", str(2 << 20))
            with agent(host, tmp_path, instance, *options) as status:
                until(lambda: status().get("ready") and status()["protected"])
                assert sizes(pins) == (8192, 2 << 20)
                assert pins.other_versions() == []
                there.sendto(b"go on", (NODE[4], PORT))
                assert here.recvfrom(100)[0] == b"go on"
                # The control: what is no reply is denied.
                with open_socket(host.peer, socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                    stranger.sendto(b"let me in", (NODE[4], PORT))
                    here.settimeout(0.3)
                    with pytest.raises(TimeoutError):
                        here.recvfrom(100)
                # Nor does a policy that denies everything keep the node's own probes away.
                with urllib.request.urlopen("http://127.0.0.1:9472/readyz", timeout=5) as answer:
                    assert answer.read() == b"ok\n"
        finally:
            uninstall(pins)


def protected(store: Any) -> bool:
    found = store.get("HostEndpoint", "wire")
    assert isinstance(found, HostEndpoint)
    condition = HostEndpointStatus.read(found.status).condition(PROTECTED)
    return condition is not None and condition.status is Truth.TRUE
