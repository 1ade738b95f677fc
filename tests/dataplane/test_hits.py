"""Hits of rules add up over policy updates, restarts and crashes of the agent; nothing counts twice."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pyagent.agent.counting import Counting
from pyagent.dataplane.hits import HITS, KEPT_S, HitTotals
from pyagent.model.policy import EntityRule, Rule
from tests.support.frames import frame
from tests.support.kernel import Kernel
from tests.support.node import Node
from tests.support.policy_world import allow, deny, policy, tcp
from tests.support.resources import host_endpoint

LOG = Rule(action="Log", protocol="TCP", destination=EntityRule(ports=(23,)))
NO_TELNET = deny(protocol="TCP", destination=EntityRule(ports=(23,)))
WEB = allow(protocol="TCP", destination=EntityRule(ports=(80,)))
GATE = policy("gate", LOG, NO_TELNET, WEB, selector="all()")
LONGER = policy(
    "gate", deny(source=EntityRule(nets=("198.51.100.0/24",))), LOG, NO_TELNET, WEB, selector="all()"
)
TRIAL = policy("trial", deny(), staged="Set", selector="all()", order=1.0)
TELNET = frame(tcp("192.0.2.9", port=23))


@pytest.fixture
def node(kernel: Kernel, tmp_path: Path) -> Iterator[Node]:
    found = Node(kernel, tmp_path / "state")
    found.put(GATE)
    yield found
    kernel.withdraw()


def packets(node: Node) -> dict[str, int]:
    return {f"{row['action']} {row['rule']}": row["packets"] for row in node.json("report", "hits")}


def send(node: Node, count: int = 1) -> None:
    for _ in range(count):
        node.kernel.run(TELNET)


def test_a_rule_that_decides_and_the_log_rules_before_it_are_hit_and_no_other(node: Node) -> None:
    send(node, 3)
    assert packets(node) == {"Log gate/ingress[0]": 3, "Deny gate/ingress[1]": 3, "Allow gate/ingress[2]": 0}
    rows = node.json("report", "hits")
    assert rows[1]["bytes"] == 3 * len(TELNET)
    assert abs(rows[1]["lastHit"] - time.time()) < 10
    assert rows[2]["lastHit"] == 0
    assert abs(rows[2]["countedSince"] - time.time()) < 10


def test_totals_go_on_when_the_policy_is_replaced_again_and_again(node: Node) -> None:
    for turn in range(1, 7):
        send(node, turn)
        node.put(LONGER if turn % 2 else GATE)
        send(node)
    total = sum(range(1, 7)) + 6
    assert packets(node)["Deny gate/ingress[1]"] == total
    assert packets(node)["Log gate/ingress[0]"] == total
    assert packets(node)["Allow gate/ingress[2]"] == 0


def test_a_restart_of_the_agent_changes_nothing(node: Node) -> None:
    send(node, 2)
    for _ in range(3):
        node.counting = Counting(node.kernel.dataplane, node.state)
        assert packets(node)["Deny gate/ingress[1]"] == 2
    send(node)
    node.put(LONGER)
    assert packets(node)["Deny gate/ingress[2]"] == 3


def test_an_agent_that_dies_between_flip_and_count_loses_nothing(node: Node) -> None:
    send(node, 4)
    node.kernel.enforce(*world(LONGER))  # in force, and nobody lives to count or save
    send(node)
    node.counting = Counting(node.kernel.dataplane, node.state)
    node.put(LONGER)
    assert packets(node)["Deny gate/ingress[2]"] == 5


def test_generations_that_nobody_counted_are_left_out_rather_than_given_to_the_wrong_rule(node: Node) -> None:
    send(node, 4)
    for one in (LONGER, GATE, LONGER):
        node.kernel.enforce(*world(one))
        send(node)
    node.counting = Counting(node.kernel.dataplane, node.state)
    node.put(GATE)
    assert packets(node) == {"Log gate/ingress[0]": 0, "Deny gate/ingress[1]": 0, "Allow gate/ingress[2]": 0}
    send(node)
    assert packets(node)["Deny gate/ingress[1]"] == 1


def test_a_checkpoint_keeps_what_was_counted_and_counts_it_once(node: Node) -> None:
    send(node, 2)
    totals = HitTotals(node.kernel.dataplane.map("hits"), node.state.path / HITS)
    generation = node.kernel.dataplane.generation
    totals.resume(generation, json.loads((node.state.path / "image.json").read_text())["verdicts"])
    totals.checkpoint()
    saved = json.loads((node.state.path / HITS).read_text())
    assert sorted(total["packets"] for total in saved["rules"].values() if total["packets"]) == [2, 2]
    assert packets(node)["Deny gate/ingress[1]"] == 2
    send(node)
    totals.checkpoint()
    assert packets(node)["Deny gate/ingress[1]"] == 3


def test_a_staged_policy_is_counted_by_what_it_would_have_done(node: Node) -> None:
    node.put(GATE, TRIAL)
    send(node, 2)
    node.put(LONGER, TRIAL)
    send(node)
    (table,) = node.json("bpf", "policy", "dump", "eth0", "ingress")["tables"]
    trial = next(each for tier in table["tiers"] for each in tier["policies"] if each["staged"])
    assert trial["stagedHits"] == {"Deny": 3}
    assert "would have decided Deny 3" in node.shown("bpf", "policy", "dump", "eth0")


def test_unused_rules_are_those_without_a_hit_since_then(node: Node) -> None:
    send(node)
    assert [row["rule"] for row in node.json("report", "unused")] == ["gate/ingress[2]"]
    assert [row["rule"] for row in node.json("report", "unused", "--since", "1h")] == ["gate/ingress[2]"]
    later = ["report", "unused", "--since", "2099-01-01"]
    assert len(node.json(*later)) == 3
    assert "gate/ingress[2]   Allow    0" in node.shown("report", "unused")
    assert node.hepctl("report", "unused", "--since", "lately").exit_code == 2


def test_a_damaged_file_begins_anew_and_says_so(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    send(node, 2)
    (node.state.path / HITS).write_text('{"rules": [')
    node.counting = Counting(node.kernel.dataplane, node.state)
    assert "hit totals unreadable" in caplog.text
    node.put(GATE)
    send(node)
    assert packets(node)["Deny gate/ingress[1]"] == 1


def test_a_file_about_another_map_is_not_subtracted_from_this_one(node: Node) -> None:
    send(node, 2)
    path = node.state.path / HITS
    raw = json.loads(path.read_text())
    raw.update(epoch="another boot/1", baselines=[[[900, 9000]] * 10] * 2)
    path.write_text(json.dumps(raw))
    node.counting = Counting(node.kernel.dataplane, node.state)
    send(node)
    node.put(LONGER)
    assert packets(node)["Deny gate/ingress[2]"] == 1, "what was counted before it was read belongs to nobody"


def test_an_image_without_metadata_is_counted_by_what_its_bytes_tell(node: Node) -> None:
    installed = node.put(LONGER)
    bare = replace(installed.image, metadata={})
    (node.state.path / "image.json").unlink()
    node.counting.replaced(bare)
    send(node, 2)
    node.put(GATE)
    assert packets(node) == {"Log gate/ingress[0]": 0, "Deny gate/ingress[1]": 2, "Allow gate/ingress[2]": 0}


def test_totals_of_rules_long_gone_are_forgotten(node: Node) -> None:
    path = node.state.path / HITS
    raw = json.loads(path.read_text())
    old = {"packets": 5, "bytes": 5, "since": 1.0, "last": 2.0, "seen": time.time() - KEPT_S - 60}
    raw["rules"] |= {"1": old, "2": {**old, "seen": time.time() - KEPT_S / 2}}
    path.write_text(json.dumps(raw))
    node.counting = Counting(node.kernel.dataplane, node.state)
    node.put(GATE)
    kept = json.loads(path.read_text())["rules"]
    assert ("1" in kept, "2" in kept) == (False, True)


def world(*policies):  # type: ignore[no-untyped-def]
    return (host_endpoint("h", "n1", {"role": "db"}), *policies)
