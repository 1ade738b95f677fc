"""What is said of one policy, given the nodes it selects and what they report: a pure function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pyagent.calc.order import EVALUATED, Policy, is_staged
from pyagent.controller.selection import Mask
from pyagent.errors import Problem
from pyagent.model.status import ACCEPTED, COMPILED, REALIZED, Condition, PolicyStatus, Truth

#: How many nodes, or problems, a message names.
NAMED: Final = 5
_LONGEST_REASON: Final = 200
#: Why a node may be unprotected although its agent could do what the policies say.
_NO_REFUSAL: Final = frozenset({"InterfaceUnprotected", "NoInterface", "NoImage", "Restored", "Rescue"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a node's agent could not put in force what it was told to."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """Why an object means nothing as it is now; ``generation`` is the one that is refused, 0: not known."""

    problems: tuple[Problem, ...]
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Nodes:
    """Where every node stands; ``states``, in the order of ``names``, are numbers of a History.

    ``refusals``: by the nodes' places in ``names``.
    """

    names: Sequence[str]
    states: NDArray[np.int64]
    refusals: Mapping[int, Refusal]


@dataclass(frozen=True, slots=True)
class Concern:
    """What a policy has to do with the nodes: which it selects, and in which state it changed last."""

    selected: Mask
    endpoints: int
    changed: int


def policy_status(
    policy: Policy, concern: Concern, nodes: Nodes, invalid: Invalid | None = None
) -> PolicyStatus:
    """The status without times. ``invalid``: a newer version, which is refused; ``policy`` is in force."""
    selected = int(concern.selected.sum())
    pending = concern.selected & (nodes.states < concern.changed)
    realized = selected - int(pending.sum())
    conditions = (
        accepted(policy.metadata.generation, invalid),
        _compiled(concern, nodes, policy),
        _realized(policy, [nodes.names[index] for index in np.flatnonzero(pending).tolist()], selected),
    )
    return PolicyStatus(
        conditions=conditions,
        selected=selected,
        realized=realized,
        selected_endpoints=concern.endpoints,
        summary=f"{realized}/{selected}",
    )


def accepted(generation: int, invalid: Invalid | None) -> Condition:
    """Whether an object means anything; if not, its last valid form stays in force."""
    if invalid is None:
        return Condition(type=ACCEPTED, status=Truth.TRUE, reason="Valid", observed_generation=generation)
    shown = [str(problem)[:_LONGEST_REASON] for problem in invalid.problems[:NAMED]]
    if len(invalid.problems) > NAMED:
        shown.append(f"and {len(invalid.problems) - NAMED} more")
    return Condition(
        type=ACCEPTED,
        status=Truth.FALSE,
        reason="Invalid",
        message="; ".join(shown) + "; what was valid last stays in force",
        observed_generation=invalid.generation,
    )


def is_refusal(protected: Condition) -> bool:
    """Whether an agent's condition Protected says that it could not put the policies in force."""
    return protected.status == Truth.FALSE and protected.reason not in _NO_REFUSAL


def named(names: Sequence[str]) -> str:
    """The first few of ``names``, and how many more there are."""
    shown = ", ".join(names[:NAMED])
    return f"{shown} and {len(names) - NAMED} more" if len(names) > NAMED else shown


def _compiled(concern: Concern, nodes: Nodes, policy: Policy) -> Condition:
    refused = [
        (nodes.names[index], refusal)
        for index, refusal in sorted(nodes.refusals.items(), key=lambda item: item[0])
        if concern.selected[index]
    ]
    generation = policy.metadata.generation
    if not refused:
        return Condition(type=COMPILED, status=Truth.TRUE, reason="Compiled", observed_generation=generation)
    first = refused[0][1]
    where = named([name for name, _ in refused])
    return Condition(
        type=COMPILED,
        status=Truth.FALSE,
        reason=first.reason,
        message=f"on {where}: {first.message[:_LONGEST_REASON]}",
        observed_generation=generation,
    )


def _realized(policy: Policy, pending: Sequence[str], selected: int) -> Condition:
    generation = policy.metadata.generation
    if pending:
        return Condition(
            type=REALIZED,
            status=Truth.FALSE,
            reason="Pending",
            message=f"waiting for {named(pending)}",
            observed_generation=generation,
        )
    reason, message = "InForce", ""
    if is_staged(policy):
        reason = "Rehearsed"
        if policy.spec.staged_action not in EVALUATED:
            reason, message = "NotEvaluated", f"stagedAction {policy.spec.staged_action} is not evaluated"
    if not selected:
        reason, message = "SelectsNothing", "no host endpoint is selected"
    return Condition(
        type=REALIZED, status=Truth.TRUE, reason=reason, message=message, observed_generation=generation
    )
