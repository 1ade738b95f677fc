"""One program on several CPUs at once, and with a flow table of a million entries."""

from __future__ import annotations

import multiprocessing
import os
import random
import statistics
import struct
from collections.abc import Iterator
from typing import Any

from benchmarks.verdict import LOOPBACK, Bench, frame, loaded
from pyagent import abi
from pyagent.bpf import testrun
from pyagent.bpf.maps import Map

ESTABLISHED = frame(22, flags=16)


def _run(work: tuple[int, int, int]) -> int:
    """Nanoseconds a packet on one CPU."""
    program, cpu, repeat = work
    os.sched_setaffinity(0, {cpu})
    return testrun.run(program, ESTABLISHED, ifindex=LOOPBACK, repeat=repeat).nanoseconds


def on_every_cpu(bench: Bench, rounds: int, repeat: int) -> dict[str, Any]:
    """The same flow alone and on every CPU at once, in turn: the ratio is what sharing costs."""
    program, cpus = bench.descriptor("tc_ingress"), sorted(os.sched_getaffinity(0))
    alone, together = [], []
    with multiprocessing.get_context("fork").Pool(len(cpus)) as pool:
        for _ in range(rounds):
            alone.append(pool.map(_run, [(program, cpus[0], repeat)])[0])
            together.append(max(pool.map(_run, [(program, cpu, repeat) for cpu in cpus], chunksize=1)))
    return {
        "cpus": len(cpus),
        "alone_min_ns": min(alone),
        "together_min_ns": min(together),
        "alone_median_ns": statistics.median(alone),
        "together_median_ns": statistics.median(together),
        "ratio_min": round(min(together) / min(alone), 2),
    }


def with_flows(bench: Bench, counts: tuple[int, ...], rounds: int, repeat: int) -> list[dict[str, Any]]:
    """An established packet while so many other flows are in the table."""
    found = []
    for count in counts:
        flows = bench.map("flows4")
        flows.clear()
        flows.update_many(_flows(flows, count))
        bench.open_flow()
        times = [bench.nanoseconds("tc_ingress", ESTABLISHED, repeat) for _ in range(rounds)]
        found.append({"flows": len(flows), "min_ns": min(times), "median_ns": statistics.median(times)})
        flows.clear()
    return found


def _flows(flows: Map, count: int) -> Iterator[tuple[bytes, bytes]]:
    dice = random.Random(count)
    value = bytes(abi.FLOW.size)
    for number in range(count):
        yield struct.pack("=I", number) + dice.randbytes(flows.info.key_size - 4), value


def measure(rounds: int, repeat: int, counts: tuple[int, ...]) -> dict[str, Any]:
    """Both, with 1,000 rules."""
    with loaded(flows_max=max(*counts, 4096) * 5 // 4) as bench:
        bench.load(1000, 1000)
        bench.open_flow()
        return {
            "cpus": on_every_cpu(bench, rounds, repeat),
            "flows": with_flows(bench, counts, rounds, repeat),
        }
