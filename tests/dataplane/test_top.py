"""`hepctl top`: rates, denied peers and the flow tables, of packets that the real program judges."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyagent.inspection.observe import Observer
from pyagent.model.policy import EntityRule
from tests.support.frames import frame
from tests.support.kernel import Kernel
from tests.support.node import Node
from tests.support.policy_world import allow, deny, policy, tcp

WEB, TELNET = (frame(tcp("192.0.2.9", port=port)) for port in (80, 23))
NO_TELNET = deny(protocol="TCP", destination=EntityRule(ports=(23,)))


@pytest.fixture
def node(kernel: Kernel, tmp_path: Path) -> Iterator[Node]:
    found = Node(kernel, tmp_path / "state")
    found.put(policy("gate", NO_TELNET, allow()), policy("trial", deny(), staged="Set", order=1.0))
    yield found
    kernel.withdraw()


def looked_at(node: Node, *packets: bytes) -> dict:  # type: ignore[type-arg]
    """One look, while this thread, the one in the namespace, sends."""
    with ThreadPoolExecutor(1) as elsewhere:
        asked = elsewhere.submit(node.shown, "top", "--count", "1", "--interval", "500ms", "-o", "json")
        while not asked.done():
            for each in packets:
                node.kernel.run(each)
        return json.loads(asked.result())  # type: ignore[no-any-return]


def test_a_look_tells_rates_by_reason_and_by_rule_and_who_is_denied(node: Node) -> None:
    look = looked_at(node, TELNET, WEB)
    verdicts = {(each["direction"], each["verdict"], each["reason"]) for each in look["verdicts"]}
    assert {("ingress", "deny", "policy_deny"), ("ingress", "allow", "policy_allow")} <= verdicts
    rates = {each["rule"]: each["perSecond"] for each in look["rules"]}
    assert rates["gate/ingress[0]"] > 0
    assert rates["trial/Deny (staged)"] > 0
    assert look["deniedPeers"][0]["peer"] == "192.0.2.9"
    assert {each["table"] for each in look["flows"]} == {"flows4", "flows6"}
    assert look["flows"][0]["entries"] >= 1


def test_what_does_not_happen_is_not_shown(node: Node) -> None:
    look = looked_at(node, WEB)
    assert look["deniedPeers"] == []
    assert "gate/ingress[0]" not in {each["rule"] for each in look["rules"]}


def test_with_another_observer_everything_but_peers_is_told(node: Node) -> None:
    with Observer(node.kernel.pins, node.state.path, drops=True):
        look = looked_at(node, TELNET)
    assert "peers are not known: another observer" in look["note"]
    assert (look["deniedPeers"], look["rules"][0]["rule"]) == ([], "gate/ingress[0]")


def test_as_text_it_is_three_tables(node: Node) -> None:
    shown = node.shown("top", "--count", "1", "--interval", "10ms")
    headings = [line for line in shown.splitlines() if line.isupper()]
    assert [line.split()[0] for line in headings] == ["DIRECTION", "RULE", "DENIED"]
    assert "\x1b" not in shown
