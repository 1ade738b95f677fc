"""Events as `hepctl observe` shows them, of packets that the real program judges."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pyagent import abi
from pyagent.agent.state import StateDirectory
from pyagent.cli.main import cli
from pyagent.dataplane.control import Control
from pyagent.inspection.observe import Observer
from pyagent.inspection.pinned import Pinned
from pyagent.model.policy import EntityRule, Rule
from tests.support.frames import frame
from tests.support.kernel import Kernel
from tests.support.policy_world import FACTS, allow, deny, packet, policy, tcp
from tests.support.resources import host_endpoint

LOG = Rule(action="Log", protocol="TCP", destination=EntityRule(ports=(23,)))
GATE = policy(
    "gate", LOG, deny(protocol="TCP", destination=EntityRule(ports=(23,))), allow(), selector="all()"
)
TELNET = frame(tcp("192.0.2.9", port=23))
WEB = frame(tcp("192.0.2.9", port=80))
#: The second whose events were counted before is over after so long.
OVER_S = 1.05


class Node:
    """A node whose policy is in force and saved as the agent saves it."""

    def __init__(self, kernel: Kernel, folder: Path) -> None:
        self.kernel, self.state = kernel, StateDirectory(folder)
        self.put(GATE)

    def put(self, *policies) -> None:  # type: ignore[no-untyped-def]
        installed = self.kernel.enforce(host_endpoint("h", "n1"), *policies, facts=FACTS)
        self.state.write_image(installed.image)

    def hepctl(self, *words: str) -> Result:
        pins = self.kernel.pins
        where = ["--instance", pins.instance, "--pins", str(pins.base)]
        if words[0] == "observe":
            where += ["--state-dir", str(self.state.path)]
        return CliRunner().invoke(cli, [*words, *where], prog_name="hepctl")

    def events(self, *words: str) -> list[dict]:  # type: ignore[type-arg]
        result = self.hepctl("observe", "-o", "json", "--last", "100000", *words)
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    def control(self) -> Control:
        return Control(Pinned(self.kernel.pins).open("control"))


@pytest.fixture
def node(kernel: Kernel, tmp_path: Path) -> Iterator[Node]:
    found = Node(kernel, tmp_path / "state")
    found.events()
    yield found
    kernel.withdraw()


def test_a_log_rule_is_named_with_the_rule_that_decided_and_the_packet(node: Node) -> None:
    assert not node.kernel.run(TELNET).passed
    (event,) = node.events("--log")
    assert event["logs"] == ["gate/ingress[0]"]
    assert event["rule"] == "gate/ingress[1]"
    assert (event["verdict"], event["reason"]) == ("Deny", "policy_deny")
    assert (event["interface"], event["direction"]) == ("eth0", "ingress")
    assert event["packet"] == {
        "protocol": "tcp", "source": "192.0.2.9", "destination": "10.0.0.1", "bytes": len(TELNET),
        "sourcePort": 40000, "destinationPort": 23,
    }  # fmt: skip
    assert (event["age"], event["generation"]) == ("", node.kernel.dataplane.generation)
    assert abs(event["time"] - time.time()) < 5


def test_a_packet_that_the_log_rule_does_not_match_makes_no_event(node: Node) -> None:
    assert node.kernel.run(WEB).passed
    assert node.events() == []


def test_icmp_events_show_type_and_code(node: Node) -> None:
    node.put(policy("pings", Rule(action="Log"), allow(), selector="all()"))
    node.kernel.run(frame(packet("fd00::9", "fd00::1", 58, icmp_type=128)))
    (event,) = node.events()
    assert (event["packet"]["icmpType"], event["packet"]["icmpCode"]) == (128, 0)
    assert event["packet"]["protocol"] == "icmpv6"


def test_dropped_packets_are_reported_only_while_somebody_observes_them(node: Node) -> None:
    node.put(policy("closed", deny(), selector="all()"))
    node.kernel.run(WEB)
    assert node.events() == []
    with Observer(node.kernel.pins, node.state.path, drops=True) as observer:
        node.kernel.run(WEB)
        (event,) = observer.read()
        assert event.dropped
        assert event.rule == "closed/ingress[0]"
        assert "tcp 192.0.2.9:40000 > 10.0.0.1:80" in str(event)
    with node.control() as control:
        assert control.drops_reported_for() == 0
    node.kernel.run(WEB)
    assert node.events() == []


def test_an_observer_that_is_killed_stops_costing_anything_by_itself(node: Node) -> None:
    node.put(policy("closed", deny(), selector="all()"))
    with node.control() as control:
        control.report_drops(0.05)
        node.kernel.run(WEB)
        time.sleep(0.1)
        node.kernel.run(WEB)
    assert len(node.events()) == 1


def test_more_than_the_budget_of_a_second_is_counted_and_not_shown(node: Node) -> None:
    sent = 3 * abi.EVENTS_PER_SECOND
    time.sleep(OVER_S)
    with Observer(node.kernel.pins, node.state.path, drops=False) as observer:
        begun = time.monotonic()
        for _ in range(sent):
            node.kernel.run(TELNET)
        seconds = time.monotonic() - begun
        seen, lost = sum(map(len, iter(observer.read, []))), observer.lost()
    time.sleep(OVER_S)
    assert seen + lost == sent
    assert abi.EVENTS_PER_SECOND <= seen <= abi.EVENTS_PER_SECOND * 2 * (1 + int(seconds))
    assert lost > 0


def test_an_event_of_an_older_generation_is_named_and_says_so(node: Node) -> None:
    node.kernel.run(TELNET)
    node.put(policy("other", allow(), selector="all()"), GATE)
    (event,) = node.events()
    assert event["rule"] == "gate/ingress[1]", "its key is the same in the newer generation"
    assert event["logs"] is None, "verdict ids are not"
    assert "older generation" in event["age"]
    assert "names are gone" in event["age"]


def test_without_saved_names_rules_are_numbers_and_the_user_is_told(node: Node, tmp_path: Path) -> None:
    node.kernel.run(TELNET)
    node.state = StateDirectory(tmp_path / "empty")
    result = node.hepctl("observe", "--last", "5")
    assert "by=rule " in result.stdout
    assert "log=?" in result.stdout
    assert "rules are shown as numbers" in result.stderr


def test_a_second_observer_is_refused(node: Node) -> None:
    with Observer(node.kernel.pins, node.state.path, drops=False):
        result = node.hepctl("observe", "--last", "1")
    assert (result.exit_code, "another observer" in result.stderr) == (1, True)
    assert node.hepctl("observe", "--last", "1").exit_code == 0


def test_following_ends_after_the_time_asked_for(node: Node) -> None:
    node.kernel.run(TELNET)
    result = node.hepctl("observe", "--denied", "--for", "50ms")
    assert result.exit_code == 0, result.output
    assert "Deny tcp 192.0.2.9:40000 > 10.0.0.1:23" in result.stdout
    assert "log=gate/ingress[0]" in result.stdout


def test_rescue_lets_denied_packets_pass_until_it_is_closed(node: Node) -> None:
    assert not node.kernel.run(TELNET).passed
    assert node.hepctl("rescue", "open", "--for", "10m").stdout.endswith("passes for 10m0s\n")
    assert node.kernel.run(TELNET).reason is abi.Reason.RESCUE
    status = json.loads(node.hepctl("rescue", "status", "-o", "json").stdout)
    assert status["open"]
    assert 590 < status["secondsLeft"] <= 600.1
    assert node.hepctl("rescue", "close").stdout.endswith("are judged again\n")
    assert not node.kernel.run(TELNET).passed
    assert node.hepctl("rescue", "status").stdout.startswith("closed")


def test_rescue_ends_by_itself(node: Node) -> None:
    node.hepctl("rescue", "open", "--for", "200ms")
    assert node.kernel.run(TELNET).reason is abi.Reason.RESCUE
    time.sleep(0.3)
    assert not node.kernel.run(TELNET).passed
    assert node.hepctl("rescue", "status").stdout.startswith("closed")


def test_rescue_leaves_policy_and_observation_as_they_are(node: Node) -> None:
    with node.control() as control:
        before = control.generation
        control.report_drops(60)
        node.hepctl("rescue", "open", "--for", "1h")
        node.hepctl("rescue", "close")
        assert control.generation == before
        assert control.drops_reported_for() > 50
        control.stop_reporting_drops()


@pytest.mark.parametrize("wrong", ["0", "-5m", "soon", "25h"])
def test_rescue_is_opened_for_a_sensible_time_only(node: Node, wrong: str) -> None:
    result = node.hepctl("rescue", "open", f"--for={wrong}")
    assert result.exit_code == 2, result.output


def test_rescue_is_logged(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr("syslog.syslog", lambda _level, line: lines.append(line))
    node.hepctl("rescue", "open", "--for", "1m")
    node.hepctl("rescue", "close")
    assert ["rescue opened for 1m0s" in lines[0], "rescue closed" in lines[1]] == [True, True]
    assert all(f"instance={node.kernel.pins.instance}" in line for line in lines)


CHOICES = {
    "--verdict": ("deny", "allow"),
    "--direction": ("ingress", "egress"),
    "--interface": ("eth0", "eth1"),
    "--reason": ("policy_deny", "policy_allow"),
    "--protocol": ("tcp", "udp"),
    "--peer": ("192.0.2.0/24", "198.51.100.0/24"),
    "--port": ("23", "80"),
    "--by": ("gate/ingress[1]", "gate/egress"),
}


@pytest.mark.parametrize("option", CHOICES)
def test_events_are_chosen_by_what_they_are(node: Node, option: str) -> None:
    matching, other = CHOICES[option]
    for value, count in ((other, 0), (matching, 1)):
        node.events()
        with node.control() as control:
            control.report_drops(60)
            node.kernel.run(TELNET)
            control.stop_reporting_drops()
        found = [each for each in node.events("--denied", option, value) if each["kind"] == "log"]
        assert len(found) == count, (option, value)


def test_a_peer_that_is_no_network_is_refused(node: Node) -> None:
    result = node.hepctl("observe", "--peer", "192.0.2.1/24", "--last", "1")
    assert result.exit_code == 2
    assert "--peer: 192.0.2.1/24 has host bits set" in result.output
