"""Times the policy compiler: python -m benchmarks.compile [RULES NODES]..."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.rule_mix import RuleMix
from pyagent.compiler import compile_image

LIMIT = 256 << 20
ROUNDS = 3
SIZES = ((100, 5000), (1000, 5000), (10000, 5000))


def measure(rules: int, nodes: int, ipv6: bool) -> dict[str, Any]:
    """Seconds on the processor, and the most memory this process ever had, in MiB."""
    view = RuleMix(nodes, ipv6=ipv6).view(rules)
    times = []
    for generation in range(1, ROUNDS + 1):
        # Time on the processor: what other processes take does not count.
        started = time.process_time()
        image = compile_image(view, generation, LIMIT)
        times.append(time.process_time() - started)
    return {
        "rules": rules,
        "nodes": nodes,
        "families": 2 if ipv6 else 1,
        "min_s": round(min(times), 4),
        "median_s": round(sorted(times)[ROUNDS // 2], 4),
        "peak_mib": _peak() // 1024,
        "image_kib": len(image.data) >> 10,
    }


def _peak() -> int:
    """The most memory this program ever had, in KiB; getrusage would count what started it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def main() -> None:
    """With ``--json RULES NODES``: one measurement of both families, for who starts this."""
    if sys.argv[1:2] == ["--json"]:
        print(json.dumps(measure(int(sys.argv[2]), int(sys.argv[3]), ipv6=True)))
        return
    numbers = [int(each) for each in sys.argv[1:]]
    for rules, nodes in zip(numbers[::2], numbers[1::2], strict=True) if numbers else SIZES:
        for ipv6 in (False, True):
            print(measure(rules, nodes, ipv6), flush=True)


if __name__ == "__main__":
    main()
