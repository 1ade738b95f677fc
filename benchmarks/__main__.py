"""Everything measured in one run: ``make bench`` (root). ``--smoke``: tiny sizes, to see that it works."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import changes, latency, parallel, report, rest, verdict
from benchmarks.changes import EDITS, POLICIES
from benchmarks.endtoend.filters import FILTERS
from benchmarks.endtoend.measure import bench, drops, end_to_end

RESULTS = Path(__file__).resolve().parent / "results"
#: A rule for each line costs so much beyond this many that the other figures would have to wait for it.
LINEAR_MOST = 1000


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured."""

    verdict_sizes: tuple[tuple[int, int], ...] = verdict.SIZES
    verdict_rounds: int = 9
    repeat: int = 200_000
    rules: tuple[int, ...] = (1, 10, 100, 1000, 10000)
    rounds: int = 15
    milliseconds: int = 250
    compile_sizes: tuple[tuple[int, int], ...] = ((1000, 5000), (10000, 5000))
    changes: int = 100
    #: Nodes and policies among which one changes, and how many labels and policies do.
    among: tuple[tuple[int, int], ...] = ((5000, 10), (5000, 100), (5000, 1000))
    changed: tuple[int, int] = (EDITS, POLICIES)
    policies: tuple[int, ...] = (1, 500)
    nodes: tuple[int, int] = (5000, 500)
    resting_s: tuple[float, float] = (10.0, 30.0)
    flows: tuple[int, ...] = (1, 1000, 100_000, 1_000_000)


SMOKE = Extent(
    ((1, 100),), 1, 1000, (1, 10), 1, 30, ((10, 100),), 2, ((20, 3),), (2, 3), (1,), (5, 2), (0.1, 0.5),
    (1, 1000),
)  # fmt: skip


def measure(extent: Extent) -> dict[str, Any]:
    """Measure everything, telling standard error what it is at."""
    begun = time.monotonic()
    found: dict[str, Any] = {
        "machine": _processor(),
        "kernel": platform.release(),
        "cpus": len(os.sched_getaffinity(0)),
        "verdict": _said("the program", lambda: _verdict(extent)),
        "parallel": _said(
            "several CPUs, many flows",
            lambda: parallel.measure(extent.verdict_rounds, extent.repeat, extent.flows),
        ),
        **_said("end to end", lambda: _end_to_end(extent)),
        "compile": _said("the compiler", lambda: [_compile(*each) for each in extent.compile_sizes]),
        "changes": _said(
            "one node, one policy", lambda: [changes.measure(*each, *extent.changed) for each in extent.among]
        ),
        "latency": _said(
            "changes of policy",
            lambda: [latency.measure(extent.changes, count) for count in extent.policies],
        ),
        "rest": _said("an agent at rest", lambda: [rest.measure(*extent.nodes, *extent.resting_s)]),
    }
    return {**found, "load": os.getloadavg()[1], "seconds": round(time.monotonic() - begun)}


def _said(what: str, work: Any) -> Any:
    print(f"bench: {what}", file=sys.stderr, flush=True)
    return work()


def _verdict(extent: Extent) -> dict[str, Any]:
    sizes = []
    with verdict.loaded() as loaded:
        for rules, nodes in extent.verdict_sizes:
            loaded.load(rules, nodes)
            lines = verdict.measure(loaded, extent.verdict_rounds, extent.repeat)
            sizes.append({"rules": rules, "nodes": nodes, "cases": lines})
    return {"rounds": extent.verdict_rounds, "repeat": extent.repeat, "sizes": sizes}


def _end_to_end(extent: Extent) -> dict[str, Any]:
    sizes = []
    with bench(extent.milliseconds) as made:
        for rules in extent.rules:
            names = tuple(name for name in FILTERS if name != "nft linear" or rules <= LINEAR_MOST)
            sizes.append({"rules": rules, **end_to_end(made, rules, extent.rounds, names)})
        return {"end_to_end": sizes, "drops": drops(made, min(1000, max(extent.rules)), extent.rounds)}


def _compile(rules: int, nodes: int) -> dict[str, Any]:
    """In a process of its own, whose memory nothing else has raised."""
    words = [sys.executable, "-m", "benchmarks.compile", "--json", str(rules), str(nodes)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="measure next to nothing, to see that it works")
    parser.add_argument("--into", type=Path, default=RESULTS, metavar="DIR", help="where results are written")
    arguments = parser.parse_args()
    found = measure(SMOKE if arguments.smoke else Extent())
    arguments.into.mkdir(parents=True, exist_ok=True)
    (arguments.into / "bench.json").write_text(json.dumps(found, indent=1) + "\n")
    report.write(found, arguments.into)
    print((arguments.into / "README.md").read_text())


if __name__ == "__main__":
    main()
