"""What is worth an event: changes of what agents and the controller itself say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pyagent.controller.board import Due
from pyagent.controller.verdict import is_refusal
from pyagent.model import GlobalNetworkPolicy, HostEndpoint, StagedGlobalNetworkPolicy
from pyagent.model.status import (
    ACCEPTED,
    COMPILED,
    DEGRADED,
    PROTECTED,
    REALIZED,
    HostEndpointStatus,
    PolicyStatus,
    Status,
    Truth,
)

#: From this share of a map's capacity on, in percent.
PRESSURE: Final = 80
_POLICIES = (GlobalNetworkPolicy.KIND, StagedGlobalNetworkPolicy.KIND)


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened to an object."""

    kind: str
    name: str
    uid: str
    reason: str
    message: str
    warning: bool = False


def of_endpoint(before: HostEndpoint | None, after: HostEndpoint) -> Iterator[Happening]:
    """What the node's agent says now and did not say before."""
    old = HostEndpointStatus.read(before.status if before is not None else None)
    new = HostEndpointStatus.read(after.status)
    for reason, message, warning in (
        *_coverage(old, new),
        *_degradation(old, new),
        *_pressure(old, new),
    ):
        text = f"node {after.spec.node}: {message}"
        yield Happening(after.kind, after.name, after.metadata.uid, reason, text, warning)


def of_status(due: Due, now: Status) -> Iterator[Happening]:
    """What was written on an object and did not stand there before."""
    kind, name = due.key
    refused = "PolicyRefused" if kind in _POLICIES else "ObjectRefused"
    for condition in (ACCEPTED, COMPILED):
        told, known = now.condition(condition), due.before.condition(condition)
        if told is None or told.status != Truth.FALSE:
            continue
        if (
            known is None
            or (known.status, known.reason) != (told.status, told.reason)
            or (condition == ACCEPTED and known.message != told.message)
        ):
            yield Happening(kind, name, due.uid, refused, f"{told.reason}: {told.message}", warning=True)
    if isinstance(now, PolicyStatus) and now.selected and _newly_realized(due.before, now):
        yield Happening(kind, name, due.uid, "PolicyRealized", f"in force on {now.selected} nodes")


def _newly_realized(before: Status, now: Status) -> bool:
    old, new = before.condition(REALIZED), now.condition(REALIZED)
    if new is None or new.status != Truth.TRUE:
        return False
    return old is None or old.status != Truth.TRUE or old.observed_generation != new.observed_generation


_Said = tuple[str, str, bool]


def _coverage(old: HostEndpointStatus, new: HostEndpointStatus) -> Iterator[_Said]:
    for interface in sorted(new.unprotected.keys() - old.unprotected.keys()):
        yield "InterfaceUnprotected", f"{interface}: {new.unprotected[interface]}", True
    for interface in sorted((old.unprotected.keys() - new.unprotected.keys()) & {*new.interfaces}):
        yield "InterfaceProtected", f"{interface} is protected again", False
    known, told = old.condition(PROTECTED), new.condition(PROTECTED)
    lost = told is not None and told.status == Truth.FALSE
    was_lost = known is not None and known.status == Truth.FALSE
    if told is not None and lost and not was_lost and not new.unprotected:
        reason = "AgentDegraded" if is_refusal(told) else "InterfaceUnprotected"
        yield reason, f"{told.reason}: {told.message}", True


def _degradation(old: HostEndpointStatus, new: HostEndpointStatus) -> Iterator[_Said]:
    known, told = old.condition(DEGRADED), new.condition(DEGRADED)
    was = known is not None and known.status == Truth.TRUE
    if told is None:
        return
    if told.status == Truth.TRUE and not was:
        yield "AgentDegraded", f"{told.reason}: {told.message}", True
    elif told.status == Truth.FALSE and was:
        yield "AgentRecovered", told.message or "the agent is no longer degraded", False


def _pressure(old: HostEndpointStatus, new: HostEndpointStatus) -> Iterator[_Said]:
    for name, share in sorted(new.pressure.items()):
        if share >= PRESSURE > old.pressure.get(name, 0):
            yield "MapPressure", f"map {name} is {share} % full", True
