"""What engines say, in the form that they are compared in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyagent.abi import Direction, Reason
from pyagent.compiler.pipeline import Pipeline
from pyagent.inquiry.route import Crossing
from pyagent.reference import FlowState

REFERENCE, IMAGE, KERNEL = "reference", "image", "kernel"
#: What an agent has put in force, asked beside the engines.
RUNNING: Final = "running"
#: The engines there are, by name, and those that need nothing.
ENGINES: Final = (REFERENCE, IMAGE, KERNEL)
UNPRIVILEGED: Final = (REFERENCE, IMAGE)

#: Reasons that a policy table gave.
BY_TABLE: Final = {
    Reason.POLICY_ALLOW,
    Reason.POLICY_DENY,
    Reason.UNTRACKED_ALLOW,
    Reason.UNTRACKED_DENY,
    Reason.PREDNAT_ALLOW,
    Reason.PREDNAT_DENY,
    Reason.FORWARD_ALLOW,
    Reason.FORWARD_DENY,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine says: verdict, reason, the deciding rule or end (empty: no table decided).

    ``logged``: places of the Log rules met; ``staged``: what staged policies would have said, by name.
    """

    engine: str
    allowed: bool
    reason: Reason
    rule: str = ""
    logged: tuple[str, ...] = ()
    staged: tuple[tuple[str, str], ...] = ()

    @property
    def verdict(self) -> str:
        """``Allow`` or ``Deny``."""
        return "Allow" if self.allowed else "Deny"

    def __str__(self) -> str:
        by = f" by {self.rule}" if self.rule else ""
        return f"{self.verdict}{by} [{self.reason.name}]"

    def to_json(self) -> dict[str, Any]:
        """Plain builtins."""
        return {
            "engine": self.engine,
            "verdict": self.verdict,
            "reason": self.reason.name,
            "rule": self.rule,
            "logged": list(self.logged),
            "staged": dict(self.staged),
        }


_KNOWN: Final = {
    FlowState.NEW: Reason.NONE,
    FlowState.ESTABLISHED: Reason.FLOW,
    FlowState.RELATED: Reason.RELATED,
}


def image_answer(
    name: str,
    pipeline: Pipeline,
    metadata: Mapping[str, Any],
    crossing: Crossing,
    flow: FlowState,
) -> Answer:
    """What an image says, looked up as the program does; ``metadata`` has the names for its numbers."""
    direction = Direction[crossing.direction.upper()]
    judged = pipeline.judge(
        crossing.interface, direction, crossing.packet, received=crossing.received, known=_KNOWN[flow]
    )
    met = [metadata["verdicts"][walked.verdict_id] for _, walked in judged.walked]
    by_table = judged.reason in BY_TABLE and judged.rule
    return Answer(
        name,
        judged.allowed,
        judged.reason,
        str(metadata["rules"][str(judged.rule)]) if by_table else "",
        tuple(metadata["rules"][str(key)] for verdict in met for key in verdict["logs"]),
        tuple(sorted((policy, said) for verdict in met for policy, said in verdict["staged"].items())),
    )


def disagreement(answers: Sequence[Answer], crossing: Crossing) -> str:
    """How the engines differ; empty: they agree.

    Of a later fragment only verdict and reason count: any of equally favourable rules may stand for it.
    """
    fragment = crossing.packet.fragment
    if len({_compared(answer, answers, fragment=fragment) for answer in answers}) <= 1:
        return ""
    told = [f"{answer.engine}: {answer}{_beside(answer)}" for answer in answers]
    return f"engines disagree on {crossing}: {'; '.join(told)}"


def _compared(answer: Answer, answers: Sequence[Answer], *, fragment: bool) -> tuple[object, ...]:
    reason = answer.reason
    if reason is Reason.TUNNEL and any(
        (each.engine, each.reason) == (KERNEL, Reason.FLOW) for each in answers
    ):
        reason = Reason.FLOW  # both pass; the program asks the cheaper question first
    if fragment:
        return answer.allowed, reason
    return answer.allowed, reason, answer.rule, tuple(sorted(answer.logged)), answer.staged


def _beside(answer: Answer) -> str:
    logs = f", logs {', '.join(answer.logged)}" if answer.logged else ""
    staged = ", ".join(f"{name} says {said}" for name, said in answer.staged)
    return logs + (f", staged {staged}" if staged else "")
