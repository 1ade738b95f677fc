"""``hepctl patch``: three kinds of patch, each checked as strictly as a manifest."""

from __future__ import annotations

import json

import pytest

from pyagent.cli.patching import json_patch, merge_patch, strategic_patch
from pyagent.errors import AutohepError

CONFIGURATION = """
apiVersion: projectcalico.org/v3
kind: KubeControllersConfiguration
metadata: {name: default}
"""
POLICY = """
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: p, labels: {a: "1"}}
spec: {order: 10, selector: all(), ingress: [{action: Allow}, {action: Deny}]}
"""
WALKTHROUGH = '{"spec": {"controllers": {"node": {"hostEndpoint": {"autoCreate": "Enabled"}}}}}'


@pytest.fixture
def filled(hepctl):
    hepctl.prepare(f"{CONFIGURATION}---{POLICY}")
    return hepctl


def policy(hepctl):
    return json.loads(hepctl("get", "gnp", "p", "-o", "json").stdout)


def test_walkthroughs_patch_switches_host_endpoints_on(filled):
    result = filled("patch", "kubecontrollersconfiguration", "default", f"--patch={WALKTHROUGH}")
    assert result.stdout == "Successfully patched 1 'KubeControllersConfiguration' resource\n"
    stored = filled.datastore.get("KubeControllersConfiguration", "default")
    assert stored.spec.controllers.node.host_endpoint.auto_create == "Enabled"
    assert stored.spec.controllers.node.reconciler_period == "5m0s"


def test_lost_brace_is_told_with_its_position(filled):
    before = filled.stored()
    result = filled("patch", "kubecontrollersconfiguration", "default", f"--patch={WALKTHROUGH[:-1]}")
    assert result.exit_code == 1
    assert "not valid JSON" in result.stderr
    assert f"line 1 column {len(WALKTHROUGH)} (character {len(WALKTHROUGH) - 1})" in result.stderr
    assert filled.stored() == before


@pytest.mark.parametrize("text", ['{"spec": {"order": 5}}', "{spec: {order: 5}}", "spec:\n  order: 5\n"])
@pytest.mark.parametrize("kind", ["strategic", "merge"])
def test_patch_is_json_or_yaml(filled, text, kind):
    assert filled("patch", "gnp", "p", "-t", kind, "-p", text).exit_code == 0
    assert policy(filled)["spec"]["order"] == 5
    assert len(policy(filled)["spec"]["ingress"]) == 2


def test_patch_comes_from_a_file_or_standard_input(filled):
    file = filled.file("patch.yaml", "spec: {order: 7}\n")
    assert filled("patch", "gnp", "p", "--patch-file", file).exit_code == 0
    assert policy(filled)["spec"]["order"] == 7
    assert filled("patch", "gnp", "p", "--patch-file", "-", text="spec: {order: 8}").exit_code == 0
    assert policy(filled)["spec"]["order"] == 8
    result = filled("patch", "gnp", "p", "--patch-file", file + ".gone")
    assert result.exit_code == 1
    assert "patch.yaml.gone" in result.stderr


def test_json_patch_edits_lists_in_place(filled):
    operations = [
        {"op": "test", "path": "/spec/ingress/0/action", "value": "Allow"},
        {"op": "add", "path": "/spec/ingress/1", "value": {"action": "Log"}},
        {"op": "remove", "path": "/metadata/labels/a"},
    ]
    assert filled("patch", "gnp", "p", "-t", "json", "-p", json.dumps(operations)).exit_code == 0
    assert [rule["action"] for rule in policy(filled)["spec"]["ingress"]] == ["Allow", "Log", "Deny"]
    assert "a" not in policy(filled)["metadata"]["labels"]


REFUSED = [
    ("merge", '{"spec": {"colour": "red"}}', "colour"),
    ("merge", '{"spec": {"selector": "a =="}}', "spec.selector"),
    ("merge", '{"spec": {"order": "high"}}', "spec.order"),
    ("merge", '{"metadata": {"name": "q"}}', "metadata.name"),
    ("merge", '{"kind": "Tier"}', "kind"),
    ("merge", '{"metadata": {"resourceVersion": "1"}}', "update conflict"),
    ("merge", "[1]", "not a mapping"),
    ("merge", "a: [", "--patch"),
    ("merge", "", "empty"),
    ("strategic", '{"spec": {"$patch": "shred"}}', "shred"),
    ("json", '{"spec": {}}', "list of operations"),
    ("json", '[{"op": "test", "path": "/spec/order", "value": 1}]', "operation 0"),
    ("json", '[{"op": "remove", "path": "/spec/none"}]', "/spec/none"),
    ("json", "[1]", "operation 0"),
]


@pytest.mark.parametrize(("kind", "text", "word"), REFUSED)
def test_bad_patch_is_one_error_and_changes_nothing(filled, kind, text, word):
    before = filled.stored()
    result = filled("patch", "gnp", "p", "-t", kind, "-p", text)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert word in result.stderr
    assert "internal error" not in result.stderr
    assert filled.stored() == before


def test_missing_resource_is_told(filled):
    result = filled("patch", "gnp", "gone", "-p", "{}")
    assert result.stderr.startswith(
        "failed to patch 'GlobalNetworkPolicy' resource: [resource does not exist: "
    )
    assert result.exit_code == 1


def test_merge_patch_follows_its_standard():
    assert merge_patch({"a": {"b": 1, "c": [1]}}, {"a": {"b": None, "c": [2], "d": {"e": None}}}) == {
        "a": {"c": [2], "d": {}}
    }
    assert merge_patch({"a": 1}, {"a": {"b": 2}}) == {"a": {"b": 2}}
    assert merge_patch(["x"], {"a": 1}) == {"a": 1}


def test_strategic_patch_knows_directives():
    assert strategic_patch({"a": {"b": 1}}, {"a": {"$patch": "replace", "c": 2}}) == {"a": {"c": 2}}
    assert strategic_patch({"a": {"b": 1}}, {"a": {"$patch": "delete"}}) == {"a": {}}
    assert strategic_patch({"a": {"b": 1}}, {"a": {"$patch": "merge", "c": 2}}) == {"a": {"b": 1, "c": 2}}


JSON_PATCHES = [
    ({"a": 1}, {"op": "add", "path": "/b", "value": 2}, {"a": 1, "b": 2}),
    ({"a": [1, 3]}, {"op": "add", "path": "/a/1", "value": 2}, {"a": [1, 2, 3]}),
    ({"a": [1]}, {"op": "add", "path": "/a/-", "value": 2}, {"a": [1, 2]}),
    ({"a": 1}, {"op": "add", "path": "", "value": 2}, 2),
    ({"a": 1, "b": 2}, {"op": "remove", "path": "/a"}, {"b": 2}),
    ({"a": [1, 2]}, {"op": "remove", "path": "/a/0"}, {"a": [2]}),
    ({"a": [1, 2]}, {"op": "replace", "path": "/a/1", "value": 3}, {"a": [1, 3]}),
    ({"a/b": 1, "c~d": 2}, {"op": "replace", "path": "/a~1b", "value": 3}, {"a/b": 3, "c~d": 2}),
    ({"c~d": 2}, {"op": "remove", "path": "/c~0d"}, {}),
    ({"a": 1}, {"op": "move", "from": "/a", "path": "/b"}, {"b": 1}),
    ({"a": [1]}, {"op": "copy", "from": "/a/0", "path": "/b"}, {"a": [1], "b": 1}),
    ({"a": {"b": [1, 2]}}, {"op": "test", "path": "/a", "value": {"b": [1, 2]}}, {"a": {"b": [1, 2]}}),
    ({"": 1}, {"op": "replace", "path": "/", "value": 2}, {"": 2}),
]


@pytest.mark.parametrize(("before", "operation", "after"), JSON_PATCHES)
def test_json_patch_follows_its_standard(before, operation, after):
    text = json.dumps(before)
    assert json_patch(before, [operation]) == after
    assert json.dumps(before) == text


JSON_PATCH_ERRORS = [
    ({"a": 1}, {"op": "add", "path": "/b/c", "value": 1}),
    ({"a": [1]}, {"op": "add", "path": "/a/2", "value": 1}),
    ({"a": [1]}, {"op": "add", "path": "/a/01", "value": 1}),
    ({"a": [1]}, {"op": "remove", "path": "/a/-"}),
    ({"a": 1}, {"op": "add", "path": "/a/b", "value": 1}),
    ({"a": 1}, {"op": "replace", "path": "/b", "value": 1}),
    ({"a": 1}, {"op": "add", "path": "/b"}),
    ({"a": 1}, {"op": "add", "path": "b", "value": 1}),
    ({"a": {"b": 1}}, {"op": "move", "from": "/a", "path": "/a/b"}),
    ({"a": 1}, {"op": "test", "path": "/a", "value": True}),
    ({"a": 1}, {"op": "mutate", "path": "/a"}),
]


@pytest.mark.parametrize(("before", "operation"), JSON_PATCH_ERRORS)
def test_json_patch_that_cannot_be_done_is_refused(before, operation):
    with pytest.raises(AutohepError, match="operation 0 of the JSON patch"):
        json_patch(before, [operation])
