"""``hepctl validate``: offline, every document, for people and for scripts."""

from __future__ import annotations

import json

GOOD = """apiVersion: projectcalico.org/v3
kind: Tier
metadata:
  name: good
"""
BAD = """apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata:
  name: bad
spec:
  selector: "a =="
  ingress:
  - action: Perhaps
"""


def test_valid_documents_are_counted(hepctl):
    assert hepctl("validate", "-f", "-", text=GOOD).stdout == "Successfully validated 1 'Tier' resource(s)\n"


def test_nothing_but_the_files_is_needed(hepctl):
    result = hepctl("validate", "-f", "-", text=GOOD, env={"HEPCTL_DATASTORE": "/proc/none"})
    assert result.exit_code == 0
    assert not hepctl.store.exists()


def test_problems_of_a_valid_kind_are_told_with_their_places(hepctl):
    result = hepctl("validate", "-f", "-", text=BAD)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("failed to validate any 'GlobalNetworkPolicy' resource") or (
        "failed to validate 'GlobalNetworkPolicy' resource: [" in result.stderr
    )
    assert "<stdin>:6: error with field spec.selector" in result.stderr
    assert "<stdin>:8: error with field spec.ingress[0].action" in result.stderr


def test_valid_ones_beside_invalid_ones_are_a_partial_success(hepctl):
    result = hepctl("validate", "-f", "-", text=f"{GOOD}---\n{BAD}")
    assert result.stdout == "Partial success: validated the first 1 out of 2 resources:\n"
    assert result.stderr.startswith("hit error: [")
    assert result.exit_code == 1


def test_json_has_one_entry_for_every_document(hepctl):
    hepctl.file("manifests/a.yaml", f"{GOOD}---\n{BAD}")
    hepctl.file("manifests/b.yaml", "kind: [\n")
    hepctl.file("manifests/deep/c.json", json.dumps({"kind": "Pod", "metadata": {"name": "p"}}))
    folder = str(hepctl.folder / "manifests")
    result = hepctl("validate", "-f", folder, "-o", "json")
    assert result.exit_code == 1
    assert result.stderr == ""
    entries = json.loads(result.stdout)
    assert [set(entry) for entry in entries] == [{"file", "kind", "name", "valid", "errors"}] * 3
    assert [(entry["kind"], entry["name"], entry["valid"]) for entry in entries] == [
        ("Tier", "good", True),
        ("GlobalNetworkPolicy", "bad", False),
        ("", "", False),
    ]
    assert [entry["file"] for entry in entries] == [f"{folder}/a.yaml"] * 2 + [f"{folder}/b.yaml"]
    assert entries[0]["errors"] == []
    assert any("line 11: error with field spec.selector = 'a =='" in error for error in entries[1]["errors"])
    deep = json.loads(hepctl("validate", "-R", "-f", folder, "-o", "json").stdout)
    assert (deep[3]["kind"], deep[3]["name"], deep[3]["valid"]) == ("Pod", "p", False)


def test_json_of_valid_documents_exits_with_zero(hepctl):
    result = hepctl("validate", "-f", "-", "-o", "json", text=GOOD)
    assert result.exit_code == 0
    assert json.loads(result.stdout)[0]["valid"] is True


def test_unknown_tier_is_not_an_offline_matter(hepctl):
    policy = BAD.partition("spec:")[0].replace("bad", "gone.bad") + "spec: {tier: gone}\n"
    assert hepctl("validate", "-f", "-", text=policy).exit_code == 0
