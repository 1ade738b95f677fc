"""``hepctl label``: calicoctl's words for one resource, kubectl's for many; all refused or all done."""

from __future__ import annotations

import pytest

NODE = "apiVersion: v1\nkind: Node\nmetadata: {name: NAME, labels: {os: linux}}\n"


@pytest.fixture
def nodes(hepctl):
    hepctl.prepare("---\n".join(NODE.replace("NAME", name) for name in ("master", "node1", "node2")))
    return hepctl


def labels(hepctl, name="master"):
    return hepctl.datastore.get("Node", name).metadata.labels


def test_walkthrough_labels_all_nodes(nodes):
    result = nodes("label", "nodes", "--all", "kubernetes-host=")
    assert result.stdout == "node/master labeled\nnode/node1 labeled\nnode/node2 labeled\n"
    assert labels(nodes, "node2") == {"os": "linux", "kubernetes-host": ""}


def test_walkthrough_labels_the_master_and_each_worker(nodes):
    key = "node-role.kubernetes.io/master"
    assert (
        nodes("label", "nodes", "master", f"{key}=").stdout
        == f"Successfully set label {key} on nodes master\n"
    )
    assert labels(nodes) == {"os": "linux", key: ""}
    assert nodes("label", "node", "node1", "kubernetes-worker=").exit_code == 0
    assert labels(nodes, "node1") == {"os": "linux", "kubernetes-worker": ""}


ONE = [
    ("set", ["role=web"], "Successfully set label role on node master\n", {"os": "linux", "role": "web"}),
    (
        "update",
        ["os=bsd", "--overwrite"],
        "Successfully updated label os on node master\n",
        {"os": "bsd"},
    ),
    ("remove by option", ["os", "--remove"], "Successfully removed label os from node master\n", {}),
    ("remove by dash", ["os-"], "Successfully removed label os from node master\n", {}),
    (
        "several",
        ["a=1", "b=2", "os-"],
        (
            "Successfully set label a on node master\nSuccessfully set label b on node master\n"
            "Successfully removed label os from node master\n"
        ),
        {"a": "1", "b": "2"},
    ),
    ("nothing new", ["os=linux"], "node/master not labeled\n", {"os": "linux"}),
    ("nothing there", ["gone-"], 'label "gone" not found.\nnode/master not labeled\n', {"os": "linux"}),
]


@pytest.mark.parametrize(("words", "stdout", "after"), [c[1:] for c in ONE], ids=[c[0] for c in ONE])
def test_one_resource_is_told_label_by_label(nodes, words, stdout, after):
    result = nodes("label", "node", "master", *words)
    assert (result.stdout, result.stderr, result.exit_code) == (stdout, "", 0)
    assert labels(nodes) == after


def test_many_resources_are_told_line_by_line(nodes):
    assert nodes("label", "node", "node1", "zone=a").exit_code == 0
    assert (
        nodes("label", "nodes", "node1", "node2", "zone=a").stdout
        == "node/node1 not labeled\nnode/node2 labeled\n"
    )
    assert (
        nodes("label", "nodes", "-l", "zone=a", "zone-").stdout
        == "node/node1 unlabeled\nnode/node2 unlabeled\n"
    )
    assert nodes("label", "nodes", "-l", "has(os)", "--remove", "os").stdout.count("unlabeled") == 3


def test_changing_a_value_needs_overwrite_and_refuses_all(nodes):
    assert nodes("label", "node", "node2", "zone=b").exit_code == 0
    before = nodes.stored()
    result = nodes("label", "nodes", "--all", "zone=a")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        "failed to label Node(node2): 'zone' already has a value (b), and --overwrite is false\n"
    )
    assert nodes.stored() == before
    assert nodes("label", "nodes", "--all", "zone=a", "--overwrite").exit_code == 0
    assert labels(nodes, "node2")["zone"] == "a"


@pytest.mark.parametrize("word", ["bad key=x", f"a={'x' * 64}", "/=x"])
def test_impossible_label_is_refused_and_nothing_is_written(nodes, word):
    before = nodes.stored()
    result = nodes("label", "nodes", "--all", word)
    assert result.exit_code == 1
    assert "metadata.labels" in result.stderr
    assert nodes.stored() == before


def test_missing_resource_is_named_and_the_others_are_labelled(nodes):
    result = nodes("label", "nodes", "master", "gone", "a=1")
    assert result.stdout == "node/master labeled\n"
    assert result.stderr == 'resource does not exist: Node(gone) with error: nodes "gone" not found\n'
    assert result.exit_code == 1


def test_selector_that_picks_nothing_says_so(nodes):
    result = nodes("label", "nodes", "-l", "none", "a=1")
    assert (result.stdout, result.stderr, result.exit_code) == ("", "No resources found\n", 0)
