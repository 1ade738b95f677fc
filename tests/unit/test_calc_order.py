"""The order of tiers and policies, and what the end of a tier does."""

from __future__ import annotations

from typing import Any

import pytest

from pyagent.abi import Action, TableKind
from pyagent.calc import NodeView
from pyagent.calc.view import RuleAction
from tests.support.policy_world import Rule, allow, decide, deny, policy, table, tcp, tier, view_of
from tests.support.resources import host_endpoint

HEP = host_endpoint("all", "n1", {"role": "db"})


def order(view: NodeView) -> list[tuple[str, list[str]]]:
    return [(each.name, [p.name for p in each.policies]) for each in table(view).tiers]


def test_tiers_stand_by_order_then_name_and_unset_orders_last() -> None:
    tiers = [tier("z", 5), tier("b", 10), tier("a", 10), tier("none-b"), tier("none-a")]
    view = view_of(HEP, *tiers, *(policy(f"p-{each.name}", tier=each.name) for each in tiers))
    assert [name for name, _ in order(view)] == ["z", "a", "b", "none-a", "none-b"]


def test_predefined_tiers_stand_where_the_reference_has_them() -> None:
    names = ("kube-baseline", "default", "kube-admin")
    view = view_of(HEP, tier("early", 999), *(policy(f"p-{name}", tier=name) for name in (*names, "early")))
    assert [name for name, _ in order(view)] == ["early", "kube-admin", "default", "kube-baseline"]
    ends = {each.name: each.end for each in table(view).tiers}
    assert ends["kube-admin"] is ends["kube-baseline"] is RuleAction.PASS
    assert ends["default"] is RuleAction.DENY


def test_a_tier_that_is_only_referred_to_comes_last_and_is_reported() -> None:
    view = view_of(HEP, policy("p", tier="a-ghost"), policy("q", tier="late"), tier("late"))
    assert [name for name, _ in order(view)] == ["late", "a-ghost"]
    assert view.warnings == ("Tier a-ghost does not exist; its policies come after all other tiers",)


def test_a_policy_without_a_tier_is_in_the_default_tier() -> None:
    assert order(view_of(HEP, policy("p", tier=""))) == [("default", ["p"])]


def test_policies_stand_by_order_then_name_and_unset_orders_last() -> None:
    policies = [
        policy("z", order=1),
        policy("b", order=2),
        policy("a", order=2),
        policy("none"),
        policy("big", order=1e9),
    ]
    assert order(view_of(HEP, *policies)) == [("default", ["z", "a", "b", "big", "none"])]


def test_ties_of_policies_go_by_the_bytes_of_name_and_kind() -> None:
    view = view_of(HEP, policy("p", staged="Set"), policy("p"), policy("p-1"), policy("P"))
    assert [(p.name, p.staged) for p in table(view).tiers[0].policies] == [
        ("P", False), ("p-1", False), ("p", False), ("p", True),
    ]  # fmt: skip


@pytest.mark.parametrize("types", [("Ingress",), ("Egress",), ("Ingress", "Egress")])
def test_a_tier_counts_only_in_the_directions_of_its_policies_types(types: tuple[str, ...]) -> None:
    view = view_of(HEP, policy("p", allow(), types=types))
    assert bool(table(view, TableKind.LOCAL_INGRESS).tiers) == ("Ingress" in types)
    assert bool(table(view, TableKind.LOCAL_EGRESS).tiers) == ("Egress" in types)


def test_types_follow_from_the_rules_where_none_are_given() -> None:
    def directions(**spec: Any) -> tuple[bool, bool]:
        view = view_of(HEP, policy("p", types=(), **spec))
        return bool(table(view).tiers), bool(table(view, TableKind.LOCAL_EGRESS).tiers)

    assert directions() == (True, False)
    assert directions(egress=(allow(),)) == (False, True)
    both = view_of(HEP, policy("p", allow(), types=(), egress=(allow(),)))
    assert table(both).tiers
    assert table(both, TableKind.LOCAL_EGRESS).tiers


def test_a_tier_without_a_policy_for_this_endpoint_does_not_count() -> None:
    other = policy("p", tier="first", selector="role == 'web'")
    assert order(view_of(HEP, tier("first", 1), other)) == []
    same = policy("p", tier="first", selector="role == 'db'")
    assert order(view_of(HEP, tier("first", 1), same)) == [("first", ["p"])]


def test_the_end_of_a_tier_denies_unless_it_passes() -> None:
    later = policy("later", allow())
    strict = view_of(HEP, tier("first", 1), policy("p", tier="first"), later)
    assert decide(table(strict), tcp("10.1.1.1")) is Action.DENY
    passing = view_of(HEP, tier("first", 1, "Pass"), policy("p", tier="first"), later)
    assert decide(table(passing), tcp("10.1.1.1")) is Action.ALLOW


def test_pass_leaves_the_tier_and_a_later_deny_of_it_is_not_met() -> None:
    rules = (Rule(action="Pass"), deny())
    view = view_of(HEP, tier("first", 1), policy("p", *rules, tier="first"), policy("later", allow()))
    assert decide(table(view), tcp("10.1.1.1")) is Action.ALLOW
    without = view_of(HEP, tier("first", 1), policy("p", rules[1], tier="first"), policy("later", allow()))
    assert decide(table(without), tcp("10.1.1.1")) is Action.DENY


def test_a_tier_of_staged_policies_only_passes() -> None:
    staged = policy("p", deny(), tier="first", staged="Set")
    view = view_of(HEP, tier("first", 1), staged, policy("later", allow()))
    assert table(view).tiers[0].end is RuleAction.PASS
    assert table(view).tiers[0].policies[0].staged
    assert decide(table(view), tcp("10.1.1.1")) is Action.ALLOW


def test_one_enforced_policy_makes_the_tiers_end_deny() -> None:
    staged, enforced = policy("p", allow(), staged="Learn"), policy("q", allow(protocol="UDP"))
    view = view_of(HEP, staged, enforced)
    assert [(p.name, p.staged) for p in table(view).tiers[0].policies] == [("p", True), ("q", False)]
    assert decide(table(view), tcp("10.1.1.1")) is Action.DENY


@pytest.mark.parametrize(
    ("action", "evaluated"), [("Set", True), ("Learn", True), ("Ignore", False), ("Delete", False)]
)
def test_staged_actions_that_would_take_a_policy_away_leave_it_out(action: str, evaluated: bool) -> None:
    view = view_of(HEP, policy("p", allow(), staged=action))
    assert bool(order(view)) is evaluated
    assert any("stagedAction Delete" in warning for warning in view.warnings) is (action == "Delete")
