"""A policy set that does not fit leaves the last one in force, also on interfaces that come meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.lab.convergence import settle

pytestmark = pytest.mark.netns

ENABLE = '{"spec": {"controllers": {"node": {"hostEndpoint": {"autoCreate": "Enabled"}}}}}'
NODE = "master"
PORT = 9000


def closed(name: str) -> str:
    """A policy that lets nothing in but SSH, which is a failsafe anyway."""
    return json.dumps({
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": name},
        "spec": {"types": ["Ingress"], "ingress": []},
    })  # fmt: skip


def too_large() -> str:
    """Every source port class with every destination port class: more combinations than a table can hold."""
    rules = [
        {
            "action": "Allow",
            "protocol": "TCP",
            "source": {
                "ports": [f"{1000 + 40 * n}:{40000 + 20 * n}"],
                "nets": [f"10.{n % 250}.{n // 250}.0/24"],
            },
            "destination": {"ports": [f"{2000 + 30 * n}:{30000 + 25 * n}"]},
        }
        for n in range(700)
    ]
    return json.dumps({
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "too-large"},
        "spec": {"types": ["Ingress"], "ingress": rules},
    })  # fmt: skip


@pytest.fixture
def lab(whole_lab: Lab) -> Iterator[Lab]:
    whole_lab.hepctl("patch", "kubecontrollersconfiguration", "default", f"--patch={ENABLE}")
    settle(whole_lab)
    yield whole_lab
    whole_lab.exec(NODE, ["ip", "link", "del", "late0"])


def test_a_policy_set_that_does_not_fit_leaves_the_last_one_in_force_everywhere(lab: Lab) -> None:
    assert lab.connect("external", NODE, PORT).reached
    lab.hepctl("apply", "-f", "-", stdin=closed("closed"))
    settle(lab)
    assert not lab.connect("external", NODE, PORT).reached
    generation = lab.status(NODE)["generation"]

    lab.hepctl("apply", "-f", "-", stdin=too_large())
    lab.wait(lambda: bool(lab.status(NODE).get("problem")), "the agent refuses the policy set")
    status = lab.status(NODE)
    assert "needs" in status["problem"]
    assert "have" in status["problem"]
    assert "too-large" in status["problem"]
    assert (status["ready"], status["protected"], status["generation"]) == (False, False, generation)
    assert not lab.connect("external", NODE, PORT).reached
    assert lab.connect("external", NODE, 22).reached

    lab.exec(NODE, ["ip", "link", "add", "late0", "type", "bridge"])
    lab.wait(
        lambda: any(each["name"] == "late0" for each in lab.status(NODE)["interfaces"]),
        "a new interface is covered by the policy in force",
    )

    lab.hepctl("delete", "gnp", "too-large")
    settle(lab)
    lab.wait(lambda: lab.status(NODE)["ready"], "the agent is content again")
    assert not lab.connect("external", NODE, PORT).reached
