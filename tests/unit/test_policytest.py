"""``hepctl test``: what a test file may say, and what comes of it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from pyagent.abi import Reason
from pyagent.inquiry import UNPRIVILEGED, Answer, Crossing, disagreement
from pyagent.inquiry import engines as inquiry_engines
from pyagent.policytest import Outcome, load_suites, run
from tests.lab.lab import PROJECT

SEED = PROJECT / "examples" / "seed-tests.yaml"

WORLD = """resources:
- apiVersion: v1
  kind: Node
  metadata: {name: n1, labels: {role: web}}
  status: {addresses: [{type: InternalIP, address: 10.0.0.1}, {type: InternalIP, address: "fd00::1"}]}
- apiVersion: v1
  kind: Node
  metadata: {name: n2, labels: {role: db}}
  status: {addresses: [{type: InternalIP, address: 10.0.0.2}]}
- apiVersion: projectcalico.org/v3
  kind: GlobalNetworkPolicy
  metadata: {name: web}
  spec:
    selector: role == 'web'
    ingress:
    - {action: Log, protocol: TCP, destination: {ports: [80]}}
    - {action: Allow, protocol: TCP, source: {selector: role == 'db'}, destination: {ports: [80]}}
    - {action: Deny, protocol: TCP, destination: {ports: ["8000:8080"]}}
"""
TO_N1 = "packet: {protocol: TCP, source: n2, destination: n1, destinationPort: 80}"


def suite_of(cases: str, world: str = WORLD) -> str:
    return f"{world}cases:\n{cases}"


@pytest.fixture
def outcomes(tmp_path):
    """Runs a test file's text; gives each case's outcome and message."""

    def run_text(text: str):
        path = tmp_path / "tests.yaml"
        path.write_text(text)
        return run(load_suites(str(path)), UNPRIVILEGED)

    return run_text


@pytest.fixture(scope="module")
def seed():
    return run(load_suites(str(SEED)), UNPRIVILEGED)


# -- the example


def test_every_case_of_the_walkthroughs_policies_passes_on_both_engines(seed):
    assert [result.message for result in seed.results if result.outcome is not Outcome.PASSED] == []
    assert len(seed.results) >= 40
    assert all([answer.engine for answer in result.answers] == list(UNPRIVILEGED) for result in seed.results)


def test_the_walkthroughs_cases_meet_every_rule(seed):
    assert len(seed.coverage.rules) == 9
    assert [str(rule.place) for rule in seed.coverage.missed] == []


# -- verdicts


def test_a_case_passes_when_the_verdict_and_what_decided_are_as_expected(outcomes):
    report = outcomes(suite_of(f"- {{name: a, direction: ingress, expect: Allow, by: web/1, {TO_N1}}}"))
    assert [result.outcome for result in report.results] == [Outcome.PASSED]


def test_a_case_fails_when_the_verdict_is_another(outcomes):
    (result,) = outcomes(suite_of(f"- {{name: a, direction: ingress, expect: Deny, {TO_N1}}}")).results
    assert result.outcome is Outcome.FAILED
    assert result.message == "expected Deny, got Allow by web/1 on ingress at n1 eth0"


def test_a_case_fails_when_something_else_decided(outcomes):
    text = suite_of(f"- {{name: a, direction: ingress, expect: Allow, by: failsafe, {TO_N1}}}")
    (result,) = outcomes(text).results
    assert result.outcome is Outcome.FAILED
    assert result.message == "Allow as expected, but by web/1, not by failsafe"


@pytest.mark.parametrize("by", ["web", "web/1", "web/ingress[1]"])
def test_a_rule_is_named_by_its_policy_or_by_its_place(outcomes, by):
    (result,) = outcomes(
        suite_of(f"- {{name: a, direction: ingress, expect: Allow, by: '{by}', {TO_N1}}}")
    ).results
    assert result.outcome is Outcome.PASSED


@pytest.mark.parametrize(("by", "outcome"), [("web", "passed"), ("default", "passed"), ("web/1", "failed")])
def test_a_policy_denies_by_its_tiers_end_but_none_of_its_rules_does(outcomes, by, outcome):
    packet = "packet: {protocol: UDP, source: n2, destination: n1, destinationPort: 80}"
    (result,) = outcomes(
        suite_of(f"- {{name: a, direction: ingress, expect: Deny, by: {by}, {packet}}}")
    ).results
    assert result.outcome == outcome


def test_the_end_of_a_tier_is_not_by_a_policy_of_another_tier(outcomes):
    world = (
        WORLD
        + """- apiVersion: projectcalico.org/v3
  kind: Tier
  metadata: {name: first}
  spec: {order: 1, defaultAction: Pass}
- apiVersion: projectcalico.org/v3
  kind: GlobalNetworkPolicy
  metadata: {name: first.early}
  spec: {tier: first, ingress: [{action: Allow, protocol: SCTP}]}
"""
    )
    packet = "packet: {protocol: UDP, source: n2, destination: n1, destinationPort: 80}"
    results = outcomes(
        suite_of(
            f"- {{name: a, direction: ingress, expect: Deny, by: first.early, {packet}}}\n"
            f"- {{name: b, direction: ingress, expect: Deny, by: web, {packet}}}\n",
            world,
        )
    ).results
    assert [result.outcome for result in results] == ["failed", "passed"]


def test_a_node_without_a_policy_is_left_to_its_profile(outcomes):
    packet = "packet: {protocol: TCP, source: n1, destination: n2, destinationPort: 80}"
    results = outcomes(
        suite_of(
            f"- {{name: a, direction: ingress, expect: Allow, by: profile, {packet}}}\n"
            f"- {{name: b, direction: ingress, expect: Allow, by: projectcalico-default-allow, {packet}}}\n"
            f"- {{name: c, direction: ingress, expect: Allow, by: default, {packet}}}\n"
        )
    ).results
    assert [result.outcome for result in results] == ["passed", "passed", "failed"]


def test_a_forwarded_packet_crosses_two_hooks_and_either_may_deny_it(outcomes):
    world = (
        WORLD
        + """- apiVersion: projectcalico.org/v3
  kind: GlobalNetworkPolicy
  metadata: {name: leaving}
  spec:
    applyOnForward: true
    types: [Egress]
    egress:
    - {action: Deny, protocol: TCP, destination: {ports: [25]}}
    - {action: Allow}
"""
    )
    there = "source: 10.9.0.1, destination: 10.9.0.2"
    report = outcomes(
        suite_of(
            f"""- name: no mail
  node: n1
  direction: forward
  packet: {{protocol: TCP, {there}, destinationPort: 25}}
  expect: Deny
  by: leaving/0
- name: the web
  node: n1
  direction: forward
  packet: {{protocol: TCP, {there}, destinationPort: 443}}
  expect: Allow
  by: leaving/1
- name: coming in, it is nobody's business
  node: n1
  direction: forward
  packet: {{protocol: TCP, {there}, destinationPort: 443}}
  expect: Allow
  by: forward-none
""",
            world,
        )
    )
    assert [result.message for result in report.results] == ["", "", ""]
    assert [str(crossing) for crossing, _ in report.results[0].decisions] == [
        "ingress at n1 eth0",
        "egress at n1 eth0",
    ]


def test_facts_tell_which_interface_leads_to_a_pod(outcomes):
    report = outcomes(
        suite_of(
            """- name: from the pod
  direction: ingress
  packet: {protocol: TCP, source: 10.1.0.5, destination: n1, destinationPort: 80}
  expect: Deny
- name: to the pod
  direction: egress
  node: n1
  packet: {protocol: TCP, source: n1, destination: 10.1.0.5, destinationPort: 80}
  expect: Allow
  by: own-pod
""",
            WORLD + "facts: {n1: {pods: [{interface: cali7, addresses: [10.1.0.5]}]}}\n",
        )
    )
    assert [result.message for result in report.results] == ["", ""]
    assert [result.case.crossings[0].interface for result in report.results] == ["cali7", "cali7"]


def test_labels_of_the_file_come_over_those_of_the_nodes(outcomes):
    case = f"- {{name: a, direction: ingress, expect: Deny, {TO_N1}}}"
    assert not outcomes(suite_of(case)).passed
    assert outcomes(suite_of(case, WORLD + "labels: {n2: {role: other}}\n")).passed


def test_endpoints_given_are_used_instead_of_automatic_ones(outcomes):
    named = """- apiVersion: projectcalico.org/v3
  kind: HostEndpoint
  metadata: {name: n1-eth1, labels: {role: web}}
  spec: {node: n1, interfaceName: eth1, expectedIPs: [10.0.9.1]}
"""
    report = outcomes(
        suite_of(
            """- name: on the interface that it names
  direction: ingress
  packet: {protocol: UDP, source: n2, destination: 10.0.9.1, destinationPort: 1}
  expect: Deny
  by: web
- name: and on no other
  node: n1
  interface: eth0
  direction: ingress
  packet: {protocol: UDP, source: n2, destination: 10.0.9.1, destinationPort: 1}
  expect: Allow
  by: no-endpoint
""",
            WORLD + named,
        )
    )
    assert [result.message for result in report.results] == ["", ""]


def test_paths_are_relative_to_the_file_and_the_file_itself_is_no_resource(outcomes, tmp_path):
    (tmp_path / "world.yaml").write_text(
        "---\n".join(
            f"apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n"
            f"status: {{addresses: [{{type: InternalIP, address: {ip}}}]}}\n"
            for name, ip in (("n1", "10.0.0.1"), ("n2", "10.0.0.2"))
        )
    )
    assert outcomes(
        suite_of(f"- {{name: a, direction: ingress, expect: Allow, {TO_N1}}}", "resources: [.]\n")
    ).passed


def test_external_is_an_address_that_no_resource_knows(outcomes):
    known = """- apiVersion: projectcalico.org/v3
  kind: GlobalNetworkSet
  metadata: {name: known, labels: {role: db}}
  spec: {nets: [203.0.113.0/24]}
"""
    packet = "packet: {protocol: TCP, source: external, destination: n1, destinationPort: 80}"
    case = f"- {{name: a, direction: ingress, expect: Deny, {packet}}}"
    assert outcomes(suite_of(case)).passed
    assert outcomes(suite_of(case, WORLD + known)).passed
    direct = case.replace("external", "203.0.113.7").replace("Deny", "Allow")
    assert outcomes(suite_of(direct, WORLD + known)).passed


# -- coverage


def test_a_rule_that_no_case_meets_is_listed_with_its_place(outcomes, tmp_path):
    report = outcomes(suite_of(f"- {{name: a, direction: ingress, expect: Allow, {TO_N1}}}"))
    (missed,) = report.coverage.missed
    assert str(missed.place) == "web/ingress[2]"
    assert missed.where == f"{tmp_path / 'tests.yaml'}:18"
    assert [str(rule.place) for rule in report.coverage.rules if rule.hit] == [
        "web/ingress[0]",
        "web/ingress[1]",
    ]


def test_rules_of_staged_policies_are_counted_as_met(outcomes):
    staged = """- apiVersion: projectcalico.org/v3
  kind: StagedGlobalNetworkPolicy
  metadata: {name: web}
  spec: {selector: role == 'web', ingress: [{action: Deny, protocol: TCP}, {action: Allow}]}
"""
    report = outcomes(suite_of(f"- {{name: a, direction: ingress, expect: Allow, {TO_N1}}}", WORLD + staged))
    hit = [(rule.place.kind, str(rule.place)) for rule in report.coverage.rules if rule.hit]
    assert ("StagedGlobalNetworkPolicy", "web/ingress[0]") in hit
    assert ("StagedGlobalNetworkPolicy", "web/ingress[1]") not in hit


# -- engines that disagree


def test_engines_that_disagree_are_an_error_of_their_own(outcomes, monkeypatch):
    honest = inquiry_engines._Compiled.ask

    def lies(self, crossing, flow):
        return replace(honest(self, crossing, flow), allowed=False, reason=Reason.POLICY_DENY)

    case = suite_of(f"- {{name: a, direction: ingress, expect: Allow, {TO_N1}}}")
    assert outcomes(case).passed
    monkeypatch.setattr(inquiry_engines._Compiled, "ask", lies)
    (result,) = outcomes(case).results
    assert result.outcome is Outcome.ERROR
    assert result.message.startswith(
        "engines disagree on ingress at n1 eth0: reference: Allow by web/ingress"
    )


def test_of_a_later_fragment_only_the_verdict_is_compared():
    def answers(*rules: str) -> list[Answer]:
        return [Answer(rule, True, Reason.POLICY_ALLOW, rule) for rule in rules]

    from pyagent.model.packet import Packet

    whole = Crossing("n", "eth0", "ingress", Packet(4, 1, 2, 6))
    fragment = replace(whole, packet=replace(whole.packet, fragment=True))
    assert disagreement(answers("a/ingress[0]", "a/ingress[1]"), whole)
    assert not disagreement(answers("a/ingress[0]", "a/ingress[1]"), fragment)


# -- the command


def test_the_command_prints_failures_with_the_way_to_the_verdict_and_exits_with_1(hepctl):
    file = hepctl.file("t.yaml", suite_of(f"- {{name: closed, direction: ingress, expect: Deny, {TO_N1}}}"))
    result = hepctl("test", file)
    assert result.exit_code == 1
    assert f"FAIL   closed\n         {file}:20: expected Deny, got Allow by web/1" in result.stdout
    assert "rule web/ingress[1]: Allow" in result.stdout
    assert "1 case, 0 passed, 1 failed (engines: reference, image)" in result.stdout


def test_the_command_exits_with_0_when_all_is_well_and_verbose_shows_every_case(hepctl):
    file = hepctl.file("t.yaml", suite_of(f"- {{name: open, direction: ingress, expect: Allow, {TO_N1}}}"))
    quiet, verbose = hepctl("test", file), hepctl("test", "-v", file)
    assert (quiet.exit_code, verbose.exit_code) == (0, 0)
    assert "open" not in quiet.stdout
    assert "ok     open  Allow by web/1" in verbose.stdout


def test_json_has_everything_that_a_script_needs(hepctl):
    file = hepctl.file("t.yaml", suite_of(f"- {{name: closed, direction: ingress, expect: Deny, {TO_N1}}}"))
    result = hepctl("test", "-o", "json", file)
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert report["totals"] == {"cases": 1, "passed": 0, "failed": 1, "error": 0}
    (case,) = report["cases"]
    assert (case["name"], case["outcome"], case["by"], case["line"]) == ("closed", "failed", "web/1", 20)
    assert [answer["verdict"] for answer in case["engines"]] == ["Allow", "Allow"]
    assert report["coverage"]["missed"][0]["rule"] == "web/ingress[2]"


def test_junit_xml_names_failures_and_survives_strange_names(hepctl, tmp_path):
    file = hepctl.file(
        "t.yaml",
        suite_of(
            f"- {{name: 'a <b> & \"c\"', direction: ingress, expect: Allow, {TO_N1}}}\n"
            f"- {{name: closed, direction: ingress, expect: Deny, {TO_N1}}}\n"
        ),
    )
    assert hepctl("test", "--junit", str(tmp_path / "out.xml"), file).exit_code == 1
    (suite,) = ET.parse(tmp_path / "out.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    good, bad = suite
    assert good.get("name") == 'a <b> & "c"'
    assert list(good) == []
    assert bad[0].tag == "failure"
    assert bad[0].get("message", "").startswith("expected Deny, got Allow")


def test_engines_can_be_chosen_and_an_unknown_one_is_refused(hepctl):
    file = hepctl.file("t.yaml", suite_of(f"- {{name: open, direction: ingress, expect: Allow, {TO_N1}}}"))
    assert "(engines: image)" in hepctl("test", "--engine", "image", file).stdout
    result = hepctl("test", "--engine", "oracle", file)
    assert result.exit_code == 2
    assert "engine 'oracle' is not known" in result.stderr


def test_watch_runs_again_when_a_resource_changes(hepctl, monkeypatch, tmp_path):
    policy = Path(hepctl.file("p.yaml", WORLD.partition("resources:\n")[2]))
    file = hepctl.file(
        "t.yaml",
        suite_of(f"- {{name: a, direction: ingress, expect: Allow, {TO_N1}}}", "resources: [p.yaml]\n"),
    )
    waits = []

    def change(_seconds: float) -> None:
        waits.append(1)
        if len(waits) == 1:
            policy.write_text(policy.read_text().replace("role == 'db'", "role == 'nobody'"))
        elif len(waits) == 2:
            policy.write_text("nonsense")
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr("pyagent.cli.test.time.sleep", change)
    result = hepctl("test", "--watch", file)
    assert result.exit_code == 130
    assert "1 case, 1 passed" in result.stdout
    assert "1 case, 0 passed, 1 failed" in result.stdout
    assert "p.yaml" in result.stderr
