"""The order of policy: tiers among each other, policies within their tier."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyagent.calc.world import DEFAULT_TIER, World
from pyagent.model import GlobalNetworkPolicy, StagedGlobalNetworkPolicy, Tier

Policy = GlobalNetworkPolicy | StagedGlobalNetworkPolicy

#: stagedAction values whose policies are evaluated; the others stand for "as if it were not there".
EVALUATED = frozenset({"", "Set", "Learn"})


@dataclass(frozen=True, slots=True)
class OrderedTier:
    """A tier with all of its policies in order; ``passes``: its end goes on to the next tier."""

    name: str
    passes: bool
    policies: tuple[Policy, ...]


def is_staged(policy: Policy) -> bool:
    """Counted and reported only."""
    return isinstance(policy, StagedGlobalNetworkPolicy)


def directions(policy: Policy) -> frozenset[str]:
    """``ingress``, ``egress`` or both: the types, or what follows from the rules where there are none."""
    spec = policy.spec
    if spec.types:
        return frozenset(kind.lower() for kind in spec.types)
    if spec.egress:
        return frozenset({"ingress", "egress"} if spec.ingress else {"egress"})
    return frozenset({"ingress"})


def ordered_tiers(world: World) -> tuple[list[OrderedTier], list[str]]:
    """All tiers that hold policies, in order, and remarks on policies left out."""
    members: dict[str, list[Policy]] = {}
    remarks = []
    found: list[Policy] = [*world.of(GlobalNetworkPolicy).values()]
    found += world.of(StagedGlobalNetworkPolicy).values()
    for policy in found:
        if is_staged(policy) and policy.spec.staged_action not in EVALUATED:
            if policy.spec.staged_action == "Delete":
                remarks.append(f"{policy.KIND} {policy.name}: stagedAction Delete is not evaluated")
            continue
        members.setdefault(policy.spec.tier or DEFAULT_TIER, []).append(policy)
    tiers = world.of(Tier)
    remarks += [
        f"Tier {name} does not exist; its policies come after all other tiers"
        for name in members.keys() - tiers
    ]
    names = sorted(members, key=lambda name: _tier_place(name, tiers.get(name)))
    return [_ordered(name, tiers.get(name), members[name]) for name in names], remarks


def _tier_place(name: str, tier: Tier | None) -> tuple[bool, float, str]:
    return tier is None, _order(None if tier is None else tier.spec.order), name


def _ordered(name: str, tier: Tier | None, policies: list[Policy]) -> OrderedTier:
    passes = tier is not None and tier.spec.default_action == "Pass"
    return OrderedTier(name, passes, tuple(sorted(policies, key=_policy_place)))


def _policy_place(policy: Policy) -> tuple[float, str]:
    metadata = policy.metadata
    return _order(policy.spec.order), f"{metadata.name}/{metadata.namespace}/{policy.KIND}"


def _order(order: float | None) -> float:
    return math.inf if order is None else order
