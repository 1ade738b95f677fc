"""What the programs cost: the kernel's own run statistics over a while."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from pyagent.bpf import syscall
from pyagent.bpf.loader import PROGRAMS
from pyagent.bpf.objects import pinned_program_info
from pyagent.inspection.pinned import Pinned


def profile(pinned: Pinned, seconds: float) -> list[dict[str, Any]]:
    """Watch every pinned program for ``seconds``: runs, runs a second, and nanoseconds a run.

    The kernel counts only while somebody asks it to, at some 20 ns a run; that ends with this call.
    ``nanoseconds`` is None for a program that did not run. AutohepError if a pin is missing or damaged.
    """
    programs = [pinned.program(name) for name in sorted(PROGRAMS)]
    statistics = syscall.enable_stats()
    try:
        before, begun = _runs(programs), time.monotonic()
        time.sleep(seconds)
        after, elapsed = _runs(programs), time.monotonic() - begun
    finally:
        os.close(statistics)
    return [_row(path.name, before[path], after[path], elapsed) for path in programs]


def _runs(programs: list[Path]) -> dict[Path, tuple[int, int]]:
    found = {path: pinned_program_info(path) for path in programs}
    return {path: (each.runs, each.run_ns) for path, each in found.items()}


def _row(name: str, before: tuple[int, int], after: tuple[int, int], elapsed: float) -> dict[str, Any]:
    runs, nanoseconds = after[0] - before[0], after[1] - before[1]
    return {
        "program": name,
        "packets": runs,
        "perSecond": round(runs / elapsed, 1),
        "nanoseconds": round(nanoseconds / runs, 1) if runs else None,
        "cpu": round(nanoseconds / 1e9 / elapsed, 6),
    }
