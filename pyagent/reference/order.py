"""Which policies and tiers apply to an endpoint at a stage, and in which order they are asked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyagent.model import HostEndpoint, StagedGlobalNetworkPolicy, Tier
from pyagent.model.packet import Stage
from pyagent.model.policy import PolicySpec, Rule
from pyagent.reference.resources import AnyPolicy, Resources
from pyagent.selector import parse


@dataclass(frozen=True, slots=True)
class Ordered:
    """One policy's rules for the stage and direction in question."""

    kind: str
    name: str
    rules: tuple[Rule, ...]
    staged: bool


@dataclass(frozen=True, slots=True)
class OrderedTier:
    """A tier with the policies that apply, in order; ``end``: Deny or Pass."""

    name: str
    policies: tuple[Ordered, ...]
    end: str


def is_at(spec: PolicySpec, stage: Stage) -> bool:
    """Whether a policy speaks at a stage: untracked and preDNAT policies at theirs only, others locally."""
    if spec.do_not_track:
        return stage is Stage.UNTRACKED
    if spec.pre_dnat:
        return stage is Stage.PREDNAT
    return stage is Stage.LOCAL or (stage is Stage.FORWARD and spec.apply_on_forward)


def types_of(spec: PolicySpec) -> tuple[str, ...]:
    """``types`` as given, else as the rules imply."""
    if spec.types:
        return spec.types
    if not spec.egress:
        return ("Ingress",)
    return ("Ingress", "Egress") if spec.ingress else ("Egress",)


def selects(policy: AnyPolicy, labels: dict[str, str]) -> bool:
    """Whether the policy applies to a host endpoint with these labels.

    A staged policy whose action is Delete or Ignore has no rules to try.
    """
    if isinstance(policy, StagedGlobalNetworkPolicy) and policy.spec.staged_action in ("Delete", "Ignore"):
        return False
    if policy.spec.namespace_selector or policy.spec.service_account_selector:
        return False
    return parse(policy.spec.selector).matches(labels)


def _place(order: float | None) -> float:
    return math.inf if order is None else order


def tiers_in_force(
    resources: Resources, endpoint: HostEndpoint, stage: Stage, direction: str
) -> list[OrderedTier]:
    """The tiers that count for the endpoint, the stage and the direction (``ingress`` or ``egress``)."""
    labels = resources.labels(endpoint)
    found: dict[str, list[AnyPolicy]] = {}
    for policy in resources.policies():
        if (
            is_at(policy.spec, stage)
            and direction.capitalize() in types_of(policy.spec)
            and selects(policy, labels)
        ):
            found.setdefault(policy.spec.tier or "default", []).append(policy)
    return [
        _tier(resources, name, found[name], direction)
        for name in sorted(found, key=lambda n: _rank(resources, n))
    ]


def _rank(resources: Resources, name: str) -> tuple[bool, float, bytes]:
    """Tiers that exist before those merely referred to, by order, by name."""
    tier = resources.named(Tier, name)
    return tier is None, _place(tier.spec.order if tier else None), name.encode()


def _tier(resources: Resources, name: str, policies: list[AnyPolicy], direction: str) -> OrderedTier:
    tier = resources.named(Tier, name)
    all_staged = all(isinstance(policy, StagedGlobalNetworkPolicy) for policy in policies)
    passes = all_staged or (tier is not None and tier.spec.default_action == "Pass")
    policies.sort(
        key=lambda policy: (
            _place(policy.spec.order),
            f"{policy.name}/{policy.metadata.namespace}/{policy.KIND}".encode(),
        )
    )
    ordered = [
        Ordered(
            policy.KIND,
            policy.name,
            policy.spec.ingress if direction == "ingress" else policy.spec.egress,
            isinstance(policy, StagedGlobalNetworkPolicy),
        )
        for policy in policies
    ]
    return OrderedTier(name, tuple(ordered), "Pass" if passes else "Deny")
