"""The engines, asked the same question: the reference evaluator and the compiled image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyagent.abi import Direction, Reason
from pyagent.calc import NodeView, node_view
from pyagent.compiler import Image, compile_image
from pyagent.compiler.pipeline import Judged, Pipeline
from pyagent.inquiry.hosts import Hosts
from pyagent.inquiry.route import Crossing
from pyagent.model.packet import Stage
from pyagent.reference import Decision, Evaluator, FlowState

REFERENCE, IMAGE = "reference", "image"
#: The engines there are, by name.
ENGINES: Final = (REFERENCE, IMAGE)
_KNOWN: Final = {
    FlowState.NEW: Reason.NONE,
    FlowState.ESTABLISHED: Reason.FLOW,
    FlowState.RELATED: Reason.RELATED,
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


class Engines:
    """The engines, ready for the packets of one node; the image is compiled when it is first asked."""

    def __init__(self, hosts: Hosts, node: str, *interfaces: str) -> None:
        self._hosts = hosts
        self.facts = hosts.facts(node, *interfaces)
        self._reference = Evaluator(hosts.resources, self.facts)
        self._image: _Compiled | None = None

    def decide(self, crossing: Crossing, flow: FlowState = FlowState.NEW) -> Decision:
        """The reference's decision, with the whole way to it."""
        return self._reference.evaluate(
            crossing.interface,
            crossing.direction,
            crossing.packet,
            forwarded=crossing.received or None,
            flow=flow,
        )

    def ask(self, names: Sequence[str], crossing: Crossing, flow: FlowState) -> tuple[Answer, ...]:
        """What each of the engines named says."""
        return tuple(
            reference_answer(self.decide(crossing, flow), crossing)
            if name == REFERENCE
            else self._compiled().ask(crossing, flow)
            for name in names
        )

    def _compiled(self) -> _Compiled:
        if self._image is None:
            self._image = _Compiled(self._hosts, self.facts.node, self)
        return self._image


class _Compiled:
    """The image of a node, and the walker that reads it as the kernel does."""

    def __init__(self, hosts: Hosts, node: str, engines: Engines) -> None:
        self._view: NodeView = node_view(hosts.world, engines.facts)
        self._image: Image = compile_image(self._view, 1)
        self._pipeline = Pipeline(self._image, self._view, engines.facts)
        self._node = node

    def ask(self, crossing: Crossing, flow: FlowState) -> Answer:
        judged = self._pipeline.judge(
            crossing.interface,
            Direction[crossing.direction.upper()],
            crossing.packet,
            received=crossing.received,
            known=_KNOWN[flow],
        )
        metadata = self._image.metadata
        met = [metadata["verdicts"][walked.verdict_id] for _, walked in judged.walked]
        return Answer(
            IMAGE,
            judged.allowed,
            judged.reason,
            self._place(judged),
            tuple(metadata["rules"][str(key)] for verdict in met for key in verdict["logs"]),
            tuple(sorted((name, said) for verdict in met for name, said in verdict["staged"].items())),
        )

    def _place(self, judged: Judged) -> str:
        by_table = judged.reason in _BY_TABLE and judged.rule
        return str(self._image.metadata["rules"][str(judged.rule)]) if by_table else ""


#: Reasons that a policy table gave.
_BY_TABLE: Final = {
    Reason.POLICY_ALLOW,
    Reason.POLICY_DENY,
    Reason.UNTRACKED_ALLOW,
    Reason.UNTRACKED_DENY,
    Reason.PREDNAT_ALLOW,
    Reason.PREDNAT_DENY,
    Reason.FORWARD_ALLOW,
    Reason.FORWARD_DENY,
}


def reference_answer(decision: Decision, crossing: Crossing) -> Answer:
    """The reference's decision in the form that engines are compared in."""
    return Answer(
        REFERENCE,
        decision.allowed,
        decision.reason,
        decider(decision, crossing.direction),
        tuple(map(str, decision.logged)),
        tuple(sorted((each.policy, each.action) for each in decision.staged if each.action != "none")),
    )


def decider(decision: Decision, direction: str) -> str:
    """The rule that decided, or the end (of a tier or of the endpoint's table), as the image names it."""
    if decision.rule is not None:
        return str(decision.rule)
    if decision.stage is None or decision.reason is Reason.FORWARD_NONE:
        return ""
    if decision.tier is not None:
        return f"{decision.tier}/{direction}[end]"
    return f"{decision.endpoint}/{direction}[end]" if decision.stage in _ENDING else ""


#: Stages whose table has an end that decides.
_ENDING: Final = {Stage.FORWARD, Stage.LOCAL}


def disagreement(answers: Sequence[Answer], crossing: Crossing) -> str:
    """How the engines differ; empty: they agree.

    Of a later fragment only verdict and reason count: any of equally favourable rules may stand for it.
    """
    if len({_compared(answer, crossing.packet.fragment) for answer in answers}) <= 1:
        return ""
    told = [f"{answer.engine}: {answer}{_beside(answer)}" for answer in answers]
    return f"engines disagree on {crossing}: {'; '.join(told)}"


def _compared(answer: Answer, fragment: bool) -> tuple[object, ...]:
    if fragment:
        return answer.allowed, answer.reason
    return answer.allowed, answer.reason, answer.rule, tuple(sorted(answer.logged)), answer.staged


def _beside(answer: Answer) -> str:
    logs = f", logs {', '.join(answer.logged)}" if answer.logged else ""
    staged = ", ".join(f"{name} says {said}" for name, said in answer.staged)
    return logs + (f", staged {staged}" if staged else "")
