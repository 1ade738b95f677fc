"""A report for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyagent.policytest.by import told
from pyagent.policytest.coverage import Coverage
from pyagent.policytest.run import CaseResult, Outcome, Report

_WORDS = {Outcome.PASSED: "ok   ", Outcome.FAILED: "FAIL ", Outcome.ERROR: "ERROR"}


def lines(report: Report, *, verbose: bool = False) -> Iterator[str]:
    """The report, a line a case (``verbose``: those that passed too), then coverage and the total."""
    file = ""
    for result in report.results:
        if result.outcome is Outcome.PASSED and not verbose:
            continue
        if result.case.file != file:
            file = result.case.file
            yield file
        yield from _case(result)
    yield from _coverage(report.coverage)
    failed, errors = report.count(Outcome.FAILED), report.count(Outcome.ERROR)
    noun = "case" if len(report.results) == 1 else "cases"
    total = f"{len(report.results)} {noun}, {report.count(Outcome.PASSED)} passed"
    total += f", {failed} failed" if failed else ""
    total += f", {errors} on which engines disagree" if errors else ""
    yield f"{total} (engines: {', '.join(report.engines)})"


def _case(result: CaseResult) -> Iterator[str]:
    case = result.case
    by = f"  {result.answers[-1].verdict} by {told(result.deciding)}" if not result.message else ""
    yield f"  {_WORDS[result.outcome]}  {case.name}{by}"
    if result.message:
        yield f"         {case.file}:{case.line}: {result.message}"
        for crossing, decision in result.decisions:
            yield f"         {crossing}: {crossing.packet}"
            for line in decision.lines():
                yield f"           {line}"


def _coverage(found: Coverage) -> Iterator[str]:
    if not found.rules:
        return
    hit = len(found.rules) - len(found.missed)
    yield f"{hit} of {len(found.rules)} rules met by a case{', not these:' if found.missed else ''}"
    for rule in found.missed:
        yield f"  {rule.where + ': ' if rule.where else ''}{rule.place}"


def to_json(report: Report) -> dict[str, Any]:
    """The report as plain builtins."""
    return {
        "passed": report.passed,
        "engines": list(report.engines),
        "totals": {
            "cases": len(report.results),
            **{str(outcome): report.count(outcome) for outcome in Outcome},
        },
        "cases": [_case_json(result) for result in report.results],
        "coverage": {
            "rules": len(report.coverage.rules),
            "hit": len(report.coverage.rules) - len(report.coverage.missed),
            "missed": [
                {"kind": rule.place.kind, "rule": str(rule.place), "where": rule.where}
                for rule in report.coverage.missed
            ],
        },
    }


def _case_json(result: CaseResult) -> dict[str, Any]:
    case = result.case
    return {
        "name": case.name,
        "file": case.file,
        "line": case.line,
        "outcome": str(result.outcome),
        "message": result.message,
        "expect": str(case.expect),
        "by": told(result.deciding),
        "because": result.deciding.because,
        "packet": str(case.crossings[0].packet),
        "hooks": [str(crossing) for crossing, _ in result.decisions],
        "engines": [answer.to_json() for answer in result.answers],
    }
