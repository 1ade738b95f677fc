"""Explanations: what becomes of a packet on its way, hook by hook, and why."""

from __future__ import annotations

from pyagent.explain.explanation import Explanation, HookExplanation, explain
from pyagent.explain.question import Question, parse_end
from pyagent.explain.report import lines, to_json

__all__ = ["Explanation", "HookExplanation", "Question", "explain", "lines", "parse_end", "to_json"]
