"""Bad input: one clear error with its place, the right exit code, and not a byte written."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

GOOD = """apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata:
  name: good
spec:
  node: master
  interfaceName: eth0
"""
POLICY = """apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata:
  name: policy
spec:
  selector: SELECTOR
  ingress:
  - action: ACTION
    source:
      nets: [NETS]
"""


def policy(selector="all()", action="Allow", nets="10.0.0.0/8"):
    return POLICY.replace("SELECTOR", selector).replace("ACTION", action).replace("NETS", nets)


@dataclass(frozen=True)
class Bad:
    """A manifest and what its refusal must name."""

    name: str
    text: str
    names: tuple[str, ...]


BAD = [
    Bad("YAML that does not parse", "kind: [\n", (":2:", "cannot be read")),
    Bad("a tab in the indentation", "kind: Tier\nmetadata:\n\tname: x\n", (":3:",)),
    Bad("a scalar", "just text\n", (":1:",)),
    Bad("an unknown kind", GOOD.replace("HostEndpoint", "Pod"), (":2:", "kind", "'Pod'")),
    Bad("a wrong apiVersion", GOOD.replace("v3", "v9"), (":1:", "apiVersion", "projectcalico.org/v9")),
    Bad(
        "an unknown field",
        GOOD + "  colour: red\n",
        (":8:", "field in document is not recognized or is in the wrong location", "colour"),
    ),
    Bad("a wrong type", GOOD.replace("node: master", "node: [1]"), (":6:", "spec.node")),
    Bad("a missing name", GOOD.replace("  name: good\n", "  labels: {a: b}\n"), ("metadata.name",)),
    Bad("a bad selector", policy(selector="role =="), (":6:", "spec.selector", "'role =='")),
    Bad("a bad action", policy(action="Perhaps"), (":8:", "spec.ingress[0].action", "'Perhaps'")),
    Bad(
        "a bad network", policy(nets="10.0.0.0/33"), (":10:", "spec.ingress[0].source.nets", "'10.0.0.0/33'")
    ),
    Bad(
        "both address families", policy(nets="'10.0.0.0/8', 'fd00::/8'"), ("spec.ingress[0]", "IPv4 and IPv6")
    ),
    Bad(
        "a tier that does not exist",
        policy().replace("selector:", "tier: gone\n  selector:"),
        ("spec.tier", "'gone'"),
    ),
]


def assert_one_clear_error(result, names, code=1):
    """The error is on standard error, names what it is about, and shows no traceback."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    for name in names:
        assert name in result.stderr, result.stderr
    assert "Traceback" not in result.stderr
    assert "internal error" not in result.stderr


@pytest.mark.parametrize("verb", ["apply", "create", "replace"])
@pytest.mark.parametrize("bad", BAD, ids=[bad.name for bad in BAD])
def test_bad_manifest_is_refused_with_its_place_and_nothing_is_written(hepctl, bad, verb):
    hepctl.prepare(GOOD.replace("good", "first"))
    before = hepctl.stored()
    file = hepctl.file("bad.yaml", bad.text)
    result = hepctl(verb, "-f", file)
    place = () if bad.name == "a tier that does not exist" else (file,)
    assert_one_clear_error(result, (*place, *bad.names))
    assert hepctl.stored() == before


@pytest.mark.parametrize("verb", ["apply", "create"])
@pytest.mark.parametrize("bad", BAD, ids=[bad.name for bad in BAD])
def test_one_bad_document_keeps_the_good_ones_beside_it_from_being_written(hepctl, bad, verb):
    hepctl.prepare(GOOD.replace("good", "first"))
    before = hepctl.stored()
    hepctl.file("manifests/a-good.yaml", GOOD)
    hepctl.file("manifests/b-bad.yaml", bad.text)
    hepctl.file("manifests/c-good.yaml", GOOD.replace("good", "also"))
    result = hepctl(verb, "-f", str(hepctl.folder / "manifests"))
    assert_one_clear_error(result, bad.names)
    assert hepctl.stored() == before


def test_good_documents_of_a_directory_are_all_written(hepctl):
    hepctl.file("manifests/a.yaml", GOOD)
    hepctl.file("manifests/below/c.yaml", GOOD.replace("good", "also"))
    folder = str(hepctl.folder / "manifests")
    assert hepctl("apply", "-f", folder).stdout == "Successfully applied 1 'HostEndpoint' resource(s)\n"
    assert hepctl("apply", "-R", "-f", folder).stdout == "Successfully applied 2 'HostEndpoint' resource(s)\n"


def test_a_tier_may_come_with_the_policies_that_need_it(hepctl):
    tier = "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: gone}\nspec: {order: 1}\n"
    text = (
        policy().replace("selector:", "tier: gone\n  selector:").replace("name: policy", "name: gone.policy")
    )
    result = hepctl("apply", "-f", "-", text=f"{text}---\n{tier}")
    assert result.stdout == "Successfully applied 2 resource(s)\n", result.stderr


def test_every_problem_of_every_document_is_told_at_once(hepctl):
    result = hepctl("apply", "-f", "-", text=policy(action="Perhaps") + "---\n" + policy(selector="role =="))
    assert "failed to apply any 'GlobalNetworkPolicy' resources: [" in result.stderr
    assert "Perhaps" in result.stderr
    assert "role ==" in result.stderr


def test_missing_file_is_named(hepctl):
    result = hepctl("apply", "-f", str(hepctl.folder / "nowhere.yaml"))
    assert_one_clear_error(result, ("nowhere.yaml", "No such file"))


def test_stale_version_is_refused_and_the_current_one_accepted(hepctl):
    hepctl.prepare(GOOD)
    version = hepctl.datastore.get("HostEndpoint", "good").metadata.resource_version
    current = GOOD.replace("name: good", f'name: good\n  resourceVersion: "{version}"').replace(
        "eth0", "eth1"
    )
    assert hepctl("replace", "-f", "-", text=current).exit_code == 0
    before = hepctl.stored()
    for verb in ("replace", "apply"):
        result = hepctl(verb, "-f", "-", text=current.replace("eth1", "eth2"))
        assert_one_clear_error(result, ("update conflict: HostEndpoint(good)",))
    assert hepctl.stored() == before


USAGE = [
    ("an unknown verb", ["destroy", "node", "a"], ("No such command 'destroy'",)),
    ("no verb's arguments", ["get"], ("resource type",)),
    ("an unknown option", ["get", "nodes", "--frobnicate"], ("--frobnicate",)),
    ("an unknown output", ["get", "nodes", "-o", "xml"], ("'xml'", "custom-columns")),
    ("a Go template", ["get", "nodes", "-o", "go-template={{.}}"], ("not supported",)),
    ("an unknown heading", ["get", "nodes", "-o", "custom-columns=AGE"], ("'AGE'", "ASN")),
    ("a bad field path", ["get", "nodes", "-o", "custom-columns=A:.x[b]"], (".x[b]",)),
    ("a bad label selector", ["get", "nodes", "-l", "a = = b"], ("a = = b", "position")),
    ("names and a selector", ["get", "nodes", "a", "-l", "b"], ("-l",)),
    ("export of everything", ["get", "nodes", "--export"], ("--export",)),
    ("no file", ["apply"], ("-f",)),
    ("delete without names", ["delete", "nodes"], ("Node",)),
    ("delete of nothing", ["delete"], ("-f",)),
    ("patch without a patch", ["patch", "node", "a"], ("--patch-file",)),
    ("patch of two", ["patch", "node", "a", "b", "-p", "{}"], ("one resource",)),
    ("a bad patch type", ["patch", "node", "a", "-p", "{}", "-t", "magic"], ("magic",)),
    ("label without labels", ["label", "nodes", "a"], ("key=value",)),
    ("label without names", ["label", "nodes", "a=b"], ("--all",)),
    ("an unknown shell", ["completion", "csh"], ("csh",)),
    ("an unknown log level", ["-l", "loud", "get", "nodes"], ("loud",)),
    ("a bad interval", ["controller", "--resync", "0"], ("--resync",)),
]


@pytest.mark.parametrize(("words", "names"), [case[1:] for case in USAGE], ids=[case[0] for case in USAGE])
def test_wrong_command_line_is_a_usage_error_and_touches_nothing(hepctl, words, names):
    assert_one_clear_error(hepctl(*words), names, code=2)
    assert not hepctl.stored()


@pytest.mark.parametrize(
    "words", [["get"], ["delete", "x"], ["patch", "x", "-p", "{}"], ["label", "x", "a=b"]]
)
def test_unknown_kind_is_named_with_the_known_ones(hepctl, words):
    result = hepctl(words[0], "pods", *words[1:])
    assert_one_clear_error(result, ("resource type 'pods' is not supported", "hostendpoints"))
    assert not hepctl.stored()


def test_deleting_with_an_invalid_manifest_needs_only_kind_and_name(hepctl):
    hepctl.prepare(GOOD)
    assert hepctl("delete", "-f", "-", text=GOOD.replace("eth0", "a/b")).exit_code == 0
    assert_one_clear_error(hepctl("delete", "-f", "-", text="kind: HostEndpoint\n"), ("<stdin>:1:",))


def test_unusable_datastore_is_one_line(hepctl):
    file = hepctl.file("a-file", "")
    result = hepctl("get", "nodes", env={"HEPCTL_DATASTORE": file})
    assert_one_clear_error(result, (file,))
    assert_one_clear_error(hepctl("get", "nodes", env={"HEPCTL_DATASTORE": "etcd://x"}), ("etcd://x",))


def test_tier_with_policies_and_built_in_tiers_cannot_be_deleted(hepctl):
    tier = "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: mine}\nspec: {order: 1}\n"
    text = (
        policy().replace("selector:", "tier: mine\n  selector:").replace("name: policy", "name: mine.policy")
    )
    hepctl.prepare(f"{tier}---\n{text}")
    assert_one_clear_error(hepctl("delete", "tier", "mine"), ("mine.policy", "not empty"))
    assert_one_clear_error(hepctl("delete", "tier", "default"), ("cannot be deleted",))
    assert hepctl("delete", "-f", "-", text=f"{tier}---\n{text}").exit_code == 0
