"""``hepctl explain --running`` tells what the kernel remembers of the connection."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyagent import manifest
from pyagent.model import Resource
from tests.support import frames
from tests.support.kernel import Kernel
from tests.support.node import Node
from tests.support.policy_world import EntityRule, allow, policy, tcp
from tests.support.resources import host_endpoint

pytestmark = pytest.mark.bpf

RULE = {
    "protocol": "TCP",
    "source": EntityRule(nets=("10.9.0.0/16",)),
    "destination": EntityRule(ports=(80,)),
}


@pytest.fixture
def node(kernel: Kernel, tmp_path: Path) -> Node:
    return Node(kernel, tmp_path / "state")


def asked(node: Node, folder: Path, port: int, *more: str) -> tuple[str, ...]:
    resources = [host_endpoint("h", "n1", {"role": "db"}, expected_ips=("10.0.0.1",)), web()]
    path = folder / "resources.yaml"
    path.write_text("---\n".join(manifest.dump_yaml(manifest.encode(each)) for each in resources))
    ends = ("--from", f"10.9.0.7:{port}", "--to", "10.0.0.1:80/tcp")
    return (
        "explain",
        *ends,
        "--node",
        "n1",
        "--in",
        "eth0",
        "--direction",
        "ingress",
        "--running",
        "-f",
        str(path),
        *more,
    )


def web() -> Resource:
    return policy("web", allow(**RULE), selector="all()")


def test_a_connection_the_kernel_knows_is_told_with_its_rule(node: Node, tmp_path: Path) -> None:
    node.put(web())
    node.kernel.run(frames.frame(tcp("10.9.0.7", port=80, source_port=40001)))
    shown = node.hepctl(*asked(node, tmp_path, 40001)).output
    (line,) = [line for line in shown.splitlines() if line.startswith("connection")]
    assert "opened ingress, allowed by web/ingress[0]" in line


def test_a_connection_it_does_not_know_is_said_to_be_none(node: Node, tmp_path: Path) -> None:
    node.put(web())
    node.kernel.run(frames.frame(tcp("10.9.0.7", port=80, source_port=40001)))
    shown = node.hepctl(*asked(node, tmp_path, 40002)).output
    assert "none is known" in shown


def test_the_document_has_the_connection_of_each_hook(node: Node, tmp_path: Path) -> None:
    node.put(web())
    node.kernel.run(frames.frame(tcp("10.9.0.7", port=80, source_port=40001)))
    (flow,) = node.json(*asked(node, tmp_path, 40001))["connections"].values()
    assert (flow["remotePort"], flow["rule"]) == (40001, "web/ingress[0]")
