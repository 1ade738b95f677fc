"""The death of an agent changes nothing for packets; its return loses none."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

import pytest

from tests.lab import Lab
from tests.lab.convergence import settle
from tests.lab.lab import PROJECT, agent_name
from tests.lab.probe import Connection

ENABLE = '{"spec": {"controllers": {"node": {"hostEndpoint": {"autoCreate": "Enabled"}}}}}'
NODE = "master"


@dataclass
class Traffic:
    """An open connection kept busy and a denied port knocked at, from a thread, until stopped."""

    lab: Lab
    connection: Connection
    answered: int = 0
    slowest: float = 0.0
    lost: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    knocks: int = 0

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._talk), threading.Thread(target=self._knock)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _talk(self) -> None:
        while not self._stop.is_set():
            outcome = self.connection.ask()
            if not outcome.reached:
                self.lost.append(str(outcome))
                return
            self.answered += 1
            self.slowest = max(self.slowest, outcome.seconds)
            time.sleep(0.001)

    def _knock(self) -> None:
        while not self._stop.is_set():
            outcome = self.lab.connect("external", NODE, 9000, patience=0.02)
            self.knocks += 1
            if outcome.how != "timeout":
                self.leaked.append(str(outcome))


@pytest.fixture(scope="module")
def locked(whole_lab: Lab) -> Iterator[tuple[Lab, Connection]]:
    """Nodes locked down by the seed's policy, and a connection opened before that."""
    connection = whole_lab.open_connection("external", NODE, 9000)
    whole_lab.hepctl("patch", "kubecontrollersconfiguration", "default", f"--patch={ENABLE}")
    whole_lab.hepctl("label", "nodes", NODE, "node-role.kubernetes.io/master=")
    whole_lab.hepctl("apply", "-f", str(PROJECT / "examples/seed/ingress-k8s-masters.yaml"))
    settle(whole_lab)
    yield whole_lab, connection
    connection.close()


def assert_enforced(lab: Lab) -> None:
    """Denied is denied, and what differs only in its port or source is allowed."""
    assert lab.connect("external", NODE, 9000).how == "timeout"
    assert lab.connect("external", NODE, 9000, family=6).how == "timeout"
    assert lab.connect("external", NODE, 22).reached
    assert lab.connect("external", NODE, 6443, family=6).reached
    assert lab.connect("external", "node1", 10250).reached
    assert lab.connect(f"{NODE}-pod", "external", 8080).peer == "192.168.2.10"


def test_kill_9_leaves_enforcement_on_and_the_return_loses_no_packet(locked: tuple[Lab, Connection]) -> None:
    lab, connection = locked
    assert_enforced(lab)
    with Traffic(lab, connection) as traffic:
        lab.processes.kill(agent_name(NODE))
        assert lab.processes.pid(agent_name(NODE)) is None
        assert_enforced(lab)
        lab.start_agent(NODE)
        lab.wait_for_agent(NODE)
        settle(lab)
        assert_enforced(lab)
    assert traffic.lost == []
    assert traffic.leaked == []
    assert traffic.answered > 100
    assert traffic.knocks > 10
    assert connection.retransmissions() == 0
    assert traffic.slowest < 0.2, "an answer took as long as a retransmission"


def test_a_change_made_while_the_agent_is_dead_takes_effect_with_its_return(
    locked: tuple[Lab, Connection],
) -> None:
    lab, connection = locked
    lab.processes.kill(agent_name(NODE))
    lab.hepctl("delete", "gnp", "ingress-k8s-masters")
    assert lab.connect("external", NODE, 9000).how == "timeout", "nobody was there to open it"
    lab.start_agent(NODE)
    lab.wait_for_agent(NODE)
    settle(lab)
    assert lab.connect("external", NODE, 9000).reached
    assert connection.ask().reached


def test_a_stopped_agent_leaves_enforcement_on_too(locked: tuple[Lab, Connection]) -> None:
    lab, _connection = locked
    lab.hepctl("apply", "-f", str(PROJECT / "examples/seed/ingress-k8s-masters.yaml"))
    settle(lab)
    assert_enforced(lab)
    lab.processes.stop(agent_name(NODE))
    assert_enforced(lab)
    lab.start_agent(NODE)
    lab.wait_for_agent(NODE)
    settle(lab)
    assert_enforced(lab)
