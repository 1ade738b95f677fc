"""A policy is replaced under load: every packet is judged by the old one or the new one, never by a mixture.

Two policies take turns. What both allow must all arrive, what both deny must never: tables of one with
classes of the other would let some of it through, for the second has many more classes than the first.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from pyagent import manifest
from pyagent.datastore import open_datastore
from tests.lab import EXTERNAL, MACHINES, Lab
from tests.lab.convergence import settle
from tests.lab.namespace import enter, open_socket

NODE1 = MACHINES["node1"]
MASTER = MACHINES["master"]
FROM_EXTERNAL, FROM_NODE1, FROM_ALL = 5001, 5002, 5003
PORTS = (FROM_EXTERNAL, FROM_NODE1, FROM_ALL)
SWAPS = 12
SO_RCVBUFFORCE = 33  # asm-generic/socket.h; Python has no name for it
PAUSE = 0.0003  # seconds between datagrams of one sender: load, but nothing that fills a receive buffer


def allow(port: int, nets: list[str]) -> dict[str, Any]:
    rule: dict[str, Any] = {"action": "Allow", "protocol": "UDP", "destination": {"ports": [port]}}
    return {**rule, "source": {"nets": nets}} if nets else rule


def policy(rules: list[dict[str, Any]]) -> Any:
    return manifest.decode(
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": "GlobalNetworkPolicy",
            "metadata": {"name": "takes-turns"},
            "spec": {"selector": "all()", "ingress": rules},
        }
    )


FILLER = [allow(10000 + number, [f"172.16.{number}.0/24", f"10.{number}.0.0/16"]) for number in range(60)]
TURNS = (
    policy([allow(FROM_EXTERNAL, [f"{EXTERNAL.ipv4}/32"]), allow(FROM_ALL, [])]),
    policy([*FILLER, allow(FROM_NODE1, [f"{NODE1.ipv4}/32"]), *FILLER, allow(FROM_ALL, [])]),
)


@dataclass
class Load:
    """Datagrams from both sources to all three ports, each from a fresh source port; and what arrived."""

    sent: Counter[tuple[str, int]] = field(default_factory=Counter)
    arrived: Counter[tuple[str, int]] = field(default_factory=Counter)


@contextmanager
def load_on(lab: Lab) -> Iterator[Load]:
    """Send and receive while the block runs, then let what is under way arrive."""
    load, stop, drained = Load(), threading.Event(), threading.Event()

    def send(machine: str, address: str) -> None:
        enter(lab.network.path(machine))
        while not stop.is_set():
            # A fresh port for each round: what is not a known flow is judged by policy.
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for port in PORTS:
                    sender.sendto(b"x", (MASTER.ipv4, port))
                    load.sent[address, port] += 1
            time.sleep(PAUSE)

    def receive(port: int) -> None:
        with open_socket(lab.network.path("master"), socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
            receiver.bind(("0.0.0.0", port))
            receiver.settimeout(0.1)
            listening.wait()
            while not drained.is_set():
                try:
                    _, (source, _) = receiver.recvfrom(10)
                except TimeoutError:
                    continue
                load.arrived[source, port] += 1

    listening = threading.Barrier(len(PORTS) + 1, timeout=5)
    receivers = [threading.Thread(target=receive, args=(port,)) for port in PORTS]
    senders = [threading.Thread(target=send, args=(each.name, each.ipv4)) for each in (EXTERNAL, NODE1)]
    for thread in receivers:
        thread.start()
    listening.wait()
    for thread in senders:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in senders:
            thread.join()
        time.sleep(0.3)
        drained.set()
        for thread in receivers:
            thread.join()


@pytest.fixture(scope="module")
def taking_turns(whole_lab: Lab) -> Lab:
    """Endpoints everywhere, and the first of the two policies in force."""
    enable = '{"spec": {"controllers": {"node": {"hostEndpoint": {"autoCreate": "Enabled"}}}}}'
    whole_lab.hepctl("patch", "kubecontrollersconfiguration", "default", f"--patch={enable}")
    open_datastore(whole_lab.datastore).create(TURNS[0])
    settle(whole_lab)
    return whole_lab


def test_no_packet_is_judged_by_a_mixture_of_the_old_policy_and_the_new(taking_turns: Lab) -> None:
    datastore = open_datastore(taking_turns.datastore)
    with load_on(taking_turns) as load:
        for turn in range(1, SWAPS + 1):
            datastore.update(TURNS[turn % 2])
            settle(taking_turns)
            time.sleep(0.05)  # some load under each policy
    external, node1 = EXTERNAL.ipv4, NODE1.ipv4
    assert min(load.sent.values()) > 500
    assert load.arrived[node1, FROM_EXTERNAL] == 0, "both policies deny it"
    assert load.arrived[external, FROM_NODE1] == 0, "both policies deny it"
    for source in (external, node1):
        assert load.arrived[source, FROM_ALL] == load.sent[source, FROM_ALL], "both policies allow it"
    assert 0 < load.arrived[external, FROM_EXTERNAL] < load.sent[external, FROM_EXTERNAL]
    assert 0 < load.arrived[node1, FROM_NODE1] < load.sent[node1, FROM_NODE1]
