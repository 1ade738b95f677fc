"""How a field's place in a document is written, and on which line of which file it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pyagent.errors import Problem

_PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z0-9]*")


def child(parent: str, key: str | int) -> str:
    """The path of ``key`` in ``parent``: ``spec.node``, ``spec.ingress[0]``, ``metadata.labels[a.b/c]``."""
    if isinstance(key, int) or not _PLAIN_KEY.fullmatch(key):
        return f"{parent}[{key}]"
    return f"{parent}.{key}" if parent else key


@dataclass(frozen=True, slots=True)
class Positions:
    """Lines (from 1) and original spellings of the fields of one document, by path below ``prefix``.

    ``spellings`` has only the scalars that YAML reads as something other than text (``yes``, ``0x10``).
    """

    lines: Mapping[str, int] = field(default_factory=dict)
    spellings: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""

    def below(self, key: str | int) -> Positions:
        """The positions of the part under ``key``, whose paths then start there."""
        return replace(self, prefix=child(self.prefix, key))

    def line(self, path: str) -> int:
        """The line of ``path``, or of the nearest enclosing thing that has one; 0 when nothing is known."""
        full = self._full(path)
        while full:
            if found := self.lines.get(full):
                return found
            full = full[: max(full.rfind("."), full.rfind("["), 0)]
        return self.lines.get("", 0)

    def spelling(self, path: str) -> str:
        """How the scalar at ``path`` is written in the file; empty when unknown."""
        return self.spellings.get(self._full(path), "")

    def _full(self, path: str) -> str:
        if not self.prefix or not path:
            return self.prefix or path
        return f"{self.prefix}{path}" if path.startswith("[") else f"{self.prefix}.{path}"

    def placed(self, problem: Problem, file: str) -> Problem:
        """``problem`` with its line and file filled in."""
        return replace(problem, line=problem.line or self.line(problem.path), file=file)
