"""What the checks write to: a list of problems, and the checks that every kind of field shares."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import TypeVar

from pyagent.errors import Problem, SelectorError
from pyagent.selector import Selector, parse

MAX_SELECTOR = 1024

Parsed = TypeVar("Parsed")


class Findings:
    """The problems found so far."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, path: str, reason: str, value: object = "") -> None:
        """Note that the field at ``path`` is refused."""
        self.problems.append(Problem(path, reason, str(value)))

    def one_of(self, path: str, value: str, allowed: Collection[str]) -> None:
        """Refuse a value that is neither empty nor one of ``allowed``."""
        if value and value not in allowed:
            self.add(path, f"must be one of {', '.join(allowed)}", value)

    def at_most(self, path: str, items: Sequence[object], limit: int) -> bool:
        """Refuse a list of more than ``limit`` entries."""
        if len(items) > limit:
            self.add(path, f"has {len(items)} entries, the most is {limit}")
            return False
        return True

    def unique(self, path: str, items: Sequence[Hashable]) -> None:
        """Refuse every entry that stands in the list before."""
        if len(set(items)) == len(items):
            return
        seen: set[Hashable] = set()
        for index, item in enumerate(items):
            if item in seen:
                self.add(f"{path}[{index}]", "is listed twice", item)
            seen.add(item)

    def parses(self, path: str, value: str, parse_value: Callable[[str], Parsed]) -> Parsed | None:
        """What ``parse_value`` makes of ``value``; its ValueError is a problem."""
        try:
            return parse_value(value)
        except ValueError as error:
            self.add(path, str(error), value)
            return None

    def selector(self, path: str, text: str) -> Selector | None:
        """The parsed selector; None when empty or refused."""
        if not text:
            return None
        if len(text) > MAX_SELECTOR:
            self.add(path, f"has {len(text)} characters, the most is {MAX_SELECTOR}")
            return None
        try:
            return parse(text)
        except SelectorError as error:
            self.add(path, f"invalid selector: {error.reason} at position {error.position}", text)
            return None

    def selector_without_global(self, path: str, text: str) -> None:
        """Check a selector in which global() has no meaning."""
        selector = self.selector(path, text)
        if selector is not None and selector.mentions_global:
            self.add(path, "global() can only be used in a rule's namespaceSelector", text)
