"""The lab as one thing: up, down, and what one does in between."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pyagent.errors import DatastoreError
from tests.lab.cluster import Cluster, ClusterError
from tests.lab.network import Network
from tests.lab.probe import Connection, Outcome, attempt
from tests.lab.processes import Processes
from tests.lab.topology import MACHINES, NODES

RUN = Path("/run/autohep-lab")
PINS = Path("/sys/fs/bpf/autohep")
HEPCTL = Path(sys.executable).parent / "hepctl"
HERE = Path(__file__).parent
PROJECT = HERE.parent.parent
NODE_MANIFESTS = PROJECT / "examples" / "seed" / "nodes.yaml"
#: Seconds that anything in the lab may take to get ready or to take effect.
PATIENCE = 60.0
#: Seconds after which an unanswered attempt counts as denied; answers take less than a millisecond here.
DENIED_AFTER = 1.0
CONTROLLER = "controller"
SERVICES = "services"
API_SERVER = "api-server"
PROXY = "proxy"


class LabError(Exception):
    """Something in the lab did not happen; carries the end of the log that tells why."""


def agent_name(node: str) -> str:
    """The process name of a node's agent."""
    return f"agent-{node}"


class Lab:
    """One lab. ``name`` prefixes namespaces and instances, so that several can be up at the same time.

    ``in_cluster``: resources are in the API server that ``kubeconfig`` names, or in the stand-in.
    """

    def __init__(
        self, name: str = "hep", *, in_cluster: bool = False, kubeconfig: Path | None = None
    ) -> None:
        self.name = name
        self.directory = RUN / name
        self.network = Network(name)
        self.processes = Processes(self.directory / "run")
        self.datastore = self.agents_datastore = f"dir://{self.directory}/datastore"
        self.in_cluster = in_cluster
        self._kubeconfig = kubeconfig
        self._cluster: Cluster | None = None

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.down()

    # Up and down

    def up(self, *, control_plane: bool = True) -> None:
        """Machines and services; with ``control_plane`` also datastore, controller and agents, all ready."""
        if self.network.exists() or self.directory.exists():
            self.down()
        try:
            self.network.up()
            self._start_services()
            if self.in_cluster:
                self._join_cluster()
            if control_plane:
                self._start_control_plane()
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """Remove everything, also what is left of an attempt that failed, by whichever process."""
        self.processes.stop(CONTROLLER)
        for node in NODES:
            self.processes.stop(agent_name(node.name))
        if self._cluster is not None:
            cluster, self._cluster = self._cluster, None
            cluster.clean()
        self.processes.stop_all()
        for pid in self.network.processes():
            os.kill(pid, signal.SIGKILL)
        self.network.down()
        for node in NODES:
            shutil.rmtree(PINS / self.instance(node.name), ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)
        for shared in (RUN, PINS):
            with suppress(OSError):  # not there, or another lab's or agent's are in it
                shared.rmdir()

    def instance(self, node: str) -> str:
        """The agent's instance on a node: names its pins."""
        return f"{self.name}-{node}"

    def state_directory(self, node: str) -> Path:
        """Where a node's agent keeps its state and its status.json."""
        return self.directory / "state" / node

    def _start_services(self) -> None:
        self.processes.start(
            SERVICES, [sys.executable, "-m", "tests.lab.services", self.name], self._environment()
        )
        self.wait(lambda: "ready" in self.processes.log(SERVICES), "the services listen", SERVICES)

    def _join_cluster(self) -> None:
        kubeconfig = self._kubeconfig
        if kubeconfig is None:
            command = [sys.executable, "-m", "tests.lab.standin", str(self.directory)]
            self.processes.start(API_SERVER, command, self._environment())
            self.wait(lambda: "ready" in self.processes.log(API_SERVER), "the API server serves", API_SERVER)
            kubeconfig = self.directory / "kubeconfig"
        cluster = self._cluster = Cluster(kubeconfig)
        try:
            cluster.prepare()
        except (ClusterError, DatastoreError) as error:
            raise LabError(f"{kubeconfig}: {error}") from error
        host, port = cluster.address()
        command = [sys.executable, "-m", "tests.lab.proxy", self.name, host, str(port)]
        self.processes.start(PROXY, command, self._environment())
        self.wait(lambda: "ready" in self.processes.log(PROXY), "the nodes reach the API server", PROXY)
        self.datastore = cluster.url
        self.agents_datastore = cluster.as_seen_by_nodes(self.directory / "kubeconfig-of-nodes")

    def _start_control_plane(self) -> None:
        self.hepctl("apply", "-f", str(NODE_MANIFESTS))
        self.processes.start(CONTROLLER, [str(HEPCTL), "controller", "--datastore", self.datastore])
        for node in NODES:
            self.start_agent(node.name)
        for node in NODES:
            self.wait_for_agent(node.name)
        configuration = ["get", "kubecontrollersconfiguration", "default", "-o", "json"]
        self.wait(lambda: self._hepctl(configuration).returncode == 0, "the controller reports", CONTROLLER)

    def start_agent(self, node: str) -> None:
        """Start a node's agent; it is not ready yet."""
        state = self.state_directory(node)
        state.mkdir(parents=True, exist_ok=True)
        command = [str(HEPCTL), "agent", "--node", node, "--datastore", self.agents_datastore]
        command += ["--instance", self.instance(node), "--state-dir", str(state)]
        self.processes.start(agent_name(node), self.network.inside(node, command))

    def wait_for_agent(self, node: str) -> None:
        """Until this run of a node's agent says it is ready."""
        name = agent_name(node)

        def ready() -> bool:
            status = self.status(node)
            return bool(status.get("ready")) and status.get("pid") == self.processes.pid(name)

        self.wait(ready, f"the agent of {node} is ready", name)

    # What one does in it

    def exec(
        self, machine: str, argv: Iterable[str], patience: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a machine's namespace."""
        return subprocess.run(
            self.network.inside(machine, argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=patience,
        )

    def hepctl(self, *arguments: str, stdin: str = "") -> str:
        """Run hepctl on the lab's datastore; its standard output. LabError if it fails."""
        done = self._hepctl(list(arguments), stdin)
        if done.returncode != 0:
            raise LabError(f"hepctl {' '.join(arguments)}: exit {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def _hepctl(self, arguments: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [str(HEPCTL), *arguments]
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=self._environment(),
            timeout=30,
        )

    def _environment(self) -> dict[str, str]:
        """For processes of the lab: its datastore, this checkout, and hepctl within reach."""
        path = f"{HEPCTL.parent}:{os.environ.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}"
        return {**os.environ, "HEPCTL_DATASTORE": self.datastore, "PATH": path, "PYTHONPATH": str(PROJECT)}

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a line as somebody at the keyboard would, standard error in its place among the output."""
        return subprocess.run(
            ["bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd=PROJECT,
            env=self._environment(),
            timeout=60,
        )

    def address(self, target: str, family: int) -> str:
        """A machine's address of a family; an address stays what it is."""
        return MACHINES[target].address(family) if target in MACHINES else target

    async def try_connect(
        self,
        source: str,
        target: str,
        port: int,
        protocol: str = "tcp",
        *,
        family: int = 4,
        patience: float = DENIED_AFTER,
    ) -> Outcome:
        """An attempt from a machine to a machine (or an address), among others at the same time."""
        return await attempt(
            self.network.path(source), self.address(target, family), port, protocol, patience
        )

    def connect(
        self,
        source: str,
        target: str,
        port: int,
        protocol: str = "tcp",
        *,
        family: int = 4,
        patience: float = DENIED_AFTER,
    ) -> Outcome:
        """One attempt from a machine to a machine (or an address)."""
        return asyncio.run(self.try_connect(source, target, port, protocol, family=family, patience=patience))

    def open_connection(self, source: str, target: str, port: int, family: int = 4) -> Connection:
        """A TCP connection to keep; OSError if it cannot be opened."""
        return Connection(self.network.path(source), self.address(target, family), port)

    # When it has taken effect

    def status(self, node: str) -> dict[str, Any]:
        """What a node's agent last said of itself; empty before it has."""
        try:
            status: dict[str, Any] = json.loads((self.state_directory(node) / "status.json").read_text())
        except FileNotFoundError:
            return {}
        return status

    def wait(self, condition: Callable[[], bool], what: str, process: str = "") -> None:
        """Until ``condition`` holds; LabError when it does not, or when ``process`` has ended meanwhile."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            ended = process and self.processes.pid(process) is None
            if ended or time.monotonic() > deadline:
                reason = f"{process} has ended" if ended else f"not within {PATIENCE:.0f} s"
                log = self.processes.log(process) if process else ""
                raise LabError(f"waited until {what}: {reason}\n{log}".rstrip())
            time.sleep(0.02)
