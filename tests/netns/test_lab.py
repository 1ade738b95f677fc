"""The lab itself, before any agent: everything is reachable, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import EXTERNAL, MACHINES, Lab
from tests.lab.expectations import Stage
from tests.lab.matrix import LastingConnections, make_checks


def own_network() -> str:
    """The machine's own interfaces, addresses, routes and forwarding."""
    parts = [
        subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True).stdout
        for arguments in (("-o", "link"), ("-o", "address"), ("route",), ("-6", "route"))
    ]
    forwarding = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    lifetimes = ("valid_lft", "preferred_lft", "expires")
    words = [word for part in parts for word in part.split() if not word.endswith("sec")]
    return " ".join(word for word in words if word not in lifetimes) + forwarding


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab(f"lab{os.getpid()}")
    lab.up(control_plane=False)
    yield lab
    lab.down()


def test_without_an_agent_every_check_of_the_walkthrough_gets_through(lab: Lab) -> None:
    results = make_checks(lab, Stage.NO_ENDPOINTS)
    assert len(results) > 70
    assert [result for result in results if result.difference] == []


def test_lasting_connections_answer_and_lose_nothing(lab: Lab) -> None:
    connections = LastingConnections(lab)
    try:
        results = connections.check() + connections.check_nothing_lost()
        assert [result for result in results if result.difference] == []
    finally:
        connections.close()


def test_a_port_nobody_listens_on_is_refused_not_timed_out(lab: Lab) -> None:
    assert lab.connect("external", "master", 4444).how == "refused"
    assert lab.connect("external", "master", 22).how == "answered"


def test_an_address_nobody_has_times_out(lab: Lab) -> None:
    assert not lab.connect("external", "192.168.2.99", 22, patience=0.3).reached


def test_a_packet_filter_between_shows_as_timeout(lab: Lab) -> None:
    block = "add table inet block; add chain inet block c { type filter hook input priority 0; }"
    lab.exec("node2", ["nft", f"{block}; add rule inet block c tcp dport 22 drop"]).check_returncode()
    try:
        assert lab.connect("external", "node2", 22, patience=0.3).how == "timeout"
        assert lab.connect("external", "node2", 10250, patience=0.3).how == "answered"
    finally:
        lab.exec("node2", ["nft", "delete table inet block"]).check_returncode()


def test_the_machines_own_network_is_left_alone_and_down_removes_everything() -> None:
    before = own_network()
    lab = Lab(f"own{os.getpid()}")
    lab.up(control_plane=False)
    pids = [lab.processes.pid(name) for name in lab.processes.names()]
    try:
        assert own_network() == before
        assert pids
        assert all(pids)
    finally:
        lab.down()
    assert own_network() == before
    assert not lab.network.exists()
    assert not lab.directory.exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_up_again_after_a_lab_that_was_left_half_removed() -> None:
    lab = Lab(f"half{os.getpid()}")
    again = Lab(lab.name)  # as another process would: it knows of the first only what lies on disk
    lab.up(control_plane=False)
    try:
        subprocess.run(["ip", "netns", "delete", lab.network.namespace("bridge")], check=True)
        assert not lab.connect("external", "master", 22, patience=0.3).reached
        again.up(control_plane=False)
        assert again.connect("external", "master", 22).reached
    finally:
        again.down()
        lab.down()
    assert not lab.network.exists()


def test_two_labs_at_the_same_time_do_not_meet(lab: Lab) -> None:
    with_neighbour = Lab(f"two{os.getpid()}")
    with_neighbour.up(control_plane=False)
    try:
        lab.exec("master", ["ip", "link", "set", "eth0", "down"]).check_returncode()
        assert not lab.connect("external", "master", 22, patience=0.3).reached
        assert with_neighbour.connect("external", "master", 22).reached
    finally:
        with_neighbour.down()
        lab.exec("master", ["ip", "link", "set", "eth0", "up"]).check_returncode()
        lab.exec(
            "master", ["ip", "address", "replace", f"{MACHINES['master'].ipv6}/64", "dev", "eth0", "nodad"]
        )
    assert asyncio.run(lab.try_connect("external", "master", 22, patience=3.0)).reached
    assert EXTERNAL.ipv4 == lab.connect("external", "master", 22).peer
