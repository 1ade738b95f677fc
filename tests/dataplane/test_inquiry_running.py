"""``hepctl explain --running``: what an agent has in force, beside what the resources say now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyagent import manifest
from pyagent.bpf.pins import Pins
from pyagent.errors import AutohepError, KernelError
from pyagent.explain import Explanation, Question, explain, parse_end
from pyagent.inquiry import Described, Engines, Hosts, automatic, from_documents
from pyagent.inquiry.kernel import KernelEngine, open_kernel
from pyagent.inquiry.running import Running
from pyagent.model.facts import InterfaceFacts

WORLD = """
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {role: web}}
status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: web}
spec: {selector: role == 'web', ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]}
"""


#: The first interface of the kernel engine's namespace.
INTERFACE = "t10"


def hosts_of(text: str) -> Hosts:
    described = {"n1": Described((InterfaceFacts(INTERFACE, addresses=("10.0.0.1",)),))}
    return Hosts(automatic(from_documents(manifest.load(text)).resources), described)


def ask(text: str, running: Running, destination: str = "n1:80/tcp", interface: str = "") -> Explanation:
    ends = parse_end("external", "--from", protocol=False), parse_end(destination, "--to", protocol=True)
    return explain(hosts_of(text), Question(*ends, interface=interface), running=running)


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelEngine]:
    """The program with the world in force; this thread is in its namespace meanwhile."""
    with open_kernel() as engine:
        engines = Engines(hosts_of(WORLD), "n1")
        engine._install(engines.view, engines.facts)
        yield engine


@pytest.fixture
def running(kernel: KernelEngine, tmp_path: Path) -> Running:
    """What is in force, described as the agent describes it."""
    (tmp_path / "image.json").write_text(json.dumps(kernel._metadata))
    return Running(kernel._dataplane.pins, tmp_path)


def test_the_image_in_force_is_asked_beside_the_engines(running: Running) -> None:
    found = ask(WORLD, running)
    (hook,) = found.hooks
    assert [answer.engine for answer in hook.answers] == ["reference", "image", "running"]
    assert [str(answer) for answer in hook.answers] == ["Allow by web/ingress[0] [POLICY_ALLOW]"] * 3
    assert found.agreed
    assert (
        str(ask(WORLD, running, "n1:81/tcp").hooks[0].answers[2])
        == "Deny by default/ingress[end] [POLICY_DENY]"
    )


def test_a_kernel_that_lags_behind_the_resources_shows(running: Running) -> None:
    found = ask(WORLD.replace("80", "8080"), running)
    assert not found.agreed
    assert "image: Deny by default/ingress[end] [POLICY_DENY]; running: Allow by web/ingress[0]" in (
        found.hooks[0].disagreement
    )


def test_it_is_asked_about_its_own_node_only(running: Running) -> None:
    running.metadata["node"] = "n7"
    assert [answer.engine for answer in ask(WORLD, running).hooks[0].answers] == ["reference", "image"]


def test_an_interface_that_the_machine_does_not_have_is_refused(running: Running) -> None:
    assert ask(WORLD, running, interface=INTERFACE).agreed
    with pytest.raises(AutohepError, match="this machine has no interface eth77"):
        ask(WORLD, running, interface="eth77")


def test_files_of_another_generation_are_refused(running: Running, tmp_path: Path) -> None:
    (tmp_path / "image.json").write_text(json.dumps({**running.metadata, "generation": 10**6}))
    with pytest.raises(AutohepError, match=f"{tmp_path} describes 1000000"):
        Running(running._pins, tmp_path)


def test_where_no_agent_is_the_reason_is_told(running: Running, tmp_path: Path) -> None:
    with pytest.raises(AutohepError, match="no agent has saved an image there"):
        Running(running._pins, tmp_path / "nothing")
    with pytest.raises(KernelError):
        Running(Pins("nobody"), tmp_path)
