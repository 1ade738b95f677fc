"""`hepctl bpf ipsets`, `routes` and `profile`: what addresses mean to the image, and what packets cost."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyagent.model.policy import EntityRule
from tests.support.frames import frame
from tests.support.kernel import Kernel
from tests.support.node import Node
from tests.support.policy_world import allow, policy, tcp
from tests.support.resources import network_set

OFFICE = network_set("office", "192.0.2.0/24", "192.0.3.0/24", "2001:db8::/32", where="office")
GATE = policy(
    "gate",
    allow(protocol="TCP", source=EntityRule(selector="where == 'office'")),
    allow(protocol="UDP", source=EntityRule(nets=("198.51.100.0/24",), not_nets=("198.51.100.7/32",))),
)


@pytest.fixture
def node(kernel: Kernel, tmp_path: Path) -> Iterator[Node]:
    found = Node(kernel, tmp_path / "state")
    found.put(OFFICE, GATE)
    yield found
    kernel.withdraw()


def test_address_sets_are_told_with_their_networks_of_both_families(node: Node) -> None:
    found = {each["name"]: each["networks"] for each in node.json("bpf", "ipsets", "dump")}
    assert ["192.0.2.0/23", "2001:db8::/32"] in found.values()
    assert ["198.51.100.0/24"] in found.values()
    assert ["198.51.100.7/32"] in found.values()
    name = next(name for name, networks in found.items() if "2001:db8::/32" in networks)
    assert [each["name"] for each in node.json("bpf", "ipsets", "dump", name)] == [name]
    assert "  192.0.2.0/23\n" in node.shown("bpf", "ipsets", "dump", name)


def test_a_saved_image_tells_the_same_address_sets(node: Node) -> None:
    saved = node.json("bpf", "ipsets", "dump", "--image", str(node.state.path))
    assert saved == node.json("bpf", "ipsets", "dump")


def test_a_set_that_is_not_there_is_one_message(node: Node) -> None:
    result = node.hepctl("bpf", "ipsets", "dump", "nonsense")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "has no address set 'nonsense'" in result.stderr


def test_routes_tell_this_hosts_addresses_and_the_tunnels(node: Node) -> None:
    found = node.json("bpf", "routes", "dump")
    own = {each["what"] for each in found if each["is"] == "this host"}
    assert {"10.0.0.1/32", "127.0.0.0/8", "fd00::1/128"} <= own
    assert not any(each.startswith("192.0.2.") for each in own)
    assert "IS" in node.shown("bpf", "routes", "dump").splitlines()[0]


def test_a_profile_counts_the_packets_of_its_time_and_what_each_costs(node: Node) -> None:
    with ThreadPoolExecutor(1) as elsewhere:  # this thread is the one in the namespace: it sends
        asked = elsewhere.submit(node.json, "bpf", "profile", "--for", "500ms")
        sent = 0
        while not asked.done():
            node.kernel.run(frame(tcp("192.0.2.9", port=2200)))
            sent += 1
        found = {each["program"]: each for each in asked.result()}
    assert sent >= found["tc_ingress"]["packets"] > 100
    assert found["tc_ingress"]["nanoseconds"] > 0
    assert (found["tc_egress"]["packets"], found["tc_egress"]["nanoseconds"]) == (0, None)
