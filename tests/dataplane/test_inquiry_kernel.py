"""The kernel as an engine of ``hepctl test`` and ``hepctl explain``; nothing of it is left behind."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pyagent.abi import Reason
from pyagent.errors import UsageError
from pyagent.inquiry import ENGINES, KERNEL, frames, kernel_if_asked
from pyagent.inquiry.kernel import KernelEngine
from pyagent.model.packet import Packet
from pyagent.policytest import Outcome, load_suites, run
from tests.lab.lab import PROJECT
from tests.support import flows as model_flows
from tests.support import frames as model_frames

SEED = PROJECT / "examples" / "seed-tests.yaml"
STAGED = """resources:
- apiVersion: v1
  kind: Node
  metadata: {name: n1}
  status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}
- apiVersion: projectcalico.org/v3
  kind: GlobalNetworkPolicy
  metadata: {name: a}
  spec: {applyOnForward: true, ingress: [{action: Log, protocol: TCP}, {action: Allow}]}
- apiVersion: projectcalico.org/v3
  kind: StagedGlobalNetworkPolicy
  metadata: {name: b}
  spec: {ingress: [{action: Deny, protocol: TCP}]}
cases:
- name: logged, and a staged policy would deny it
  direction: ingress
  packet: {protocol: TCP, source: external, destination: n1, destinationPort: 80}
  expect: Allow
  by: a/1
- name: a later fragment
  direction: ingress
  packet: {protocol: UDP, source: external, destination: n1, fragment: true}
  expect: Allow
- name: from one interface to another
  node: n1
  direction: forward
  packet: {protocol: 47, source: 10.8.0.1, destination: 10.9.0.1}
  expect: Allow
"""


def namespace() -> str:
    return str(Path("/proc/thread-self/ns/net").readlink())


def test_the_kernel_agrees_on_every_case_of_the_walkthrough_and_leaves_nothing_behind():
    before, own = namespace(), Path(f"/sys/fs/bpf/autohep-test/run{os.getpid()}")
    report = run(load_suites(str(SEED)), ENGINES)
    assert [result.message for result in report.results if result.outcome is not Outcome.PASSED] == []
    assert all([answer.engine for answer in result.answers] == list(ENGINES) for result in report.results)
    assert namespace() == before
    assert not own.exists()
    with kernel_if_asked(ENGINES):
        assert own.exists()
        assert namespace() != before


def test_the_kernel_tells_rules_logs_staged_policies_and_fragments(tmp_path):
    (tmp_path / "t.yaml").write_text(STAGED)
    report = run(load_suites(str(tmp_path / "t.yaml")), ENGINES)
    assert [result.message for result in report.results] == ["", "", ""]
    (logged,) = (answer for answer in report.results[0].answers if answer.engine == KERNEL)
    assert (logged.rule, logged.logged, logged.staged) == (
        "a/ingress[1]",
        ("a/ingress[0]",),
        (("b", "Deny"),),
    )


def test_a_kernel_that_says_something_else_is_a_disagreement(tmp_path, monkeypatch):
    honest = KernelEngine._answer

    def lies(self, reason):
        return replace(honest(self, reason), allowed=False, reason=Reason.POLICY_DENY)

    monkeypatch.setattr(KernelEngine, "_answer", lies)
    (tmp_path / "t.yaml").write_text(STAGED)
    report = run(load_suites(str(tmp_path / "t.yaml")), ENGINES)
    assert {result.outcome for result in report.results} == {Outcome.ERROR}
    assert "kernel: Deny" in report.results[0].message


def test_without_root_the_kernel_engine_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="only root can: run as root"), kernel_if_asked((KERNEL,)):
        pytest.fail("it opened")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    "fields",
    [
        {"protocol": 6, "source_port": 1, "destination_port": 2},
        {"protocol": 17, "source_port": 1, "destination_port": 2},
        {"protocol": 132, "source_port": 1, "destination_port": 2},
        {"protocol": 6, "fragment": True},
        {"protocol": 1, "icmp_type": 8},
        {"protocol": 1, "icmp_type": 0},
        {"protocol": 58, "icmp_type": 129},
    ],
)
def test_frames_and_flow_keys_are_those_of_the_programs_own_tests(version, fields):
    packet = Packet(version, 0x0A000001, 0x0A000002, **fields)
    theirs = replace(model_frames.PLAIN, fragment_id=1, payload=bytes(8) if packet.fragment else b"")
    assert frames.frame(packet) == model_frames.frame(packet, theirs)
    for direction in model_flows.Direction:
        key = model_flows.flow_key(packet, direction, 1)
        assert frames.has_flow(packet) == (key is not None)
        assert key is None or frames.flow_key(packet, direction) == key
