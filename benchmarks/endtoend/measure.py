"""Runs the traffic through every filter in turn, round by round, and compares within each round.

Sender, receiver and the wire between them share one CPU, and what counts is the time that the kernel gave to
them there: sender, server and the kernel's thread for packets. What else runs on the machine takes time from
them, but does not count as theirs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.endtoend.filters import DENIED, DROPPERS, FILTERS, PORT
from pyagent import abi
from pyagent.bpf import loader
from tests.lab.namespace import open_socket
from tests.netns.guarded import NODE, Guarded, guarded

SOURCE = Path(__file__).resolve().parent / "traffic.c"
KINDS = {"UDP flood": "flood", "TCP request and response": "rr", "TCP connect": "connect"}
Rounds = dict[str, dict[str, list[float]]]


class Bench:
    """The node, its neighbour, and the tool that sends."""

    def __init__(self, host: Guarded, tool: Path, milliseconds: int) -> None:
        self.host = host
        self._tool, self._milliseconds = tool, milliseconds
        self._cpu = str(max(os.sched_getaffinity(0)))
        self._others = [_thread_of_packets(self._cpu)]

    def rate(self, mode: str, port: int = PORT) -> float:
        """Operations in a second of the CPU's time, from the neighbour to the node."""
        before = sum(map(_spent, self._others))
        words = ("nsenter", f"--net={self.host.peer}", "taskset", "-c", self._cpu, str(self._tool), mode)
        done = subprocess.run(
            [*words, NODE[4], str(port), str(self._milliseconds)],
            check=True, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        others = sum(map(_spent, self._others)) - before
        count, own = map(int, done.stdout.split())
        return count * 1e9 / (own + others)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """A TCP server on the node, and a UDP socket that nobody reads."""
        words = ("taskset", "-c", self._cpu, str(self._tool), "serve", str(PORT))
        server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            self._others.append(server.pid)
            node = Path("/run/netns") / self.host.hosts.node
            with open_socket(node, 2, 2) as sink:
                sink.bind((NODE[4], PORT))
                yield
        finally:
            server.kill()
            server.communicate()


@contextmanager
def bench(milliseconds: int) -> Iterator[Bench]:
    """Two namespaces and the tool; nothing is left."""
    with tempfile.TemporaryDirectory() as folder:
        tool = Path(folder) / "traffic"
        subprocess.run(["clang", "-O2", "-o", tool, SOURCE], check=True)
        with guarded(Path(folder) / "state", abi.FLOWS_MAX, loader.PROGRAMS) as host:
            made = Bench(host, tool, milliseconds)
            with made.serving():
                yield made


def end_to_end(made: Bench, rules: int, rounds: int, names: tuple[str, ...]) -> dict[str, Any]:
    """Every kind of traffic through every filter named, which must have ``none`` among them."""
    times: Rounds = {kind: {name: [] for name in names} for kind in KINDS}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            with FILTERS[name](made.host, rules):
                for kind, mode in KINDS.items():
                    times[kind][name].append(made.rate(mode))
    return {kind: _compared(found, "none") for kind, found in times.items()}


def drops(made: Bench, rules: int, rounds: int) -> dict[str, Any]:
    """A flood at a port that is denied; against the kernel's own input chain."""
    times: dict[str, list[float]] = {name: [] for name in DROPPERS}
    for number in range(rounds):
        for name in DROPPERS if number % 2 == 0 else reversed(DROPPERS):
            with DROPPERS[name](made.host, rules):
                times[name].append(made.rate("flood", DENIED))
    return _compared(times, "nft input")


def _compared(found: Mapping[str, list[float]], base: str) -> dict[str, Any]:
    """Rates a second, ratios to ``base`` within each round, and nanoseconds more than it at best."""
    best = max(found[base])
    return {
        name: {
            "max_per_s": round(max(rates)),
            "median_per_s": round(statistics.median(rates)),
            "ratio_median": round(statistics.median(_ratios(rates, found[base])), 3),
            "ratio_of_best": round(max(rates) / best, 3),
            "added_ns": round(1e9 / max(rates) - 1e9 / best),
        }
        for name, rates in found.items()
    }


def _spent(process: int) -> int:
    """Nanoseconds that a process has had a CPU."""
    return int(Path(f"/proc/{process}/schedstat").read_text(encoding="ascii").split()[0])


def _thread_of_packets(cpu: str) -> int:
    """The kernel's thread that takes over when a CPU has many packets."""
    wanted = f"ksoftirqd/{cpu}"
    comms = Path("/proc").glob("[0-9]*/comm")
    return next(int(each.parent.name) for each in comms if each.read_text(encoding="utf-8").strip() == wanted)


def _ratios(ours: list[float], base: list[float]) -> list[float]:
    return [one / other for one, other in zip(ours, base, strict=True)]
