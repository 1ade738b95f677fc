"""Interfaces that come, go, and lose their programs: covered, reported, and put back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyagent.abi import Direction
from pyagent.bpf.pins import Pins
from tests.lab import Lab
from tests.lab.convergence import settle

pytestmark = pytest.mark.netns

ENABLE = '{"spec": {"controllers": {"node": {"hostEndpoint": {"autoCreate": "Enabled"}}}}}'
EXCLUDE = """
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {interfaceExclude: ["skip*"]}
"""
NODE = "node1"


@pytest.fixture(scope="module")
def lab(whole_lab: Lab) -> Lab:
    """The lab with host endpoints."""
    whole_lab.hepctl("patch", "kubecontrollersconfiguration", "default", f"--patch={ENABLE}")
    settle(whole_lab)
    return whole_lab


@pytest.fixture
def link(lab: Lab) -> Iterator[str]:
    """A name for an interface of node1, removed afterwards if it is there."""
    yield "late0"
    lab.exec(NODE, ["ip", "link", "del", "late0"])


def attached(lab: Lab, name: str) -> set[str]:
    """The directions in which the agent says it filters an interface."""
    found = lab.status(NODE).get("interfaces", [])
    return {each["direction"] for each in found if each["name"] == name and not each["error"]}


BOTH = {"ingress", "egress"}


def pins(lab: Lab) -> Pins:
    return Pins(lab.instance(NODE))


def index_of(lab: Lab, name: str) -> int:
    return int(lab.exec(NODE, ["ip", "-o", "link", "show", name]).stdout.split(":")[0])


def test_every_interface_that_is_there_is_filtered_both_ways(lab: Lab) -> None:
    for name in ("lo", "eth0", "cali0"):
        assert attached(lab, name) == BOTH
    assert lab.status(NODE)["protected"] is True


def test_an_interface_that_appears_later_is_filtered(lab: Lab, link: str) -> None:
    assert attached(lab, link) == set()
    lab.exec(NODE, ["ip", "link", "add", link, "type", "bridge"])
    lab.wait(lambda: attached(lab, link) == BOTH, "the new interface is filtered")


def test_an_interface_that_goes_takes_its_pins_along(lab: Lab, link: str) -> None:
    lab.exec(NODE, ["ip", "link", "add", link, "type", "bridge"])
    lab.wait(lambda: attached(lab, link) == BOTH, "the new interface is filtered")
    before = {pin.ifindex for pin in pins(lab).links()}
    lab.exec(NODE, ["ip", "link", "del", link])
    lab.wait(lambda: attached(lab, link) == set(), "the interface is gone from the status")
    after = {pin.ifindex for pin in pins(lab).links()}
    assert len(before - after) == 1


def test_a_renamed_interface_stays_filtered_under_its_new_name(lab: Lab, link: str) -> None:
    lab.exec(NODE, ["ip", "link", "add", "early0", "type", "bridge"])
    lab.wait(lambda: attached(lab, "early0") == BOTH, "the new interface is filtered")
    lab.exec(NODE, ["ip", "link", "set", "early0", "name", link])
    lab.wait(lambda: attached(lab, link) == BOTH, "the renamed interface is filtered")
    assert attached(lab, "early0") == set()


def test_a_program_somebody_removed_is_put_back(lab: Lab) -> None:
    pin = pins(lab).link(index_of(lab, "eth0"), Direction.INGRESS)
    inode = pin.stat().st_ino
    pin.unlink()  # the last reference: the kernel detaches the program

    def back() -> bool:
        return Path(pin).exists() and pin.stat().st_ino != inode

    lab.wait(back, "the program is attached again")
    assert attached(lab, "eth0") == BOTH


def test_an_excluded_interface_is_left_alone_and_named_with_the_reason(lab: Lab) -> None:
    lab.hepctl("apply", "-f", "-", stdin=EXCLUDE)
    try:
        settle(lab)
        for name in ("skip0", "keep0"):
            lab.exec(NODE, ["ip", "link", "add", name, "type", "bridge"])
        lab.wait(lambda: attached(lab, "keep0") == BOTH, "the other interface is filtered")
        lab.wait(lambda: "skip0" in lab.status(NODE)["excluded"], "the exclusion is reported")
        assert attached(lab, "skip0") == set()
        assert "interfaceExclude" in lab.status(NODE)["excluded"]["skip0"]
    finally:
        for name in ("skip0", "keep0"):
            lab.exec(NODE, ["ip", "link", "del", name])
        lab.hepctl("delete", "felixconfiguration", "default")
        settle(lab)


def test_a_port_of_a_filtered_bridge_is_not_filtered_twice(lab: Lab, link: str) -> None:
    lab.exec(NODE, ["ip", "link", "add", link, "type", "bridge"])
    lab.exec(NODE, ["ip", "link", "add", "port0", "type", "veth", "peer", "name", "port1"])
    try:
        lab.wait(lambda: attached(lab, "port0") == BOTH, "the interface is filtered before it is a port")
        lab.exec(NODE, ["ip", "link", "set", "port0", "master", link])
        lab.wait(lambda: attached(lab, "port0") == set(), "the port is not filtered any more")
        assert lab.status(NODE)["excluded"]["port0"] == f"port of bridge {link}, which is filtered"
        assert attached(lab, link) == BOTH
    finally:
        lab.exec(NODE, ["ip", "link", "del", "port0"])
