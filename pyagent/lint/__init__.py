"""Lint: rules and selectors that are valid and do not do what they seem to."""

from __future__ import annotations

from pyagent.lint.finding import Check, Finding
from pyagent.lint.report import lines, to_json
from pyagent.lint.run import lint

__all__ = ["Check", "Finding", "lines", "lint", "to_json"]
