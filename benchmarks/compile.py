"""Times the policy compiler: python -m benchmarks.compile [RULES NODES]..."""

from __future__ import annotations

import resource
import sys
import time

from benchmarks.rule_mix import RuleMix
from pyagent.compiler import compile_image

LIMIT = 256 << 20
ROUNDS = 3


def measure(rules: int, nodes: int, ipv6: bool) -> str:
    view = RuleMix(nodes, ipv6=ipv6).view(rules)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    times = []
    for generation in range(1, ROUNDS + 1):
        # Time on the processor: what other processes take does not count.
        started = time.process_time()
        image = compile_image(view, generation, LIMIT)
        times.append(time.process_time() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return (
        f"{rules} rules, {nodes} nodes{' dual stack' if ipv6 else ''}: best {min(times):.3f} s, "
        f"median {sorted(times)[ROUNDS // 2]:.3f} s, peak memory {before} -> {peak} MiB\n{image.describe()}"
    )


def main() -> None:
    numbers = [int(each) for each in sys.argv[1:]] or [100, 5000, 1000, 5000, 10000, 5000]
    for rules, nodes in zip(numbers[::2], numbers[1::2], strict=True):
        for ipv6 in (False, True):
            print(measure(rules, nodes, ipv6), flush=True)


if __name__ == "__main__":
    main()
