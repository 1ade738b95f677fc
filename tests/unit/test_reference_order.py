"""Which policy is asked when: tiers, order, names, Pass, Log, staged policies, profiles, types, selection."""

from __future__ import annotations

import json

import pytest

from tests.support.small_world import (
    WORLD6,
    endpoint,
    judge,
    judge_out,
    outgoing,
    packet,
    policy,
    resource,
    rule,
    staged,
    tier,
)

DEFAULT_ALLOW = {"profiles": ["projectcalico-default-allow"]}
ALLOW, DENY, PASS, LOG = (rule(action) for action in ("Allow", "Deny", "Pass", "Log"))


def decider(*resources, what=None):
    return judge(what or packet(), endpoint(), *resources).policy


def test_the_first_matching_rule_of_a_policy_decides():
    decision = judge(packet(80), endpoint(), policy("p", rule("Deny", protocol="UDP"), ALLOW, DENY))
    assert (decision.allowed, str(decision.rule)) == (True, "p/ingress[1]")


def test_the_smaller_order_is_asked_first_and_no_order_last():
    early, late, none = policy("z", DENY, order=10), policy("y", ALLOW, order=20.5), policy("a", ALLOW)
    assert decider(late, none, early) == "z"
    assert decider(none, late) == "y"
    assert decider(policy("x", DENY, order=-1), early) == "x"


@pytest.mark.parametrize(("first", "second"), [("a", "b"), ("a-b", "a"), ("a1", "aa"), ("a.b", "a")])
def test_ties_go_by_the_bytes_of_name_and_kind(first, second):
    assert decider(policy(second, ALLOW, order=1), policy(first, DENY, order=1)) == first
    assert decider(policy(second, ALLOW), policy(first, DENY)) == first


def test_tiers_go_by_order_then_name_and_those_that_do_not_exist_come_last():
    tiers = [tier("b", 5), tier("a", 5), tier("unset"), tier("second", 6)]
    policies = [policy(f"in-{name}", DENY, tier=name) for name in ("missing", "unset", "second", "b", "a")]
    asked = []
    while policies:
        asked.append(decider(*tiers, *policies).removeprefix("in-"))
        policies = [each for each in policies if each.name != f"in-{asked[-1]}"]
    assert asked == ["a", "b", "second", "unset", "missing"]


def test_the_built_in_tiers_exist_with_their_order_and_end():
    in_default, in_admin, in_baseline = (
        policy("d", rule("Deny", protocol="UDP")),
        policy("a", rule("Deny", protocol="UDP"), tier="kube-admin"),
        policy("b", ALLOW, tier="kube-baseline"),
    )
    assert decider(in_default, in_admin, in_baseline, what=packet(protocol="UDP")) == "a"
    assert decider(in_admin, in_baseline) == "b"
    assert judge(packet(), endpoint(), in_default, in_baseline).because == "end of tier default"


def test_the_end_of_a_tier_denies_unless_its_default_action_is_pass():
    nothing = policy("p", rule("Deny", protocol="UDP"), tier="t")
    after = policy("q", ALLOW)
    assert judge(packet(), endpoint(), tier("t", 1), nothing, after).because == "end of tier t"
    assert judge(packet(), endpoint(), tier("t", 1, "Pass"), nothing, after).policy == "q"


def test_pass_leaves_the_tier_for_the_next_one():
    passing, skipped, after = policy("p", PASS, tier="t"), policy("q", DENY, tier="t"), policy("r", ALLOW)
    assert judge(packet(), endpoint(), tier("t", 1), passing, skipped, after).policy == "r"
    assert judge(packet(), endpoint(), tier("t", 1), skipped, after).policy == "q"


def test_pass_in_the_last_tier_goes_to_the_profiles():
    assert (
        judge(packet(), endpoint(**DEFAULT_ALLOW), policy("p", PASS)).profile == "projectcalico-default-allow"
    )
    assert not judge(packet(), endpoint(), policy("p", PASS)).allowed


def test_log_is_noted_and_the_next_rule_decides():
    decision = judge(packet(), endpoint(), policy("p", LOG, rule("Log", protocol="UDP"), ALLOW))
    assert decision.allowed
    assert [str(place) for place in decision.logged] == ["p/ingress[0]"]
    assert judge(packet(), endpoint(), policy("p", LOG)).because == "end of tier default"


def test_staged_policies_are_noted_and_never_decide():
    trial, real = staged("trial", rule("Deny", protocol="UDP"), DENY, order=1), policy("real", ALLOW, order=2)
    decision = judge(packet(), endpoint(), trial, real)
    assert decision.policy == "real"
    (outcome,) = decision.staged
    assert (outcome.policy, outcome.action, str(outcome.rule)) == ("trial", "Deny", "trial/ingress[1]")
    (outcome,) = judge(
        packet(), endpoint(), staged("other", rule("Deny", protocol="UDP"), order=1), real
    ).staged
    assert (outcome.action, outcome.rule) == ("none", None)


def test_a_tier_of_staged_policies_only_passes_at_its_end():
    trial = staged("trial", rule("Deny", protocol="UDP"))
    assert judge(packet(), endpoint(**DEFAULT_ALLOW), trial).allowed
    assert not judge(packet(), endpoint(**DEFAULT_ALLOW), trial, policy("p", rule(protocol="UDP"))).allowed


def test_a_staged_policy_to_be_deleted_or_ignored_is_not_tried():
    assert judge(packet(), endpoint(), staged("trial", DENY, stagedAction="Ignore")).staged == ()
    assert judge(packet(), endpoint(), staged("trial", DENY, stagedAction="Delete")).staged == ()
    assert len(judge(packet(), endpoint(), staged("trial", DENY, stagedAction="Learn")).staged) == 1


def test_without_a_policy_the_profiles_decide_in_their_order():
    first = resource("Profile", "first", {"ingress": [rule("Deny", protocol="UDP")]})
    second = resource("Profile", "second", {"ingress": [rule(protocol="UDP"), rule(protocol="TCP")]})
    own = endpoint(profiles=["first", "second"])
    assert str(judge(packet(), own, first, second).rule) == "second/ingress[1]"
    assert str(judge(packet(protocol="UDP"), own, first, second).rule) == "first/ingress[0]"
    assert judge(packet(protocol=47), own, first, second).because == "no profile allows it"


def test_pass_in_a_profile_denies():
    passing = resource("Profile", "first", {"ingress": [PASS]})
    assert not judge(packet(), endpoint(profiles=["first", "projectcalico-default-allow"]), passing).allowed


def test_a_missing_profile_allows_nothing():
    assert not judge(packet(), endpoint(profiles=["missing"])).allowed
    assert judge(packet(), endpoint(profiles=["missing", "projectcalico-default-allow"])).allowed


def test_without_policy_and_profile_everything_local_is_dropped():
    assert judge(packet(), endpoint()).because == "the endpoint has no profile"
    assert not judge(packet(source=WORLD6), endpoint()).allowed


def test_each_direction_is_judged_for_itself():
    ingress_only = policy("p", rule("Deny"))
    assert not judge(packet(), endpoint(**DEFAULT_ALLOW), ingress_only).allowed
    assert (
        judge_out(outgoing(), endpoint(**DEFAULT_ALLOW), ingress_only).profile
        == "projectcalico-default-allow"
    )


@pytest.mark.parametrize(
    ("spec", "ingress", "egress"),
    [
        ({}, True, False),
        ({"ingress": [ALLOW]}, True, False),
        ({"egress": [ALLOW]}, False, True),
        ({"ingress": [ALLOW], "egress": [ALLOW]}, True, True),
        ({"types": ["Egress"], "ingress": [ALLOW]}, False, True),
        ({"types": ["Ingress", "Egress"]}, True, True),
    ],
)
def test_types_say_in_which_direction_a_policy_applies(spec, ingress, egress):
    allowing = [endpoint(**DEFAULT_ALLOW), resource("GlobalNetworkPolicy", "p", spec)]
    by_policy = (
        judge(packet(), *allowing).profile is None,
        judge_out(outgoing(), *allowing).profile is None,
    )
    assert by_policy == (ingress, egress)


def test_a_policy_applies_to_endpoints_that_its_selector_picks():
    master = endpoint(labels={"role": "master"}, **DEFAULT_ALLOW)
    assert not judge(packet(), master, policy("p", DENY, selector="role == 'master'")).allowed
    assert judge(packet(), master, policy("p", DENY, selector="role == 'worker'")).allowed
    assert not judge(packet(), master, policy("p", DENY, selector="")).allowed


def test_labels_of_profiles_count_for_selection_but_the_own_label_wins():
    profile = resource("Profile", "zone", {"labelsToApply": {"zone": "a", "role": "x"}, "ingress": [ALLOW]})
    own = endpoint(labels={"role": "master"}, profiles=["zone"])
    assert not judge(packet(), own, profile, policy("p", DENY, selector="zone == 'a'")).allowed
    assert judge(packet(), own, profile, policy("p", DENY, selector="role == 'x'")).allowed


def test_policies_for_namespaces_and_service_accounts_select_no_host():
    for field in ("namespaceSelector", "serviceAccountSelector"):
        assert judge(packet(), endpoint(**DEFAULT_ALLOW), policy("p", DENY, **{field: "all()"})).allowed


def test_a_decision_encodes_to_json():
    plain = judge(packet(), endpoint(), policy("p", LOG, ALLOW), staged("s", DENY, order=1)).to_json()
    assert json.loads(json.dumps(plain))["trace"] == plain["trace"]
    assert (plain["verdict"], plain["reason"], plain["where"]) == ("Allow", "POLICY_ALLOW", "p/ingress[1]")
    assert plain["staged"][0]["rule"]["owner"] == "s"
