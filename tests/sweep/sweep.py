"""The sweep: from the old policy to the new with one step going wrong; judged; put right by the next pass."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from pyagent.errors import AutohepError
from tests.sweep.injector import Injector
from tests.sweep.scene import BEFORE, COVERED, NEW, OLD, OPEN, Scene, everywhere


def steps(scene: Scene, *, fatal: bool) -> list[str]:
    """What an apply consists of, when nothing goes wrong; not the first one, which also makes files."""
    for world in (OLD, NEW):
        assert scene.enforce(world).problem == ""
    _begin(scene)
    report = scene.directory / "steps.json"
    child = _in_child(lambda: _apply(scene, Injector(None, fatal=fatal), report))
    _, status = os.waitpid(child, os.WUNTRACED)
    assert os.WIFSTOPPED(status), "the apply ended before its time"
    names: list[str] = json.loads(report.read_text())
    report.unlink()
    assert scene.in_force() == "new"
    assert _finish(child) == 0
    return names


def kills(scene: Scene, numbers: Iterable[int]) -> Counter[str]:
    """SIGKILL at each of these steps; counts what was in force afterwards. AssertionError: a mixture."""
    found: Counter[str] = Counter()
    for number in numbers:
        _begin(scene)
        child = _in_child(lambda at=number: _apply(scene, Injector(at, fatal=True)))  # type: ignore[misc]
        _, status = os.waitpid(child, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            _finish(child)
            raise AssertionError(f"step {number}: the process was not killed")
        assert os.WTERMSIG(status) == signal.SIGKILL, f"step {number}: ended by {status}"
        found[_judged(scene, number)] += 1
        assert scene.enforce(NEW).problem == "", f"after step {number}"
        _converged(scene, number)
    return found


def errors(scene: Scene, numbers: Iterable[int]) -> Counter[str]:
    """An error at each of these steps; the same process makes the next pass. Counts as :func:`kills` does."""
    found: Counter[str] = Counter()
    for number in numbers:
        _begin(scene)
        child = _in_child(lambda at=number: _apply(scene, Injector(at, fatal=False)))  # type: ignore[misc]
        _, status = os.waitpid(child, os.WUNTRACED)
        found[_judged(scene, number)] += 1
        if os.WIFSTOPPED(status):
            assert _finish(child) == 0, f"step {number}: the next pass did not succeed"
        else:  # refused while it opened what it needs: the agent has ended, and is started again
            assert scene.enforce(NEW).problem == "", f"after step {number}"
        _converged(scene, number)
    return found


def _begin(scene: Scene) -> None:
    """The old policy is in force, and nothing of the new is left."""
    for world in (BEFORE, OLD):
        assert scene.enforce(world).problem == ""
    scene.replace_programs()
    assert scene.in_force() == "old"
    assert scene.failsafes("one") == OPEN["old"]


def _apply(scene: Scene, injector: Injector, report: Path | None = None) -> int:
    """A pass to the new policy with the fault; then wait to be judged; then a pass without one."""
    injector.install()
    with scene.agent() as enforcer:
        with suppress(AutohepError):  # the agent logs it and makes the next pass
            enforcer.enforce(NEW)
        if report is not None:
            report.write_text(json.dumps(injector.steps))
        injector.at = None
        os.kill(os.getpid(), signal.SIGSTOP)
        return 1 if enforcer.enforce(NEW).problem else 0


def _judged(scene: Scene, number: int) -> str:
    try:
        policy = scene.in_force()
    except AssertionError as error:
        raise AssertionError(f"step {number}: {error}") from error
    kept = everywhere(COVERED["old"] & COVERED["new"])
    assert scene.attached() >= kept, f"step {number}: no program at {kept - scene.attached()}"
    return policy


def _converged(scene: Scene, number: int) -> None:
    assert scene.in_force() == "new", f"after step {number}"
    assert scene.failsafes("one") == OPEN["new"], f"after step {number}"
    assert scene.attached() == everywhere(COVERED["new"]), f"after step {number}"
    assert scene.disk_agrees(), f"after step {number}: what was saved is not what is in force"
    assert scene.leftovers() == [], f"after step {number}: {scene.leftovers()}"


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
