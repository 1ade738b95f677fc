"""Policies that have no say on a packet, and why: what people look for when theirs does nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pyagent.calc.labels import endpoint_labels
from pyagent.calc.order import directions
from pyagent.calc.stages import stages_of
from pyagent.inquiry import Crossing, Hosts
from pyagent.model import GlobalNetworkPolicy, HostEndpoint, Profile
from pyagent.model.packet import Stage
from pyagent.reference import Decision, Looked
from pyagent.selector import parse


@dataclass(frozen=True, slots=True)
class Aside:
    """A policy and the reason why nobody asked it."""

    policy: str
    why: str


def policies_aside(hosts: Hosts, crossing: Crossing, decision: Decision) -> Iterator[Aside]:
    """The enforced policies that were not asked about a packet."""
    endpoint = hosts.world.of(HostEndpoint).get(decision.endpoint or "")
    if endpoint is None:
        return
    asked = {step.name for step in decision.trace if step.looked is Looked.POLICY}
    profiles = hosts.world.of(Profile)
    labels = endpoint_labels(
        endpoint, {name: profile.spec.labels_to_apply for name, profile in profiles.items()}
    )
    for name, policy in sorted(hosts.world.of(GlobalNetworkPolicy).items()):
        if name in asked:
            continue
        spec = policy.spec
        if spec.namespace_selector or spec.service_account_selector:
            why = "it selects by namespace or service account, which a host endpoint does not have"
        elif not parse(spec.selector).matches(labels):
            why = f"its selector {spec.selector} does not pick {endpoint.name}"
        elif crossing.direction not in directions(policy):
            why = f"its types do not have {crossing.direction.capitalize()}"
        else:
            why = _stage(stages_of(policy), decision.stage)
        yield Aside(name, why)


def _stage(own: frozenset[Stage], decided: Stage | None) -> str:
    if decided is Stage.FORWARD and own == {Stage.LOCAL}:
        return "the packet is forwarded, and it does not have applyOnForward"
    if decided in own or decided is None:
        return "the packet's fate was decided before"
    return f"it speaks at stage {' and '.join(sorted(own))}, and the packet was decided at {decided}"
