"""An explanation for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyagent.explain.explanation import Explanation, HookExplanation
from pyagent.inquiry import Sources
from pyagent.reference import Decision, FlowState


def lines(found: Explanation, sources: Sources) -> Iterator[str]:
    """The way of the packet, step by step, and its verdict last."""
    state = "" if found.flow is FlowState.NEW else f", of an {found.flow.lower()} flow"
    yield f"{found.packet}{state}"
    for hook in found.hooks:
        yield ""
        yield f"{hook.crossing}{', received from another interface' if hook.crossing.received else ''}"
        yield from (f"  {step}" for step in hook.decision.trace)
        yield from (f"  policy {each.policy}: no say ({each.why})" for each in hook.aside)
        yield from _verdicts(hook, sources)
    for crossing in found.after:
        yield ""
        yield f"{crossing}: never reached"
    yield ""
    word = "Allow" if found.allowed else "Deny"
    yield f"{word}: {_summary(found)}"


def _verdicts(hook: HookExplanation, sources: Sources) -> Iterator[str]:
    where = _where(hook.decision, sources)
    yield f"  => {hook.decision.verdict}: {hook.decision.because}{f'  ({where})' if where else ''}"
    for answer in hook.answers:
        yield f"     {answer.engine}: {answer}"
    if hook.disagreement:
        yield f"     ERROR: {hook.disagreement}"
    for change in hook.changes:
        yield f"     with {change.policy} enforced: {change.decision.verdict} ({change.decision.because})"


def _where(decision: Decision, sources: Sources) -> str:
    """Where the deciding rule is written."""
    if decision.rule is None:
        return ""
    rule = decision.rule
    return sources.where(rule.kind, rule.owner, f"spec.{rule.direction}[{rule.index}]")


def _summary(found: Explanation) -> str:
    last = found.hooks[-1]
    if not found.allowed:
        return f"dropped on {last.crossing} ({last.decision.because})"
    return " and ".join(f"passes {hook.crossing} ({hook.decision.because})" for hook in found.hooks)


def to_json(found: Explanation, sources: Sources) -> dict[str, Any]:
    """The explanation as plain builtins."""
    return {
        "verdict": "Allow" if found.allowed else "Deny",
        "agreed": found.agreed,
        "packet": str(found.packet),
        "flow": str(found.flow),
        "hooks": [_hook_json(hook, sources) for hook in found.hooks],
        "neverReached": [str(crossing) for crossing in found.after],
    }


def _hook_json(hook: HookExplanation, sources: Sources) -> dict[str, Any]:
    return {
        "node": hook.crossing.node,
        "interface": hook.crossing.interface,
        "direction": hook.crossing.direction,
        "forwarded": hook.crossing.received,
        "decision": {**hook.decision.to_json(), "file": _where(hook.decision, sources)},
        "engines": [answer.to_json() for answer in hook.answers],
        "disagreement": hook.disagreement,
        "aside": [{"policy": each.policy, "why": each.why} for each in hook.aside],
        "stagedChanges": [
            {
                "policy": change.policy,
                "verdict": str(change.decision.verdict),
                "because": change.decision.because,
            }
            for change in hook.changes
        ],
    }
