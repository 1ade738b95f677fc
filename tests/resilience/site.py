"""A node under a real agent with its datastore, and its neighbour: where faults are made."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pyagent import abi, manifest
from pyagent.agent.mirror import KINDS, digest
from pyagent.attach.uninstall import uninstall
from pyagent.bpf.maps import Map
from pyagent.bpf.pins import BPFFS, Pins
from pyagent.datastore import Datastore, open_datastore
from pyagent.model import Resource
from tests.lab.lab import HEPCTL
from tests.lab.processes import Processes
from tests.netns.two_hosts import TwoHosts, two_hosts
from tests.resilience.load import ALLOWED, FLOODED, Connections

AGENT: Final = "agent"
MOUNTS: Final = "mounts"
NODE: Final = "resilient"
PATIENCE: Final = 60.0
CONNECTIONS: Final = 100


def resource(kind: str, name: str, spec: dict[str, Any]) -> Resource:
    """Make a resource of the usual API version."""
    metadata = {"name": name}
    return manifest.decode(
        {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}
    )


def allow(port: int, *nets: str) -> dict[str, Any]:
    """A rule that allows UDP to a port, of all sources or of some."""
    rule: dict[str, Any] = {"action": "Allow", "protocol": "UDP", "destination": {"ports": [port]}}
    return {**rule, "source": {"nets": list(nets)}} if nets else rule


def policy(fillers: int, *more: dict[str, Any]) -> Resource:
    """What policy allows, the same for any number of rules about other ports; ``more`` rules come last."""
    filler = [allow(10_000 + number, f"10.{number % 256}.0.0/16") for number in range(fillers)]
    flooded = {"action": "Allow", "protocol": "TCP", "destination": {"ports": [FLOODED]}}
    rules = [*filler, allow(ALLOWED), flooded, *more]
    return resource(
        "GlobalNetworkPolicy",
        "policy",
        {"selector": "all()", "types": ["Ingress", "Egress"], "ingress": rules, "egress": rules},
    )


ENDPOINT: Final = resource("HostEndpoint", "wire", {"node": NODE, "interfaceName": "wire"})


class Site:
    """The node and everything that can break; this thread is in the node's namespace."""

    def __init__(
        self, hosts: TwoHosts, directory: Path, connections: int = CONNECTIONS, idle: int = 0
    ) -> None:
        self.hosts = hosts
        self.peer = Path("/run/netns") / hosts.peer
        self.datastore_directory = directory / "datastore"
        self.state = directory / "state"
        self.processes = Processes(directory / "run")
        self.connections = Connections(self.peer, connections, idle)
        # Mounts of the node's own, among them its bpffs: what is unmounted here nobody else misses.
        self._unshare()
        self.root = Path(f"/proc/{self.processes.pid(MOUNTS)}/root")
        self.pins = Pins(f"resilience{os.getpid()}", self.root / "sys/fs/bpf/autohep")
        #: Where the agent's code is, if not here; and what else it finds in its environment.
        self.environment: dict[str, str] = {}

    def _unshare(self) -> None:
        ready = self.processes.directory / "mounted"
        uncover = f"while umount --lazy {BPFFS} 2>/dev/null; do :; done"  # the machine's, out of this view
        script = f"{uncover}; mount -t bpf bpf {BPFFS} && touch {ready} && exec sleep infinity"
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
        self.processes.start(MOUNTS, command)
        deadline = time.monotonic() + PATIENCE
        while not ready.exists():
            if time.monotonic() > deadline:
                raise RuntimeError(self.processes.log(MOUNTS))
            time.sleep(0.01)

    def inside(self, *command: str) -> list[str]:
        """How a command is run on the node, with its network and its mounts."""
        holder = self.processes.pid(MOUNTS)
        return [
            "nsenter",
            f"--net=/run/netns/{self.hosts.node}",
            f"--mount=/proc/{holder}/ns/mnt",
            "--",
            *command,
        ]

    @property
    def datastore(self) -> Datastore:
        """The node's datastore."""
        return open_datastore(str(self.datastore_directory))

    # ---- the agent

    def command(self, state: Path | None = None) -> list[str]:
        """How the agent is started; ``state``: with another state directory."""
        return self.inside(
            str(HEPCTL), "agent", "--node", NODE,
            "--datastore", str(self.datastore_directory), "--instance", self.pins.instance,
            "--state-dir", str(state or self.state), "--restore-after", "0.2",
        )  # fmt: skip

    def start(self) -> None:
        """Start the agent; it is not ready yet."""
        self.processes.start(AGENT, self.command(), self.environment)

    def start_and_wait(self) -> None:
        """Start the agent and wait until it enforces what is stored."""
        self.start()
        self.settle()

    def start_and_wait_anew(self) -> None:
        """Stop the agent and start it as it is started usually."""
        self.processes.stop(AGENT)
        self.start_and_wait()

    def settle(self) -> None:
        """Until the agent enforces what is stored now."""
        stored = digest(each for kind in KINDS for each in self.datastore.list(kind)[0])
        self.wait(lambda status: status.get("ready", False) and status["observed"] == stored)

    def status(self) -> dict[str, Any]:
        """What the agent that runs now last said of itself; empty: nothing yet."""
        try:
            found: dict[str, Any] = json.loads((self.state / "status.json").read_text())
        except FileNotFoundError:
            return {}
        return found if found["pid"] == self.processes.pid(AGENT) else {}

    def wait(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Until the agent's status is as wanted; RuntimeError if it does not become so."""
        deadline = time.monotonic() + PATIENCE
        while not condition(self.status()):
            if time.monotonic() > deadline or self.processes.pid(AGENT) is None:
                raise RuntimeError(f"{self.status()}\n{self.processes.log(AGENT)}")
            time.sleep(0.01)

    # ---- what can break

    def empty_flows(self) -> int:
        """Forget every flow; returns how many there were."""
        count = 0
        for name in ("flows4", "flows6"):
            with Map.open(self.pins.map(name)) as table:
                count += table.clear()
        return count

    def generation(self) -> int:
        """The generation in force, as the kernel has it."""
        with Map.open(self.pins.map("control")) as cell:
            value = cell.get(bytes(4))
        return int(abi.CONTROL.unpack(value)[0]) if value else 0

    def close(self) -> None:
        """Leave nothing."""
        self.connections.close()
        self.processes.stop(AGENT)
        uninstall(self.pins)
        self.processes.stop_all()


@contextmanager
def site(*resources: Resource, connections: int = CONNECTIONS, idle: int = 0) -> Iterator[Site]:
    """Make the node, its connections, and then its agent; everything is enforced when this yields.

    ``resources``: what is to be enforced instead of default deny on the wire and :func:`policy`.
    """
    directory = Path(tempfile.mkdtemp(prefix="autohep-resilience-"))
    try:
        with two_hosts() as hosts:
            made = Site(hosts, directory, connections, idle)
            try:
                for each in resources or (ENDPOINT, policy(0)):
                    made.datastore.create(each)
                made.start_and_wait()
                yield made
            finally:
                made.close()
    finally:
        shutil.rmtree(directory)


def run(*command: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, check=True, capture_output=True)
