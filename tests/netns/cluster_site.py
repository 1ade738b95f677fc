"""A site whose agent takes its policies from an API server: the stand-in, a process in its own namespace.

Node and server are joined by a link of their own, so that the server can be cut off without touching the
interface that is enforced.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.lab.lab import HEPCTL
from tests.netns.site import NODE, Probe, Site, endpoint, place_set, policy, rule, run, to_port
from tests.support.apiserver.process import AGENT, PROJECT, Process, path

ADDRESS, PORT = "198.18.0.2", 8001
#: Ports of the node: one that is allowed at first, and one that the changed policy allows instead.
FIRST, SECOND = 8055, 8056
#: Seconds within which everything is as it should be again, on a busy machine.
CONVERGED_WITHIN: Final = 40.0
#: How much shorter the agent's pauses are: half a second at most, so that faults can follow each other.
HURRY: Final = 60

FIRST_OPEN = Probe("peer", "node", FIRST, families=(4,))
SECOND_OPEN = Probe("peer", "node", SECOND, families=(4,))


def web(port: int, **spec: Any) -> dict[str, Any]:
    """The policy: the peer may come to ``port``, and nobody anywhere else."""
    return policy(
        "web", order=10, types=["Ingress"], ingress=[rule("Allow", "peer", **to_port(port))], **spec
    )


class ClusterSite(Site):
    """Use it as made by :func:`cluster_site`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        prefix = ("nsenter", f"--net={self.path('api')}", "--")
        self.server = Process(self.directory, ADDRESS, PORT, prefix)
        self.hurry = HURRY

    def up(self, *agent_options: str) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        run("ip", "netns", "add", self.namespace("api"))
        super().up(*agent_options)
        self.allow(FIRST)
        self.until_open(FIRST, SECOND)

    def down(self) -> None:
        self.server.kill()
        super().down()
        if self.path("api").exists():
            run("ip", "netns", "delete", self.namespace("api"))

    def _join(self) -> None:
        super()._join()
        self.batch(
            "node",
            f"link add api0 type veth peer name eth0 netns {self.namespace('api')}",
            "address add 198.18.0.1/24 dev api0",
            "link set api0 up",
        )
        self.batch("api", "link set lo up", f"address add {ADDRESS}/24 dev eth0", "link set eth0 up")
        self.server.start()
        for one in (endpoint("eth0"), place_set("peer")):
            self.server.put(one)

    def start_agent(self, *options: str, ready: bool = True) -> None:
        """Start the agent, in a hurry; see tests.support.hurried."""
        config = self.server.kubeconfig(self.directory / "agent.kubeconfig", AGENT)
        command = [sys.executable, "-m", "tests.support.hurried", str(self.hurry)]
        command += ["agent", "--node", NODE, "--datastore", f"kubernetes:///?kubeconfig={config}"]
        command += ["--instance", self.name, "--state-dir", str(self.directory / "state")]
        where = {"PYTHONPATH": str(PROJECT), "NO_PROXY": "*"}
        self.processes.start(
            "agent", ["nsenter", f"--net={self.path('node')}", "--", *command, *options], where
        )
        if ready:
            self.wait(lambda status: status.get("pid") == self.processes.pid("agent") and status["ready"])

    def start_controller(self, name: str) -> None:
        """Start a controller beside the server."""
        config = self.server.kubeconfig(self.directory / "controller.kubeconfig")
        command = [str(HEPCTL), "controller", "--datastore", f"kubernetes:///?kubeconfig={config}"]
        command += ["--metrics-address", "off"]
        self.processes.start(
            name, ["nsenter", f"--net={self.path('api')}", "--", *command], {"NO_PROXY": "*"}
        )

    def begin_anew(self) -> None:
        """Everything runs, is joined, and says and stores what it did at first."""
        for name in ("controller-a", "controller-b"):
            self.processes.stop(name)
        self.cut_off(away=False)
        self.server.ensure()
        self.server.order("clear")
        kept = [endpoint("eth0"), place_set("peer"), web(FIRST)]
        self.server.order("only", paths=[path(each) for each in kept])
        for one in kept:
            self.server.put(one)
        if self.processes.pid("agent") is None:
            self.start_agent()

    def allow(self, port: int, **spec: Any) -> None:
        """Change the policy, without waiting for anything."""
        self.server.put(web(port, **spec))

    def assert_open(self, port: int, other: int) -> None:
        """The peer comes to ``port`` and not to ``other``."""
        self.expect(allowed=[self._probe(port)], denied=[self._probe(other)])

    def until_open(self, port: int, other: int) -> None:
        """Wait until that is so, and then make sure."""
        end = time.monotonic() + CONVERGED_WITHIN
        while not self._is_open(port, other) and time.monotonic() < end:
            assert self.processes.pid("agent") is not None, self.processes.log("agent")
        try:
            self.assert_open(port, other)
        except AssertionError as error:
            raise AssertionError(
                f"{error}\n{self.status()}\n{self.processes.log('agent', lines=40)}"
            ) from error

    def cut_off(self, *, away: bool) -> None:
        """Part node and server without a word to either, or join them again."""
        self.batch("api", f"link set eth0 {'down' if away else 'up'}")

    def _is_open(self, port: int, other: int) -> bool:
        """Whether it looks as if ``port`` were open and ``other`` were not."""
        opened = self.attempt(self._probe(port), 4).answered(0.2)
        return opened and not self.attempt(self._probe(other), 4).answered(0.1)

    def _probe(self, port: int) -> Probe:
        return Probe("peer", "node", port, families=(4,))


@contextmanager
def cluster_site(name: str, *agent_options: str, hurry: int = HURRY) -> Iterator[ClusterSite]:
    """A site that is up and enforces :func:`web`; nothing is left behind."""
    made = ClusterSite(f"{name}{os.getpid()}")
    made.hurry = hurry
    try:
        made.up(*agent_options)
        yield made
    finally:
        made.down()
