"""Metrics of the real maps: what is counted, what is estimated, and that each is documented."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyagent import abi
from pyagent.abi import Direction, Reason
from pyagent.agent.enforce import Enforced
from pyagent.agent.metering import Meter, PacketCounts
from pyagent.agent.mirror import Mirror
from pyagent.attach.outcome import Mode, Report
from pyagent.bpf.maps import Map, MapSpec
from pyagent.bpf.numbers import MapType
from pyagent.telemetry import render
from tests.dataplane.test_program_reports import WORLD, endpoint, packet
from tests.support.kernel import Kernel
from tests.support.memory_datastore import MemoryDatastore
from tests.support.node import Node
from tests.support.policy_world import Rule, policy
from tests.support.prometheus import parse

pytestmark = pytest.mark.bpf

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture
def meter(kernel: Kernel, tmp_path: Path) -> Iterator[tuple[Meter, Node]]:
    node = Node(kernel, tmp_path)
    made = Meter(kernel.dataplane, node.state, Mirror(MemoryDatastore()), rules_max=2)
    yield made, node
    made.close()


def scraped(meter: Meter) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return parse(render(meter.families()).decode())


def test_packets_and_rules_are_counted(meter: tuple[Meter, Node], kernel: Kernel) -> None:
    made, node = meter
    node.put(endpoint(), policy("p", Rule(action="Deny", protocol="UDP"), Rule(action="Allow")))
    before = scraped(made)
    for _ in range(3):
        kernel.judge(packet(80, source=WORLD, protocol="UDP"))
    after = scraped(made)
    labels = (("direction", "ingress"), ("verdict", "deny"), ("reason", "policy_deny"))
    key = ("autohep_packets_total", labels)
    assert after[key] - before.get(key, 0) == 3
    hits = {labels: value for (name, labels), value in after.items() if name == "autohep_rule_hits_total"}
    denied = (("policy", "p"), ("rule", "0"), ("direction", "ingress"), ("action", "Deny"))
    assert hits[denied] == 3
    assert len(hits) <= 2


def test_what_passes_come_to_is_told(meter: tuple[Meter, Node]) -> None:
    made, _ = meter
    lost = Report("eth1", 3, Direction.EGRESS, error="busy")
    kept = Report("eth0", 2, Direction.INGRESS, Mode.TCX)
    made.passed(
        Enforced(
            4, (kept, lost), unfiltered={"dummy0": "no host endpoint applies to it"}, took=0.02, drifts=1
        ),
        anew=True,
    )
    made.passed(Enforced(4, (kept, lost), problem="too many", drifts=1), anew=True)
    found = scraped(made)
    assert found["autohep_interface_unprotected", (("interface", "eth1"), ("direction", "egress"))] == 1
    assert found["autohep_interfaces", (("state", "covered"),)] == 1
    assert found["autohep_passes_total", (("outcome", "failed"),)] == 1
    assert found["autohep_apply_duration_seconds_count", ()] == 1
    assert found["autohep_selfcheck_failures_total", ()] == 1
    assert found["autohep_protected", ()] == 0


def test_every_metric_is_documented_and_every_documented_one_exists(meter: tuple[Meter, Node]) -> None:
    made, node = meter
    node.put(endpoint())
    text = OPERATIONS.read_text().partition("## Metrics and health")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| `((?:autohep|process)_\w+)", text, re.MULTILINE))
    assert documented == {family.name for family in made.families()}


def test_counts_go_on_when_an_interface_goes_and_its_place_is_used_again() -> None:
    counters = Map.create(MapSpec("c", MapType.PERCPU_ARRAY, 4, abi.COUNTERS.size, 4, 0))
    ifstate = Map.create(MapSpec("i", MapType.ARRAY, 4, abi.IFSTATE.size, 4, 0))
    with counters, ifstate:

        def interface(ifindex: int) -> None:
            ifstate.set(struct.pack("=I", 1), abi.IFSTATE.pack(ifindex, 0, 0, 0, 0, 0, 1 if ifindex else 0))

        def counted(packets: int) -> None:
            value = bytearray(counters.value_bytes)
            struct.pack_into("=Q", value, 8 * Reason.FLOW, packets)
            counters.set(struct.pack("=I", 1), value)

        counts = PacketCounts(counters, ifstate)
        seen = []
        for ifindex, packets in ((7, 5), (7, 8), (0, 8), (9, 2), (9, 3)):
            interface(ifindex)
            counted(packets)
            seen.append(int(counts.read()[Direction.INGRESS, Reason.FLOW]))
        assert seen == [5, 8, 8, 10, 11]


@pytest.mark.parametrize("elements", [0, 100, 50_000])
def test_a_large_table_is_counted_by_a_sample_of_it(elements: int) -> None:
    spec = MapSpec("flows", MapType.LRU_HASH, 8, 8, 65_536, 0)
    with Map.create(spec) as table:
        table.update_many((os.urandom(8), bytes(8)) for _ in range(elements))
        there = len(table)
        count, exact = table.estimate()
        assert exact is (elements <= 4096)
        assert abs(count - there) <= (0.1 * there if not exact else 0)
