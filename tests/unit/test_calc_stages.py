"""Which policies stand in which table of an endpoint, and what a table says where no rule matches."""

from __future__ import annotations

from typing import Any

import pytest

from pyagent.abi import Action, TableKind
from pyagent.calc.view import RuleAction
from tests.support.policy_world import Rule, allow, decide, deny, policy, profile, table, tcp, view_of
from tests.support.resources import host_endpoint

LOCAL = {TableKind.LOCAL_INGRESS, TableKind.LOCAL_EGRESS}
FORWARD = {TableKind.FORWARD_INGRESS, TableKind.FORWARD_EGRESS}
UNTRACKED = {TableKind.UNTRACKED_INGRESS, TableKind.UNTRACKED_EGRESS}
DEFAULT_ALLOW = "projectcalico-default-allow"


def endpoint(*profiles: str, labels: dict[str, str] | None = None) -> Any:
    return host_endpoint("all", "n1", labels or {}, profiles=profiles)


@pytest.mark.parametrize(
    ("spec", "kinds"),
    [
        ({}, set()),
        ({"apply_on_forward": True}, FORWARD),
        ({"apply_on_forward": True, "do_not_track": True}, UNTRACKED),
        ({"apply_on_forward": True, "pre_dnat": True, "types": ("Ingress",)}, {TableKind.PREDNAT}),
    ],
)
def test_each_kind_of_policy_has_its_tables(spec: dict[str, Any], kinds: set[TableKind]) -> None:
    given = policy("p", allow(), **{"types": ("Ingress", "Egress"), **spec})
    (only,) = view_of(endpoint(), given).endpoints
    assert set(only.tables) == LOCAL | kinds
    holding = {kind for kind, found in only.tables.items() if found.tiers}
    is_normal = not (spec.get("do_not_track") or spec.get("pre_dnat"))
    assert holding == kinds | (LOCAL if is_normal else set())


def test_prednat_policies_never_have_an_egress_table() -> None:
    given = policy("p", types=("Ingress", "Egress"), pre_dnat=True, apply_on_forward=True)
    assert set(view_of(endpoint(), given).endpoints[0].tables) == LOCAL | {TableKind.PREDNAT}


def test_without_policy_and_profile_everything_local_is_denied_and_nothing_else_is_said() -> None:
    view = view_of(endpoint())
    assert set(view.endpoints[0].tables) == LOCAL
    assert {decide(table(view, kind), tcp("10.1.1.1")) for kind in LOCAL} == {Action.DENY}


def test_profiles_decide_where_no_policy_applies() -> None:
    view = view_of(endpoint(DEFAULT_ALLOW))
    assert {decide(table(view, kind), tcp("10.1.1.1")) for kind in LOCAL} == {Action.ALLOW}


def test_each_direction_falls_back_to_the_profiles_by_itself() -> None:
    view = view_of(endpoint(DEFAULT_ALLOW), policy("p", allow(protocol="UDP")))
    assert decide(table(view, TableKind.LOCAL_INGRESS), tcp("10.1.1.1")) is Action.DENY
    assert decide(table(view, TableKind.LOCAL_EGRESS), tcp("10.1.1.1")) is Action.ALLOW


def test_profiles_are_asked_in_the_order_that_the_endpoint_lists() -> None:
    first, second = profile("b", deny(protocol="TCP")), profile("a", allow())
    denied = view_of(endpoint("b", "a"), first, second)
    assert [p.name for p in table(denied).profiles] == ["b", "a"]
    assert decide(table(denied), tcp("10.1.1.1")) is Action.DENY
    allowed = view_of(endpoint("a", "b"), first, second)
    assert decide(table(allowed), tcp("10.1.1.1")) is Action.ALLOW


def test_a_pass_in_a_profile_denies() -> None:
    passing = view_of(endpoint("p"), profile("p", Rule(action="Pass"), allow()))
    assert decide(table(passing), tcp("10.1.1.1")) is Action.DENY
    assert decide(table(view_of(endpoint("p"), profile("p", allow()))), tcp("10.1.1.1")) is Action.ALLOW


def test_pass_in_the_last_tier_goes_to_the_profiles() -> None:
    view = view_of(endpoint(DEFAULT_ALLOW), policy("p", Rule(action="Pass"), deny()))
    assert decide(table(view), tcp("10.1.1.1")) is Action.ALLOW
    assert (
        decide(table(view_of(endpoint(), policy("p", Rule(action="Pass")))), tcp("10.1.1.1")) is Action.DENY
    )


def test_a_missing_profile_has_no_rules_and_is_reported() -> None:
    view = view_of(endpoint("ghost", DEFAULT_ALLOW))
    assert [p.name for p in table(view).profiles] == [DEFAULT_ALLOW]
    assert view.warnings == ("HostEndpoint all: Profile ghost does not exist",)


def test_labels_of_profiles_count_for_selection_and_the_endpoints_own_label_wins() -> None:
    given = profile("p", labels={"role": "web", "zone": "1"})
    web, zone = policy("web", selector="role == 'web'"), policy("zone", selector="zone == '1'")
    inherited = view_of(endpoint("p"), given, web, zone)
    assert [p.name for p in table(inherited).tiers[0].policies] == ["web", "zone"]
    own = view_of(endpoint("p", labels={"role": "db"}), given, web, zone)
    assert [p.name for p in table(own).tiers[0].policies] == ["zone"]


def test_an_unset_selector_selects_every_endpoint() -> None:
    assert table(view_of(endpoint(), policy("p"))).tiers
    assert table(view_of(endpoint(), policy("p", selector="all()"))).tiers
    assert not table(view_of(endpoint(), policy("p", selector="!all()"))).tiers


@pytest.mark.parametrize("field", ["namespace_selector", "service_account_selector"])
def test_policies_for_namespaces_or_service_accounts_select_no_host_endpoint(field: str) -> None:
    assert not table(view_of(endpoint(), policy("p", **{field: "all()"}))).tiers
    assert table(view_of(endpoint(), policy("p", **{field: ""}))).tiers


def test_a_policy_whose_selector_does_not_parse_selects_nothing_and_is_reported() -> None:
    view = view_of(endpoint(), policy("p", selector="role ="))
    assert not table(view).tiers
    assert "GlobalNetworkPolicy p selects nothing" in view.warnings[0]


def test_forwarded_traffic_needs_an_allow_once_a_policy_applies_and_profiles_do_not_help() -> None:
    given = policy("p", allow(protocol="UDP"), apply_on_forward=True)
    forward = table(view_of(endpoint(DEFAULT_ALLOW), given), TableKind.FORWARD_INGRESS)
    assert forward.profiles == ()
    assert decide(forward, tcp("10.1.1.1")) is Action.DENY


def test_forward_tables_exist_only_in_the_direction_that_has_a_policy() -> None:
    tables = view_of(endpoint(), policy("p", allow(), apply_on_forward=True)).endpoints[0].tables
    assert TableKind.FORWARD_INGRESS in tables
    assert TableKind.FORWARD_EGRESS not in tables


def test_staged_forward_policies_are_kept_for_counting_but_decide_nothing() -> None:
    view = view_of(endpoint(), policy("p", deny(), staged="Set", apply_on_forward=True))
    forward = table(view, TableKind.FORWARD_INGRESS)
    assert [p.staged for p in forward.tiers[0].policies] == [True]
    assert (forward.tiers[0].end, forward.end) == (RuleAction.PASS, Action.NONE)
    assert decide(forward, tcp("10.1.1.1")) is Action.NONE


@pytest.mark.parametrize(
    ("field", "kind"), [("do_not_track", TableKind.UNTRACKED_INGRESS), ("pre_dnat", TableKind.PREDNAT)]
)
def test_untracked_and_prednat_tables_never_deny_by_default(field: str, kind: TableKind) -> None:
    spec: dict[str, Any] = {field: True, "apply_on_forward": True}
    given = policy("p", deny(protocol="UDP"), allow(protocol="SCTP"), **spec)
    found = table(view_of(endpoint(DEFAULT_ALLOW), given), kind)
    assert (found.end, found.profiles, found.tiers[0].end) == (Action.NONE, (), RuleAction.PASS)
    assert decide(found, tcp("10.1.1.1")) is Action.NONE


def test_one_policy_in_two_tables_is_one_object_with_the_same_keys() -> None:
    view = view_of(endpoint(), policy("p", allow(), apply_on_forward=True))
    local, forward = table(view), table(view, TableKind.FORWARD_INGRESS)
    assert local.tiers[0].policies[0] is forward.tiers[0].policies[0]
    assert local.end_ref.key != forward.end_ref.key
