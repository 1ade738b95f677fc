"""``python -m tests.mutation``: each fault into a copy of the tree, and the tests that must notice (root).

Ends 1 if a fault survives, no longer applies, or does not even build; the unchanged tree must pass first.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from tests.mutation.compiler import COMPILER
from tests.mutation.fault import Fault
from tests.mutation.program import PROGRAM

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("benchmarks", "bpf", "pyagent", "tests", "pyproject.toml")
#: Seconds for the tests of one fault; a fault that makes them hang is caught as well.
PATIENCE = 240
ENVIRONMENT = {
    "PYTHONDONTWRITEBYTECODE": "1",
    "AUTOHEP_WORLDS": "48",
    "AUTOHEP_PACKETS": "120",
    "AUTOHEP_SHRINK": "0",
}
_FAILED = re.compile(r"^FAILED \S+?::(.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a fault: ``caught`` by a test, or why not."""

    fault: Fault
    caught: bool
    by: str
    seconds: float

    def __str__(self) -> str:
        word = "caught  " if self.caught else "SURVIVED"
        return f"{word} {self.seconds:5.1f} s  {self.fault.file}: {self.fault.what}  [{self.by}]"


def copy_tree(into: Path) -> Path:
    """What tests need of this checkout."""
    into.mkdir()
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, into / part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, into / part)
    return into


def run_tests(tree: Path, tests: Sequence[str]) -> tuple[int, str]:
    """(pytest's exit status, what it printed) of the tests in ``tree``; -1: they took too long."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(tree)}
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return -1, ""
    return done.returncode, done.stdout + done.stderr


def try_fault(tree: Path, fault: Fault) -> Outcome:
    """Put the fault in, run its tests, take it out again."""
    path, started = tree / fault.file, time.monotonic()
    text = path.read_text(encoding="utf-8")
    if text.count(fault.old) != 1:
        return Outcome(fault, False, f"stands there {text.count(fault.old)} times, not once", 0)
    path.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
    try:
        status, output = run_tests(tree, fault.tests)
    finally:
        path.write_text(text, encoding="utf-8")
    seconds = time.monotonic() - started
    found = _FAILED.search(output)
    if status == -1:
        return Outcome(fault, True, "the tests hang", seconds)
    if found:
        return Outcome(fault, True, found[1], seconds)
    why = "all tests passed" if status == 0 else f"no test failed, but: {output.strip().splitlines()[-1]}"
    return Outcome(fault, False, why, seconds)


def control(tree: Path, faults: Sequence[Fault]) -> str:
    """Why the unchanged tree does not pass; empty: it does."""
    tests = sorted({test for fault in faults for test in fault.tests})
    status, output = run_tests(tree, tests)
    return "" if status == 0 else output


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--only", default="", help="faults whose file or description contains this")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    faults = [fault for fault in (*PROGRAM, *COMPILER) if asked.only in f"{fault.file}: {fault.what}"]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutation-") as place:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(asked.jobs):
            trees.put(copy_tree(Path(place) / str(number)))
        if complaint := control(Path(place) / "0", faults):
            print(f"{complaint}\nThe unchanged tree does not pass; no fault was tried.")
            return 1

        def work(fault: Fault) -> Outcome:
            tree = trees.get()
            try:
                outcome = try_fault(tree, fault)
            finally:
                trees.put(tree)
            print(outcome, flush=True)
            return outcome

        with ThreadPoolExecutor(asked.jobs) as pool:
            outcomes = list(pool.map(work, faults))
    caught = sum(outcome.caught for outcome in outcomes)
    print(f"{caught} of {len(outcomes)} faults caught in {time.monotonic() - started:.0f} s")
    return 0 if caught == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
