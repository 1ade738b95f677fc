"""Run suites: every case is put to every engine, and the engines' answers are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from time import perf_counter
from typing import TYPE_CHECKING

from pyagent.inquiry import Answer, Crossing, Engines, disagreement, kernel_if_asked
from pyagent.policytest.by import decided_by, told
from pyagent.policytest.coverage import Coverage, Hits, coverage
from pyagent.policytest.suite import Case, Suite, interfaces_of
from pyagent.reference import Decision

if TYPE_CHECKING:
    from pyagent.inquiry.kernel import KernelEngine


class Outcome(StrEnum):
    """``error``: the engines disagree, so that nobody knows what is right."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What came of a case. ``message`` tells why it did not pass; ``seconds`` is how long it took.

    ``decisions`` are the reference's, one for each hook up to the one that decided.
    """

    case: Case
    outcome: Outcome
    message: str
    answers: tuple[Answer, ...]
    decisions: tuple[tuple[Crossing, Decision], ...]
    seconds: float

    @property
    def deciding(self) -> Decision:
        """The decision that the packet's fate hung on last."""
        return self.decisions[-1][1]


@dataclass(frozen=True, slots=True)
class Report:
    """The results of all cases, and which rules they met."""

    engines: tuple[str, ...]
    results: tuple[CaseResult, ...]
    coverage: Coverage

    def count(self, outcome: Outcome) -> int:
        """How many cases had that outcome."""
        return sum(result.outcome is outcome for result in self.results)

    @property
    def passed(self) -> bool:
        """Every case passed."""
        return self.count(Outcome.PASSED) == len(self.results)


def run(suites: Sequence[Suite], engines: Sequence[str]) -> Report:
    """Put every case of ``suites`` to the engines named.

    Raises what the kernel engine raises, if it is one of them.
    """
    results: list[CaseResult] = []
    hits = Hits()
    with kernel_if_asked(engines) as kernel:
        for suite in suites:
            bench = _Bench(suite, kernel)
            results += [_run_case(case, engines, bench) for case in suite.cases]
    for result in results:
        for _, decision in result.decisions:
            hits.note(decision)
    return Report(tuple(engines), tuple(results), coverage(suites, hits))


class _Bench:
    """The engines of a suite's nodes, each made ready when it is first needed."""

    def __init__(self, suite: Suite, kernel: KernelEngine | None) -> None:
        self._suite, self._kernel = suite, kernel
        self._ready: dict[str, Engines] = {}

    def engines(self, node: str) -> Engines:
        if node not in self._ready:
            named = interfaces_of(self._suite, node)
            self._ready[node] = Engines(self._suite.hosts, node, *named, kernel=self._kernel)
        return self._ready[node]


def _run_case(case: Case, names: Sequence[str], bench: _Bench) -> CaseResult:
    """One case, hook by hook until something drops the packet."""
    start = perf_counter()
    decisions: list[tuple[Crossing, Decision]] = []
    answers: tuple[Answer, ...] = ()
    trouble = ""
    for crossing in case.crossings:
        here = bench.engines(crossing.node)
        answers = here.ask(names, crossing, case.flow)
        decision = here.decide(crossing, case.flow)
        decisions.append((crossing, decision))
        trouble = disagreement(answers, crossing)
        if trouble or not decision.allowed:
            break
    outcome, message = (Outcome.ERROR, trouble) if trouble else _judge(case, answers, decisions)
    return CaseResult(case, outcome, message, answers, tuple(decisions), perf_counter() - start)


def _judge(
    case: Case, answers: tuple[Answer, ...], decisions: list[tuple[Crossing, Decision]]
) -> tuple[Outcome, str]:
    crossing, decision = decisions[-1]
    verdict = answers[-1].verdict
    if verdict != case.expect:
        return Outcome.FAILED, f"expected {case.expect}, got {verdict} by {told(decision)} on {crossing}"
    # Of a forwarded packet that passes, either hook may be the one that the case means.
    meant = [each for _, each in decisions] if decision.allowed else [decision]
    if case.by and not any(decided_by(case.by, each) for each in meant):
        return Outcome.FAILED, f"{verdict} as expected, but by {told(decision)}, not by {case.by}"
    return Outcome.PASSED, ""
