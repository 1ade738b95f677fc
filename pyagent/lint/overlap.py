"""Which rules of a table packets still reach, and what would become of them without each rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from pyagent.abi import Action
from pyagent.calc.view import PolicyView, RuleAction, RuleRef, RuleView, TableView
from pyagent.lint.regions import Mask, Region, Regions

Numbers = npt.NDArray[np.int32]

#: Cells of regions kept at a time, at five bytes each.
PIECE: Final = 1 << 25
#: Cells of regions in all, at most: some seconds.
WORK_MAX: Final = 1 << 31

_DECIDES: Final = {RuleAction.ALLOW: Action.ALLOW, RuleAction.DENY: Action.DENY}


@dataclass(slots=True)
class Reached:
    """What one table makes of one rule.

    ``matches``: it matches some packet; ``reached``: one that no rule before it took. ``needed``: without it
    some packet would fare otherwise. ``before``: who took its packets; ``after``: who would take them.
    """

    rule: RuleView
    matches: bool = False
    reached: bool = False
    needed: bool = False
    before: set[RuleRef] = field(default_factory=set)
    after: set[RuleRef] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Decider:
    """A rule or an end, and what it says."""

    ref: RuleRef
    action: Action


def survey(table: TableView, regions: Regions) -> list[Reached]:
    """What becomes of every rule of the table; staged policies are looked at one by one, by themselves."""
    staged = [policy for tier in table.tiers for policy in tier.policies if policy.staged]
    walk = _Walk(table)
    found = list(walk.found.values())
    size = max(regions.size(each.rule for each in found), regions.cells)
    for piece in regions.pieces(1 + size // PIECE):
        walk.run(regions, piece)
    for policy in staged:
        found += _alone(policy, regions)
    return found


def work(table: TableView, regions: Regions) -> int:
    """How much there is to do for :func:`survey`: the cells of all regions."""
    rules = [rule for policy in _policies(table) for rule in policy.rules]
    return max(regions.size(rules), regions.cells)


def _policies(table: TableView) -> Iterator[PolicyView]:
    for tier in table.tiers:
        yield from tier.policies
    yield from table.profiles


class _Walk:
    """The tiers and profiles of a table, as groups of rules that a Pass leaves together."""

    def __init__(self, table: TableView) -> None:
        self._deciders: list[_Decider] = [_Decider(table.end_ref, table.end)]
        self.found: dict[int, Reached] = {}
        self._numbers: dict[int, int] = {}
        #: Rules in order, and the number of the end that follows them; None: the next group does.
        self._groups: list[tuple[list[RuleView], int | None]] = []
        for tier in table.tiers:
            end = None
            if tier.end is RuleAction.DENY:
                end = self._number(_Decider(tier.end_ref, Action.DENY))
            self._add([policy for policy in tier.policies if not policy.staged], end)
        self._add(list(table.profiles), 0, passing=Action.DENY)
        self._actions = np.array([decider.action for decider in self._deciders], dtype=np.int8)

    def _number(self, decider: _Decider) -> int:
        self._deciders.append(decider)
        return len(self._deciders) - 1

    def _add(self, policies: list[PolicyView], end: int | None, passing: Action | None = None) -> None:
        rules = [rule for policy in policies for rule in policy.rules]
        for rule in rules:
            action = _DECIDES.get(rule.action, passing or Action.NONE)
            self._numbers[id(rule)] = self._number(_Decider(rule.ref, action))
            self.found[id(rule)] = Reached(rule)
        self._groups.append((rules, end))

    def run(self, regions: Regions, piece: slice) -> None:
        """Look at the cells of one piece."""
        own = {id(rule): regions.of(rule, piece) for rules, _ in self._groups for rule in rules}
        without, passed = self._backwards(own, regions.shape(piece))
        reach = np.ones(regions.shape(piece), dtype=np.bool_)
        taken = np.zeros(regions.shape(piece), dtype=np.int32)
        for group, (rules, end) in enumerate(self._groups):
            reach = self._forwards(rules, end, own, (without, passed[group]), (reach, taken))

    def _backwards(
        self, own: dict[int, Region], shape: tuple[int, int]
    ) -> tuple[dict[int, Numbers], list[Numbers]]:
        """Who decides a rule's cells without the rule, and who decides every cell behind each group."""
        now = np.zeros(shape, dtype=np.int32)
        without: dict[int, Numbers] = {}
        passed: list[Numbers] = []
        for rules, end in reversed(self._groups):
            behind = now.copy()
            if end is not None:
                now[:] = end
            passed.append(behind)
            for rule in reversed(rules):
                region = own[id(rule)]
                here = without[id(rule)] = now[region.rows]
                if rule.action is RuleAction.LOG:
                    continue
                said = behind[region.rows] if self._leaves(rule) else self._numbers[id(rule)]
                now[region.rows] = np.where(region.cells, said, here)
        return without, passed[::-1]

    def _leaves(self, rule: RuleView) -> bool:
        """A Pass of a tier; that of a profile denies."""
        passes = rule.action is RuleAction.PASS
        return passes and self._deciders[self._numbers[id(rule)]].action is Action.NONE

    def _forwards(
        self,
        rules: list[RuleView],
        end: int | None,
        own: dict[int, Region],
        behind: tuple[dict[int, Numbers], Numbers],
        state: tuple[Mask, Numbers],
    ) -> Mask:
        """Go through one group; the cells that reach the next."""
        without, passed = behind
        left, taken = state[0].copy(), state[1]
        on = np.zeros_like(left)
        for rule in rules:
            rows, cells = own[id(rule)].rows, own[id(rule)].cells
            effect = cells & left[rows]
            before = taken[rows]
            self._note(self.found[id(rule)], (cells, effect), before, (without[id(rule)], passed[rows]))
            if rule.action is RuleAction.LOG:
                continue
            left[rows] &= ~cells
            taken[rows] = np.where(effect, self._numbers[id(rule)], before)
            if self._leaves(rule):
                on[rows] |= effect
        if end is None:
            return on | left
        taken[left] = end
        return on

    def _note(
        self, found: Reached, cells: tuple[Mask, Mask], taken: Numbers, behind: tuple[Numbers, Numbers]
    ) -> None:
        mask, effect = cells
        found.matches |= bool(mask.any())
        if not effect.any():
            found.before |= self._refs(taken[mask])
            return
        found.reached = True
        rule = found.rule
        without, passed = behind
        if rule.action is RuleAction.LOG:
            found.needed = True
            return
        then = without[effect]
        found.after |= self._refs(then)
        number = self._numbers[id(rule)]
        now = passed[effect] if self._leaves(rule) else np.full(len(then), number)
        found.needed |= bool((self._actions[then] != self._actions[now]).any())

    def _refs(self, numbers: Numbers) -> set[RuleRef]:
        return {self._deciders[number].ref for number in np.unique(numbers).tolist()}


def _alone(policy: PolicyView, regions: Regions) -> list[Reached]:
    """A staged policy's rules among themselves."""
    found = {id(rule): Reached(rule, needed=True) for rule in policy.rules}
    refs = [rule.ref for rule in policy.rules]
    for piece in regions.pieces(1 + max(regions.size(policy.rules), regions.cells) // PIECE):
        taken = np.full(regions.shape(piece), -1, dtype=np.int32)
        for number, rule in enumerate(policy.rules):
            region, result = regions.of(rule, piece), found[id(rule)]
            before = taken[region.rows]
            effect = region.cells & (before < 0)
            result.matches |= bool(region.cells.any())
            result.reached |= bool(effect.any())
            result.before |= {refs[at] for at in np.unique(before[region.cells]).tolist() if at >= 0}
            if rule.action is not RuleAction.LOG:
                taken[region.rows] = np.where(effect, number, before)
    return list(found.values())
