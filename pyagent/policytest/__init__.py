"""Policy tests: files that say which packets policies let through, checked by several engines."""

from __future__ import annotations

from pyagent.policytest.coverage import Coverage, coverage
from pyagent.policytest.junit import junit
from pyagent.policytest.report import lines, to_json
from pyagent.policytest.run import CaseResult, Outcome, Report, run
from pyagent.policytest.suite import Case, Suite, load_suites

__all__ = [
    "Case",
    "CaseResult",
    "Coverage",
    "Outcome",
    "Report",
    "Suite",
    "coverage",
    "junit",
    "lines",
    "load_suites",
    "run",
    "to_json",
]
