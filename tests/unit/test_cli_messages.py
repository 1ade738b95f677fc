"""hepctl's messages beside the reference's: what scripts that were written for calicoctl look for."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

HEP = """
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: NAME}
spec: {node: master, interfaceName: eth0}
"""
ONE = HEP.replace("NAME", "one")
TWO = HEP.replace("NAME", "two")
POLICY = """
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: open}
spec: {ingress: [{action: Allow}]}
"""
HERE = HEP.replace("NAME", "here")
STALE = HERE.replace("{name: here}", '{name: here, resourceVersion: "999"}')
BAD_INTERFACE = "error with field spec.interfaceName = 'a/b' ("
MISSING_ONE = (
    'resource does not exist: HostEndpoint(one) with error: hostendpoints.projectcalico.org "one" not found'
)


@dataclass(frozen=True)
class Case:
    """One command, the reference's wording for its outcome (placeholders in braces), and ours."""

    name: str
    upstream: str
    words: str
    text: str = ""
    stdout: str = ""
    stderr: str = ""
    code: int = 0


def docs(*texts: str) -> str:
    return "---".join(texts)


CASES = [
    Case(
        "create one",
        "Successfully created {N} '{Kind}' resource(s)",
        "create -f -",
        ONE,
        "Successfully created 1 'HostEndpoint' resource(s)\n",
    ),
    Case(
        "apply one",
        "Successfully applied {N} '{Kind}' resource(s)",
        "apply -f -",
        ONE,
        "Successfully applied 1 'HostEndpoint' resource(s)\n",
    ),
    Case(
        "apply several of a kind",
        "Successfully applied {N} '{Kind}' resource(s)",
        "apply -f -",
        docs(ONE, TWO),
        "Successfully applied 2 'HostEndpoint' resource(s)\n",
    ),
    Case(
        "apply several kinds",
        "Successfully applied {N} resource(s)",
        "apply -f -",
        docs(ONE, POLICY),
        "Successfully applied 2 resource(s)\n",
    ),
    Case(
        "replace",
        "Successfully replaced {N} '{Kind}' resource(s)",
        "replace -f -",
        HERE,
        "Successfully replaced 1 'HostEndpoint' resource(s)\n",
    ),
    Case(
        "delete by name",
        "Successfully deleted {N} '{Kind}' resource(s)",
        "delete hep here",
        stdout="Successfully deleted 1 'HostEndpoint' resource(s)\n",
    ),
    Case(
        "delete by file",
        "Successfully deleted {N} '{Kind}' resource(s)",
        "delete -f -",
        HERE,
        "Successfully deleted 1 'HostEndpoint' resource(s)\n",
    ),
    Case(
        "validate",
        "Successfully validated {N} '{Kind}' resource(s)",
        "validate -f -",
        docs(ONE, TWO),
        "Successfully validated 2 'HostEndpoint' resource(s)\n",
    ),
    Case(
        "patch",
        "Successfully patched 1 '{Kind}' resource",
        'patch hep here -p {"spec":{"node":"other"}}',
        stdout="Successfully patched 1 'HostEndpoint' resource\n",
    ),
    Case(
        "set a label",
        "Successfully set label {K} on {KIND} {NAME}",
        "label hostendpoint here role=web",
        stdout="Successfully set label role on hostendpoint here\n",
    ),
    Case(
        "nothing in the file",
        "No resources specified",
        "apply -f -",
        "# only a comment\n",
        "No resources specified\n",
    ),
    Case(
        "create what exists",
        "failed to create '{Kind}' resource: [resource already exists: {Kind}({name})]",
        "create -f -",
        HERE,
        stderr="failed to create 'HostEndpoint' resource: [resource already exists: HostEndpoint(here)]\n",
        code=1,
    ),
    Case(
        "create what exists, on purpose",
        "Successfully created {N} '{Kind}' resource(s)",
        "create --skip-exists -f -",
        docs(HERE, ONE),
        "Successfully created 2 'HostEndpoint' resource(s)\n",
    ),
    Case(
        "replace what does not exist",
        "failed to replace '{Kind}' resource: [resource does not exist: {Kind}({name}) with error: {error}]",
        "replace -f -",
        ONE,
        stderr=f"failed to replace 'HostEndpoint' resource: [{MISSING_ONE}]\n",
        code=1,
    ),
    Case(
        "delete what does not exist",
        "Failed to delete '{Kind}' resource: [resource does not exist: {Kind}({name}) with error: {error}]",
        "delete hep one",
        stderr=f"Failed to delete 'HostEndpoint' resource: [{MISSING_ONE}]\n",
        code=1,
    ),
    Case(
        "delete what does not exist, on purpose",
        "Successfully deleted {N} '{Kind}' resource(s)",
        "delete --skip-not-exists hep one",
        stdout="Successfully deleted 1 'HostEndpoint' resource(s)\n",
    ),
    Case(
        "delete several, none of which exists",
        "Failed to delete any '{Kind}' resources: [{errors}]",
        "delete hep one one",
        stderr=f"Failed to delete any 'HostEndpoint' resources: [\n  {MISSING_ONE}\n  {MISSING_ONE}\n]\n",
        code=1,
    ),
    Case(
        "a stale resourceVersion",
        "failed to apply '{Kind}' resource: [update conflict: {Kind}({name})]",
        "apply -f -",
        STALE,
        stderr="failed to apply 'HostEndpoint' resource: [update conflict: HostEndpoint(here)]\n",
        code=1,
    ),
    Case(
        "some succeed",
        "Partial success: created the first {n} out of {m} '{Kind}' resources: / hit error: [{errors}]",
        "create -f -",
        docs(ONE, HERE),
        "Partial success: created the first 1 out of 2 'HostEndpoint' resources:\n",
        "hit error: [resource already exists: HostEndpoint(here)]\n",
        1,
    ),
    Case(
        "an invalid resource",
        "failed to apply '{Kind}' resource: [{place}error with field {field} = '{value}' ({reason})]",
        "apply -f -",
        ONE.replace("eth0", "a/b"),
        stderr=f"failed to apply 'HostEndpoint' resource: [<stdin>:5: {BAD_INTERFACE}",
        code=1,
    ),
    Case(
        "an unreadable file",
        "failed to execute command: {error}",
        "apply -f -",
        "a: [1\n",
        stderr="failed to execute command: <stdin>:",
        code=1,
    ),
    Case(
        "an unknown kind on the command line",
        "resource type '{X}' is not supported",
        "get pods",
        stderr="resource type 'pods' is not supported (supported: nodes, ",
        code=1,
    ),
    Case(
        "get what does not exist",
        "resource does not exist: {Kind}({name}) with error: {error}",
        "get hep one",
        stderr=f"{MISSING_ONE}\n",
        code=1,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_outcome_is_told_in_the_references_words(hepctl, case):
    hepctl.prepare(HERE)
    result = hepctl(*case.words.split(), text=case.text)
    assert result.stdout == case.stdout
    assert result.stderr.startswith(case.stderr) if case.stderr else result.stderr == ""
    assert result.exit_code == case.code


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_documented_upstream_wording_is_a_template_of_ours(case):
    """The two columns of the table cannot drift apart: the fixed words of the one are in the other."""
    ours = case.stdout + case.stderr
    fixed = [words for words in re.split(r"\{\w+\}|\s/\s", case.upstream) if words.strip("[]() '")]
    position = 0
    for words in fixed:
        assert words.rstrip("]").rstrip(")") in ours[position:], words
        position = ours.index(words.rstrip("]").rstrip(")"), position)


def test_delete_says_what_the_walkthrough_shows(hepctl):
    hepctl.prepare(POLICY)
    assert (
        hepctl("delete", "gnp", "open").stdout == "Successfully deleted 1 'GlobalNetworkPolicy' resource(s)\n"
    )


def test_replace_stops_at_the_first_error_and_apply_goes_on(hepctl):
    hepctl.prepare(docs(HERE, TWO))
    text = docs(HERE.replace("eth0", "eth1"), STALE, TWO.replace("eth0", "eth2"))
    result = hepctl("replace", "-f", "-", text=text)
    assert "replaced the first 1 out of 3" in result.stdout
    assert hepctl.datastore.get("HostEndpoint", "two").spec.interface_name == "eth0"
    result = hepctl("apply", "-f", "-", text=text)
    assert "applied the first 2 out of 3" in result.stdout
    assert hepctl.datastore.get("HostEndpoint", "two").spec.interface_name == "eth2"


def test_dry_run_says_so_and_writes_nothing(hepctl):
    hepctl.prepare(HERE)
    before = hepctl.stored()
    result = hepctl("apply", "--dry-run=client", "-f", "-", text=ONE)
    assert result.stdout == "Successfully applied 1 'HostEndpoint' resource(s) (dry run)\n"
    assert hepctl("delete", "--dry-run=client", "hep", "here").stdout.endswith("(dry run)\n")
    assert hepctl.stored() == before
