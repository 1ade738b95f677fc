"""What a cluster itself says to manifests, with our definitions in it: the stand-in as the real one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pyagent.datastore.kubernetes.connection import Connection
from pyagent.datastore.kubernetes.places import collection
from pyagent.errors import ManifestError
from tests.support.own_names import OwnNames
from tests.unit.test_crds import ONLY_THE_CONTROLLER
from tests.unit.test_manifest_validation import CASES

#: One case of every kind of rule; that the schema has an opinion on all of them is a unit test's matter.
SAMPLE = (
    "9",
    "10 length",
    "14",
    "17 untracked",
    "18 twice",
    "22 ingress",
    "24 value",
    "25",
    "26 high",
    "27 number",
)
SAMPLE += (
    "28",
    "29 zero",
    "31",
    "32",
    "33 type",
    "34 ICMP",
    "38",
    "40 direction",
    "41 place",
    "41 selector",
    "42 ports",
)
SAMPLE += ("2", "44 value", "46 protocol", "1.4 unique", "45 name")


def create(connection: Connection, cluster: OwnNames, document: dict[str, Any]) -> dict[str, Any]:
    """Send a manifest as it is, under a name of the test's own; nothing of it is kept."""
    kind = document["kind"]
    name = document["metadata"]["name"]
    own = name if kind == "KubeControllersConfiguration" else cluster.mark + name
    body = {**document, "metadata": {**document["metadata"], "name": own}}
    dry = [("dryRun", "All")]
    answer = connection.request("POST", collection(kind), kind, own, query=dry, body=body)
    created: dict[str, Any] = msgspec.json.decode(answer.body)
    return created


@pytest.mark.parametrize("case", [case for case in CASES if case[0] in SAMPLE], ids=lambda case: case[0])
def test_the_cluster_refuses_what_is_invalid_and_accepts_its_valid_neighbour(
    connection: Connection, cluster: OwnNames, case: Any
) -> None:
    assert case[0] not in ONLY_THE_CONTROLLER
    with pytest.raises(ManifestError):
        create(connection, cluster, case[1])
    assert create(connection, cluster, case[4])["kind"] == case[4]["kind"]


def test_the_cluster_fills_in_defaults_and_drops_what_it_does_not_know(
    connection: Connection, cluster: OwnNames
) -> None:
    document = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "p"},
        "spec": {"selector": "all()", "novelty": 1},
    }
    assert create(connection, cluster, document)["spec"] == {"selector": "all()", "tier": "default"}


def test_every_cause_of_a_refusal_is_said(connection: Connection, cluster: OwnNames) -> None:
    rules = [{"action": "allow"}, {"action": "Allow", "ipVersion": 5}]
    document = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "p"},
        "spec": {"ingress": rules},
    }
    with pytest.raises(ManifestError) as refusal:
        create(connection, cluster, document)
    paths = {problem.path for problem in refusal.value.problems}
    assert {"spec.ingress[0].action", "spec.ingress[1].ipVersion"} <= paths
