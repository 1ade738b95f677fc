"""A report as JUnit XML, which CI systems show beside other tests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.sax.saxutils import quoteattr

from pyagent.policytest.run import CaseResult, Outcome, Report

#: What XML 1.0 cannot carry, whatever way it is written.
_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ELEMENTS = {Outcome.FAILED: "failure", Outcome.ERROR: "error"}


def junit(report: Report) -> str:
    """One testsuite a file, one testcase a case."""
    files: dict[str, list[CaseResult]] = {}
    for result in report.results:
        files.setdefault(result.case.file, []).append(result)
    suites = [_suite(file, results) for file, results in files.items()]
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>", *suites, "</testsuites>", ""])


def _suite(file: str, results: list[CaseResult]) -> str:
    counts = {
        "name": file,
        "tests": len(results),
        "failures": sum(result.outcome is Outcome.FAILED for result in results),
        "errors": sum(result.outcome is Outcome.ERROR for result in results),
        "time": f"{sum(result.seconds for result in results):.3f}",
    }
    cases = "\n".join(_case(file, result) for result in results)
    return f"  <testsuite{_attributes(counts)}>\n{cases}\n  </testsuite>"


def _case(file: str, result: CaseResult) -> str:
    head = {
        "classname": file,
        "name": result.case.name,
        "file": file,
        "line": result.case.line,
        "time": f"{result.seconds:.3f}",
    }
    element = _ELEMENTS.get(result.outcome)
    if element is None:
        return f"    <testcase{_attributes(head)}/>"
    why = f"      <{element}{_attributes({'message': result.message})}/>"
    return f"    <testcase{_attributes(head)}>\n{why}\n    </testcase>"


def _attributes(values: Mapping[str, object]) -> str:
    return "".join(f" {name}={quoteattr(_NO_XML.sub('?', str(value)))}" for name, value in values.items())
