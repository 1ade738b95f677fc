"""The policy tables of one endpoint: which policies stand in which, and what their ends say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyagent.abi import Action, TableKind
from pyagent.calc.order import OrderedTier, Policy, directions, is_staged
from pyagent.calc.refs import end_ref
from pyagent.calc.rules import PolicyReader
from pyagent.calc.view import PolicyView, RuleAction, TableView, TierView
from pyagent.model import HostEndpoint, Profile
from pyagent.model.packet import Stage

#: Table -> its stage and direction.
TABLES: dict[TableKind, tuple[Stage, str]] = {
    TableKind.UNTRACKED_INGRESS: (Stage.UNTRACKED, "ingress"),
    TableKind.UNTRACKED_EGRESS: (Stage.UNTRACKED, "egress"),
    TableKind.PREDNAT: (Stage.PREDNAT, "ingress"),
    TableKind.FORWARD_INGRESS: (Stage.FORWARD, "ingress"),
    TableKind.FORWARD_EGRESS: (Stage.FORWARD, "egress"),
    TableKind.LOCAL_INGRESS: (Stage.LOCAL, "ingress"),
    TableKind.LOCAL_EGRESS: (Stage.LOCAL, "egress"),
}


def stages_of(policy: Policy) -> frozenset[Stage]:
    """The stages that a policy has a say in."""
    spec = policy.spec
    if spec.do_not_track:
        return frozenset({Stage.UNTRACKED})
    if spec.pre_dnat:
        return frozenset({Stage.PREDNAT})
    return frozenset({Stage.FORWARD, Stage.LOCAL} if spec.apply_on_forward else {Stage.LOCAL})


@dataclass(frozen=True, slots=True)
class Applicable:
    """What applies to an endpoint: tiers with only the policies that select it, profiles in order."""

    endpoint: HostEndpoint
    tiers: Sequence[OrderedTier]
    profiles: Sequence[Profile]


def tables(applicable: Applicable, reader: PolicyReader) -> dict[TableKind, TableView]:
    """All tables of an endpoint: the local ones always, others if they have a policy."""
    made = {kind: _table(kind, applicable, reader) for kind in TABLES}
    return {kind: table for kind, table in made.items() if table.tiers or TABLES[kind][0] is Stage.LOCAL}


def _table(kind: TableKind, applicable: Applicable, reader: PolicyReader) -> TableView:
    stage, direction = TABLES[kind]
    found = [(tier, _in_table(tier.policies, stage, direction)) for tier in applicable.tiers]
    tiers = tuple(_tier(kind, tier, policies, reader) for tier, policies in found if policies)
    enforced = any(not is_staged(policy) for _, policies in found for policy in policies)
    profiles = _profiles(applicable.profiles, direction, reader) if stage is Stage.LOCAL else ()
    # Forwarded traffic is nobody's business until an enforced policy makes it so; then it needs an Allow.
    denies = stage is Stage.LOCAL or (stage is Stage.FORWARD and enforced)
    name = applicable.endpoint.name
    end = end_ref(HostEndpoint.KIND, name, direction, kind)
    return TableView(kind, tiers, profiles, Action.DENY if denies else Action.NONE, end)


def _in_table(policies: Iterable[Policy], stage: Stage, direction: str) -> list[Policy]:
    return [policy for policy in policies if stage in stages_of(policy) and direction in directions(policy)]


def _tier(kind: TableKind, tier: OrderedTier, policies: list[Policy], reader: PolicyReader) -> TierView:
    stage, direction = TABLES[kind]
    passes = (
        tier.passes
        or stage in (Stage.UNTRACKED, Stage.PREDNAT)
        or all(is_staged(policy) for policy in policies)
    )
    views = tuple(reader.policy(policy, direction) for policy in policies)
    end = RuleAction.PASS if passes else RuleAction.DENY
    return TierView(tier.name, views, end, end_ref("Tier", tier.name, direction, kind))


def _profiles(profiles: Sequence[Profile], direction: str, reader: PolicyReader) -> tuple[PolicyView, ...]:
    return tuple(reader.policy(profile, direction) for profile in profiles)
