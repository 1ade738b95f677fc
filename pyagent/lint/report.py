"""Findings for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pyagent.lint.finding import Finding


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Two lines a finding: place and fault, then what to do; the total last."""
    for each in findings:
        place = f"{each.file}:{each.line}: " if each.file and each.line else ""
        yield f"{place}{each.check}: {each.kind + ' ' if each.kind else ''}{each.place} {each.message}"
        yield f"    {each.suggestion}"
    yield f"{len(findings)} finding{'' if len(findings) == 1 else 's'}" if findings else "nothing found"


def to_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Plain builtins."""
    return [
        {
            "check": str(each.check),
            "kind": each.kind,
            "place": each.place,
            "file": each.file,
            "line": each.line,
            "message": each.message,
            "suggestion": each.suggestion,
        }
        for each in findings
    ]
