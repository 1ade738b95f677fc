"""Outcomes: what a table says of a packet, numbered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from pyagent.abi import Action

#: Most favourable first: what a later fragment of unknown ports gets.
FAVOUR: Final = {Action.ALLOW: 0, Action.NONE: 1, Action.DENY: 2}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The action, the key of the rule that decided (0: none did), the keys of the Log rules met on the way,
    and what each staged policy would have said (policy, rule action), in the order they stand in."""

    action: Action = Action.NONE
    rule: int = 0
    logs: tuple[int, ...] = ()
    staged: tuple[tuple[str, str], ...] = ()

    def logged(self, key: int) -> Outcome:
        """This outcome behind a Log rule (once, however many of the rule's conditions match)."""
        return self if self.logs[:1] == (key,) else replace(self, logs=(key, *self.logs))

    def with_staged(self, policy: str, action: str) -> Outcome:
        """This outcome where a staged policy's first match has ``action``."""
        return replace(self, staged=(*self.staged, (policy, action)))


NO_MATCH: Final = Outcome()


class Outcomes:
    """Numbers outcomes from 0 in the order they are first met."""

    def __init__(self) -> None:
        self.all: list[Outcome] = []
        self._numbers: dict[Outcome, int] = {}

    def __len__(self) -> int:
        return len(self.all)

    def number(self, outcome: Outcome) -> int:
        """The number of an outcome."""
        number = self._numbers.setdefault(outcome, len(self.all))
        if number == len(self.all):
            self.all.append(outcome)
        return number

    def favour(self, number: int) -> tuple[int, int, int]:
        """Sorts numbers: the most favourable action first, then the fewest Log rules, then the first met."""
        outcome = self.all[number]
        return FAVOUR[outcome.action], len(outcome.logs), number
