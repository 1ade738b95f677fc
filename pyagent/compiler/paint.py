"""A table's rules, from the last to the first, painted on its cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from pyagent.abi import Action
from pyagent.calc.view import PolicyView, RuleAction, RuleRef, RuleView, TableView, TierView
from pyagent.compiler.canvas import Canvas, Cells, Place
from pyagent.compiler.outcome import NO_MATCH, Outcome, Outcomes
from pyagent.compiler.plan import policies

Places = Callable[[RuleView], Sequence[Place]]

_DECIDES = {RuleAction.ALLOW: Action.ALLOW, RuleAction.DENY: Action.DENY}


def paint(table: TableView, canvas: Canvas, places: Places) -> None:
    """Paint the whole table: its end, profiles, tiers from the last, and what staged policies would have
    said."""
    canvas.clear(_end(table.end, table.end_ref))
    for profile in reversed(table.profiles):
        if not profile.staged:
            _paint_policy(profile, canvas, places, lambda at: Outcome(Action.DENY, at.key))
    for tier in reversed(table.tiers):
        _paint_tier(tier, canvas, places)
    for policy in policies(table):
        if policy.staged:
            said = [
                (places(rule), str(rule.action)) for rule in policy.rules if rule.action is not RuleAction.LOG
            ]
            canvas.stage(policy.name, said)


def number_in_order(table: TableView, outcomes: Outcomes) -> None:
    """Number the outcomes by favour and, within one action, by the order of rules, as far as they are
    known."""
    decided: dict[Action, list[Outcome]] = {Action.ALLOW: [], Action.NONE: [NO_MATCH], Action.DENY: []}
    for policy in policies(table):
        for rule in policy.rules:
            action = _DECIDES.get(rule.action)
            if action is not None and not policy.staged:
                decided[action].append(Outcome(action, rule.ref.key))
    for group in decided.values():
        for outcome in group:
            outcomes.number(outcome)


def _end(action: Action, ref: RuleRef) -> Outcome:
    return NO_MATCH if action is Action.NONE else Outcome(action, ref.key)


def _paint_tier(tier: TierView, canvas: Canvas, places: Places) -> None:
    """Paint one tier over what comes after it; a Pass lets that show through."""
    enforced = [policy for policy in tier.policies if not policy.staged]
    passes = any(rule.action is RuleAction.PASS for policy in enforced for rule in policy.rules)
    after: Cells | None = canvas.cells.copy() if passes else None
    if tier.end is RuleAction.DENY:
        canvas.clear(Outcome(Action.DENY, tier.end_ref.key))
    for policy in reversed(enforced):
        _paint_policy(policy, canvas, places, after)


def _paint_policy(
    policy: PolicyView, canvas: Canvas, places: Places, passing: Cells | Callable[[RuleRef], Outcome] | None
) -> None:
    """Paint one policy; ``passing`` says what Pass means: what shows through, or an outcome."""
    for rule in reversed(policy.rules):
        at = places(rule)
        if rule.action is RuleAction.LOG:
            canvas.change(at, partial(Outcome.logged, key=rule.ref.key))
        elif rule.action is not RuleAction.PASS:
            canvas.fill(at, Outcome(_DECIDES[rule.action], rule.ref.key))
        elif callable(passing):
            canvas.fill(at, passing(rule.ref))
        elif passing is not None:
            canvas.copy(at, passing)
