"""The sweep: from the old policy to the new with one step going wrong; judged; put right by the next pass."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyagent.errors import AutohepError
from tests.sweep.courses import APPLY, Course
from tests.sweep.injector import Injector
from tests.sweep.scene import Scene

#: A course that had fewer steps than when they were counted.
SOONER = "over sooner"


def steps(scene: Scene, course: Course = APPLY, *, fatal: bool) -> list[str]:
    """What a course consists of, when nothing goes wrong; not the first one, which also makes files."""
    course.begin(scene)
    course.finish(scene)
    course.begin(scene)
    report = scene.directory / "steps.json"
    child = _in_child(lambda: _go(scene, course, Injector(None, fatal=fatal), report))
    _, status = os.waitpid(child, os.WUNTRACED)
    assert os.WIFSTOPPED(status), "the course ended before its time"
    names: list[str] = json.loads(report.read_text())
    report.unlink()
    assert _finish(child) == 0
    course.converged(scene)
    return names


def kills(scene: Scene, numbers: Iterable[int], course: Course = APPLY) -> Counter[str]:
    """SIGKILL at each of these steps; counts what was in force afterwards. AssertionError: a mixture."""
    found: Counter[str] = Counter()
    for number in numbers:
        with _named(number):
            course.begin(scene)
            child = _in_child(lambda at=number: _go(scene, course, Injector(at, fatal=True)))  # type: ignore[misc]
            _, status = os.waitpid(child, os.WUNTRACED)
            if os.WIFSTOPPED(status):
                assert _finish(child) == 0, "a course without a fault did not succeed"
                found[SOONER] += 1
            else:
                assert os.WTERMSIG(status) == signal.SIGKILL, f"ended by {status}"
                found[course.judge(scene)] += 1
            course.finish(scene)
            course.converged(scene)
    assert found[SOONER] <= found.total() // 20, f"steps that were not there again: {found}"
    return found


def errors(scene: Scene, numbers: Iterable[int], course: Course = APPLY) -> Counter[str]:
    """An error at each of these steps; the same process goes on. Counts as :func:`kills` does."""
    found: Counter[str] = Counter()
    for number in numbers:
        with _named(number):
            course.begin(scene)
            child = _in_child(lambda at=number: _go(scene, course, Injector(at, fatal=False)))  # type: ignore[misc]
            _, status = os.waitpid(child, os.WUNTRACED)
            found[course.judge(scene)] += 1
            if os.WIFSTOPPED(status):
                assert _finish(child) == 0, "the next pass did not succeed"
            else:  # refused while it opened what it needs: the agent has ended, and is started again
                course.finish(scene)
            course.converged(scene)
    return found


@contextmanager
def _named(number: int) -> Iterator[None]:
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"step {number}: {error}") from error


def _go(scene: Scene, course: Course, injector: Injector, report: Path | None = None) -> int:
    """The course with the fault; then wait to be judged; then once more without one."""
    with course.way(scene, injector) as go:
        with suppress(AutohepError):  # the agent logs it and makes the next pass
            go()
        if report is not None:
            report.write_text(json.dumps(injector.steps))
        injector.at = None
        os.kill(os.getpid(), signal.SIGSTOP)
        return 0 if go() else 1


def _in_child(work: Callable[[], int]) -> int:
    """Do it in a process of its own; its pid."""
    child = os.fork()
    if not child:
        status = 70
        try:
            status = work()
        finally:
            os._exit(status)
    return child


def _finish(child: int) -> int:
    os.kill(child, signal.SIGCONT)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
