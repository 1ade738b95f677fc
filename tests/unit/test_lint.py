"""``hepctl lint``: each fault is found with its place, and what is in order is not complained of."""

from __future__ import annotations

import json

import pytest

from pyagent import manifest
from pyagent.inquiry import Sources, automatic, from_documents
from pyagent.inquiry.hosts import relabelled
from pyagent.lint import Check, Finding, lint
from pyagent.lint import rules as lint_rules
from tests.lab.lab import PROJECT

NODES = """
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {role: web}}
status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2, labels: {role: db}}
status: {addresses: [{type: InternalIP, address: 10.0.0.2}]}
"""


def policy(name: str, *ingress: str, spec: str = "", kind: str = "GlobalNetworkPolicy") -> str:
    rules = "".join(f"\n  - {{{rule}}}" for rule in ingress)
    return (
        f"---\napiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{name: {name}}}\n"
        f"spec:\n  {spec or 'order: 1'}\n  ingress:{rules or ' []'}\n"
    )


def lint_text(text: str) -> list[Finding]:
    sources = from_documents(manifest.load(text, "f.yaml"))
    return lint(sources, automatic(sources.resources))


def told(text: str) -> list[tuple[str, str]]:
    """Check and place of each finding."""
    return [(str(each.check), each.place) for each in lint_text(text)]


ALLOW_80 = "action: Allow, protocol: TCP, destination: {ports: [80]}"
ALLOW_WEB = 'action: Allow, protocol: TCP, destination: {ports: ["80:90"]}'
DENY_80 = "action: Deny, protocol: TCP, destination: {ports: [80]}"
DENY_ALL = "action: Deny"


# -- rules against rules


def test_rules_that_say_different_things_of_different_packets_are_in_order():
    assert told(NODES + policy("a", DENY_80, ALLOW_WEB, "action: Allow, protocol: UDP")) == []


@pytest.mark.parametrize(("name", "found"), [("projectcalico-default-allow", 0), ("mine", 1)])
def test_the_default_allow_profile_that_everybody_has_is_nobodys_fault(name, found):
    profile = (
        f"---\napiVersion: projectcalico.org/v3\nkind: Profile\nmetadata: {{name: {name}}}\n"
        "spec: {ingress: [{action: Allow}]}\n"
        "---\napiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {name: h}\n"
        f"spec: {{node: n1, interfaceName: '*', profiles: [{name}]}}\n"
    )
    assert len(told(NODES + profile + policy("a", ALLOW_80))) == found


def test_a_rule_whose_packets_a_wider_one_takes_before_is_shadowed():
    (found,) = lint_text(NODES + policy("a", ALLOW_WEB, ALLOW_80))
    assert (found.check, found.place, found.file, found.line) == (
        Check.SHADOWED,
        "a/ingress[1]",
        "f.yaml",
        19,
    )
    assert found.message == "never reached: all its packets go to a/ingress[0] (Allow)"


def test_a_rule_that_several_rules_cover_together_is_shadowed():
    halves = [
        f'action: Allow, protocol: TCP, source: {{nets: ["{net}"]}}, destination: {{ports: [80]}}'
        for net in ("0.0.0.0/1", "128.0.0.0/1", "::/0")
    ]
    assert told(NODES + policy("a", *halves, ALLOW_80)) == [("shadowed", "a/ingress[3]")]
    assert told(NODES + policy("a", *halves[:2], ALLOW_80)) == [
        ("redundant", "a/ingress[0]"),
        ("redundant", "a/ingress[1]"),
    ]


def test_a_rule_of_a_later_policy_can_be_shadowed_too():
    text = NODES + policy("a", ALLOW_WEB) + policy("b", ALLOW_80)
    assert told(text) == [("shadowed", "b/ingress[0]")]


def test_a_rule_is_not_shadowed_when_it_is_needed_on_another_node():
    text = NODES + policy("a", ALLOW_WEB, spec="selector: role == 'web'") + policy("b", ALLOW_80)
    assert told(text) == []


def test_a_deny_that_an_allow_forestalls_contradicts_it():
    (found,) = lint_text(NODES + policy("a", ALLOW_WEB, DENY_80))
    assert found.check is Check.CONTRADICTING
    assert found.suggestion == "put the Deny before a/ingress[0] (Allow), or drop one of the two"


def test_a_rule_behind_the_end_of_a_tier_that_denies_is_contradicted_by_it():
    tier = "---\napiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: first}\nspec: {order: 1%s}\n"
    rules = policy("first.a", ALLOW_80, spec="tier: first") + policy("b", ALLOW_WEB)
    (found,) = lint_text(NODES + tier % "" + rules)
    assert (found.check, found.place) == (Check.CONTRADICTING, "b/ingress[0]")
    assert "the end of Tier first (Deny)" in found.message
    assert told(NODES + tier % ", defaultAction: Pass" + rules) == [("redundant", "first.a/ingress[0]")]


def test_a_rule_whose_packets_fare_the_same_without_it_is_redundant():
    (found,) = lint_text(NODES + policy("a", ALLOW_80, "action: Deny, protocol: UDP", ALLOW_WEB))
    assert (found.check, found.place) == (Check.REDUNDANT, "a/ingress[0]")
    assert found.message == (
        "changes nothing: without it a/ingress[2] (Allow) would say the same of its packets"
    )


def test_a_deny_at_the_end_is_explicit_not_redundant():
    assert told(NODES + policy("a", ALLOW_80, DENY_ALL)) == []


def test_of_two_equal_rules_only_the_second_is_reported():
    assert told(NODES + policy("a", ALLOW_80, ALLOW_80)) == [("shadowed", "a/ingress[1]")]


def test_a_log_rule_takes_no_packets_and_is_never_redundant():
    log = ALLOW_80.replace("Allow", "Log")
    assert told(NODES + policy("a", log, ALLOW_80)) == []
    assert told(NODES + policy("a", ALLOW_80, log)) == [("shadowed", "a/ingress[1]")]


def test_a_pass_leaves_the_tier_and_takes_its_packets_along():
    pass_80 = ALLOW_80.replace("Allow", "Pass")
    assert told(NODES + policy("a", pass_80, ALLOW_80)) == [("shadowed", "a/ingress[1]")]


def test_a_staged_policy_is_judged_by_itself():
    text = NODES + policy("a", ALLOW_WEB) + policy("b", ALLOW_80, ALLOW_80, kind="StagedGlobalNetworkPolicy")
    assert told(text) == [("shadowed", "b/ingress[1]")]


def test_policies_are_compared_with_themselves_where_there_are_no_nodes():
    text = policy("a", ALLOW_WEB, ALLOW_80) + policy("b", ALLOW_80)
    assert told(text) == [("shadowed", "a/ingress[1]")]


def test_a_table_that_is_too_large_to_compare_is_named(monkeypatch):
    text = NODES + policy("a", ALLOW_WEB, ALLOW_80)
    assert [check for check, _ in told(text)] == ["shadowed"]
    monkeypatch.setattr(lint_rules, "WORK_MAX", 1)
    assert "not-compared" in [check for check, _ in told(text)]


# -- peers


def test_a_policy_that_selects_no_endpoint_is_found():
    (found,) = lint_text(NODES + policy("a", ALLOW_80, spec="selector: has(roel)"))
    assert (found.check, found.line) == (Check.SELECTS_NOBODY, 16)
    assert found.suggestion == "nothing has a label roel: check the spelling, or label the nodes"


@pytest.mark.parametrize("field", ["namespaceSelector", "serviceAccountSelector"])
def test_a_policy_for_pods_only_selects_nobody(field):
    (found,) = lint_text(NODES + policy("a", ALLOW_80, spec=f"{field}: all()"))
    assert found.check is Check.SELECTS_NOBODY
    assert field in found.message


def test_a_selector_that_picks_nothing_is_found_with_its_line_and_a_hint():
    def rule(text: str) -> str:
        return f'action: Allow, source: {{selector: "{text}"}}'

    (found,) = lint_text(NODES + policy("a", rule("role == 'bd'")))
    assert (found.check, found.place, found.line) == (Check.EMPTY_PEER, "a/ingress[0]", 18)
    assert found.suggestion == "the labels exist, but with other values: check those"
    assert told(NODES + policy("a", rule("role == 'db'"))) == []


def test_a_peer_without_an_address_is_found():
    empty = (
        "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\n"
        "metadata: {name: s, labels: {set: s}}\nspec: {nets: [%s]}\n"
    )
    rule = "action: Allow, source: {selector: has(set)}"
    (found,) = lint_text(NODES + empty % "" + policy("a", rule))
    assert found.message.startswith("what source selector has(set) picks has no address")
    assert told(NODES + empty % "10.9.0.0/16" + policy("a", rule)) == []


def test_a_service_without_endpoints_is_found():
    rule = "action: Allow, source: {services: {name: web, namespace: default}}"
    (found,) = lint_text(NODES + policy("a", rule))
    assert found.message == "source service default/web has no endpoints: the rule never matches"


def test_a_notselector_that_picks_nothing_excludes_nobody():
    rule = "action: Allow, source: {notSelector: has(missing)}"
    (found,) = lint_text(NODES + policy("a", rule))
    assert found.message == "source notSelector has(missing) picks nothing: it excludes nobody"


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (
            "action: Allow, protocol: TCP, destination: {ports: [http]}",
            "no host endpoint has a port named http",
        ),
        (
            'action: Allow, source: {serviceAccounts: {names: ["a"]}}',
            "serviceAccounts match no host endpoint",
        ),
        (
            "action: Allow, protocol: TCP, destination: {ports: [80], notPorts: [80]}",
            "its conditions exclude each other",
        ),
    ],
)
def test_a_rule_that_cannot_match_is_told_with_the_reason(rule, why):
    (found,) = lint_text(NODES + policy("a", rule))
    assert found.check is Check.NEVER_MATCHES
    assert found.message == f"never matches: {why}"


def test_selectors_are_not_blamed_where_there_is_nothing_to_pick():
    rule = "action: Allow, source: {selector: has(role)}"
    assert told(policy("a", rule, spec="selector: has(role)")) == []


def test_a_policy_in_a_tier_that_does_not_exist_is_found():
    (found,) = lint_text(NODES + policy("far.a", ALLOW_80, spec="tier: far"))
    assert (found.check, found.place) == (Check.MISSING_TIER, "far.a")


# -- failsafes

FAILSAFE = """---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {failsafeInboundHostPorts: [{protocol: TCP, port: 22, net: 10.0.0.0/8}]}
"""


def test_a_rule_that_opens_a_failsafe_port_to_everybody_is_found():
    ssh = "action: Allow, protocol: TCP, destination: {ports: [22]}"
    (found,) = lint_text(NODES + policy("a", ssh))
    assert (found.check, found.place) == (Check.FAILSAFE, "a/ingress[0]")
    assert "opens TCP/22 to everybody, which as a failsafe port is open" in found.message
    (found,) = lint_text(NODES + FAILSAFE + policy("a", ssh))
    assert found.message == "opens failsafe port TCP/22 to everybody, not only to 10.0.0.0/8"


@pytest.mark.parametrize(
    "rule",
    [
        'action: Allow, protocol: TCP, source: {nets: ["10.0.0.0/8"]}, destination: {ports: [22]}',
        "action: Allow, protocol: TCP, source: {selector: role == 'db'}, destination: {ports: [22]}",
        "action: Allow, protocol: UDP, destination: {ports: [22]}",
        "action: Allow, protocol: TCP, destination: {ports: [23]}",
        "action: Deny, protocol: TCP, destination: {ports: [22]}",
        "action: Allow",
    ],
)
def test_other_rules_do_not_open_a_failsafe_port(rule):
    assert told(NODES + policy("a", rule)) == []


# -- the command


def test_the_command_tells_the_place_and_a_suggestion_and_is_strict_only_when_asked(hepctl):
    file = hepctl.file("p.yaml", NODES + policy("a", ALLOW_WEB, ALLOW_80))
    result = hepctl("lint", "-f", file)
    assert result.exit_code == 0
    assert result.stdout == (
        f"{file}:19: shadowed: GlobalNetworkPolicy a/ingress[1] never reached: all its packets go to "
        "a/ingress[0] (Allow)\n    drop it, or put it before what takes its packets\n1 finding\n"
    )
    assert hepctl("lint", "--strict", "-f", file).exit_code == 1


def test_the_command_is_content_with_policies_in_order(hepctl):
    file = hepctl.file("p.yaml", NODES + policy("a", ALLOW_80))
    result = hepctl("lint", "--strict", "-f", file)
    assert (result.exit_code, result.stdout) == (0, "nothing found\n")


def test_json_lists_the_findings(hepctl):
    file = hepctl.file("p.yaml", NODES + policy("a", ALLOW_WEB, ALLOW_80))
    (found,) = json.loads(hepctl("lint", "-o", "json", "-f", file).stdout)
    assert (found["check"], found["place"], found["line"]) == ("shadowed", "a/ingress[1]", 19)


def test_a_datastore_is_linted_as_it_is(hepctl):
    hepctl.prepare(policy("a", ALLOW_WEB, ALLOW_80))
    result = hepctl("lint")
    assert result.stdout.startswith("shadowed: GlobalNetworkPolicy a/ingress[1] never reached")


def test_an_invalid_manifest_is_refused(hepctl):
    result = hepctl("lint", "-f", "-", text=policy("a", "action: Perhaps"))
    assert result.exit_code == 1
    assert "<stdin>:8: error with field spec.ingress[0].action = 'Perhaps'" in result.stderr


def test_the_walkthroughs_policies_have_two_findings_once_its_nodes_are_labelled():
    labels = {
        "master": {"kubernetes-host": "", "node-role.kubernetes.io/master": ""},
        "node1": {"kubernetes-host": "", "kubernetes-worker": ""},
    }
    documents = manifest.load_paths(
        [str(PROJECT / "examples" / "seed" / f"{name}.yaml") for name in ("nodes", "ingress-k8s-masters")]
        + [str(PROJECT / "examples" / "seed" / "global-access.yaml")]
        + [str(PROJECT / "examples" / "seed" / "internal-access.yaml")]
        + [str(PROJECT / "examples" / "seed" / "ingress-k8s-workers.yaml")]
    )
    sources = from_documents(documents)
    resources = tuple(relabelled(sources.resources, labels))
    found = lint(Sources(resources, sources.documents), automatic(resources))
    assert [(str(each.check), each.place) for each in found] == [
        ("failsafe", "ingress-k8s-masters/ingress[0]"),
        ("shadowed", "internal-access/ingress[0]"),
    ]


def test_report_shadowed_shows_the_rules_that_are_of_no_use(hepctl):
    file = hepctl.file("p.yaml", NODES + policy("a", ALLOW_WEB, ALLOW_80))
    found = json.loads(hepctl("report", "shadowed", "-o", "json", "-f", file).output)
    assert [(each["check"], each["place"]) for each in found] == [("shadowed", "a/ingress[1]")]
    assert "a/ingress[1]" in hepctl("report", "shadowed", "-f", file).output
    file = hepctl.file("q.yaml", NODES + policy("a", ALLOW_80))
    assert hepctl("report", "shadowed", "-f", file).output == "nothing found\n"
