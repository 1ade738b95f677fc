"""The reference evaluator: plain Python without a thought of speed, read straight from docs/policy.md.

It shares no code with calc and compiler, so that it can judge them: ``evaluate`` takes resources, a host's
facts and a packet and says what becomes of the packet and, step by step, why.
"""

from __future__ import annotations

from pyagent.reference.decision import Decision, FlowState, Looked, RulePlace, StagedOutcome, Step, Verdict
from pyagent.reference.evaluate import DirectionName, Evaluator, evaluate

__all__ = [
    "Decision",
    "DirectionName",
    "Evaluator",
    "FlowState",
    "Looked",
    "RulePlace",
    "StagedOutcome",
    "Step",
    "Verdict",
    "evaluate",
]
