"""The whole sweep, part of ``make test-resilience``: every step; ends at the first mixture."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections import Counter
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

from tests.sweep import sweep
from tests.sweep.courses import APPLY, EDIT, LOAD, Course, without_tcx
from tests.sweep.scene import Scene, scene


def main() -> int:
    """Sweep, print how often the old and how often the new was in force."""
    logging.disable()  # the passes tell of each fault
    with ExitStack() as stack:
        state, cache = (
            stack.enter_context(tempfile.TemporaryDirectory(prefix="autohep-sweep-")) for _ in range(2)
        )
        os.environ["AUTOHEP_OBJECT_CACHE"] = cache  # else most of the time goes to compiling
        made = stack.enter_context(scene(Path(state)))
        for course in (APPLY, EDIT, LOAD):
            _sweep(made, course, course.name, nullcontext())
        _sweep(made, APPLY, "an apply by clsact", without_tcx())
    return 0


def _sweep(made: Scene, course: Course, name: str, around: AbstractContextManager[None]) -> None:
    with around:
        for title, fatal, go in (("killed", True, sweep.kills), ("an error", False, sweep.errors)):
            names = sweep.steps(made, course, fatal=fatal)
            found = go(made, range(len(names)), course)
            outcome = ", ".join(f"{count} times {state}" for state, count in sorted(found.items()))
            kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(names).most_common())
            print(f"{title} at each of {len(names)} steps of {name}: {outcome} in force afterwards,")
            print(f"  never a mixture, nothing uncovered; steps: {kinds}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
