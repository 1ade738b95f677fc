"""What a verdict costs, by the number of rules and nodes: ``make bench-verdict`` (root).

Runs the real program and programs that do a part of its work alternately on one packet by BPF_PROG_TEST_RUN,
and prints nanoseconds (minimum and median of the rounds) and their ratio to a program that only parses.
``--json FILE`` writes the same figures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.rule_mix import RuleMix
from pyagent import abi
from pyagent.bpf import layout, loader, syscall, testrun
from pyagent.bpf.maps import Map
from pyagent.bpf.pins import Pins, ensure_bpffs
from pyagent.calc.view import Failsafe, NodeView
from pyagent.compiler import Image, compile_image
from pyagent.compiler.table import DENSE_BYTES
from pyagent.dataplane import Dataplane, Interface

SOURCE = Path(__file__).resolve().parent / "bpf" / "verdict.c"
PROGRAMS = (
    "tc_floor", "tc_floor_varied", "tc_verdict", "tc_verdict_varied", "tc_ingress", "tc_ingress_varied",
)  # fmt: skip
#: (rules, nodes)
SIZES = ((1, 1000), (10, 1000), (100, 1000), (1000, 1000), (10000, 1000), (10000, 10000))
IMAGE_BYTES = 64 << 20
LOOPBACK = 1


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the report: a program on a frame, and the program its cost is compared with."""

    name: str
    program: str
    frame: bytes
    floor: str = "tc_floor"


def frame(destination_port: int, flags: int = 2, source_port: int = 40000) -> bytes:
    """An Ethernet frame with a TCP segment from 10.0.0.10, the first node, to itself."""
    tcp = struct.pack(">HHIIBBHHH", source_port, destination_port, 1, 1, 0x50, flags, 1000, 0, 0)
    node = bytes([10, 0, 0, 10])
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, 0, node, node)
    return bytes(12) + b"\x08\x00" + ip + tcp


def cases(allowed: int, denied: int) -> tuple[Case, ...]:
    """What is measured; the ports are such that the policy allows and denies them."""
    return (
        Case("verdict alone, hot", "tc_verdict", frame(denied)),
        Case("verdict alone, varied", "tc_verdict_varied", frame(denied), "tc_floor_varied"),
        Case("established", "tc_ingress", frame(allowed, flags=16)),
        Case("denied, hot", "tc_ingress", frame(denied)),
        Case("allowed SYN of a known flow", "tc_ingress", frame(allowed)),
        Case("all new and varied, whole program", "tc_ingress_varied", frame(denied), "tc_floor_varied"),
    )


class Bench:
    """The programs, loaded once, and the image of the size that is being measured."""

    def __init__(self, pins: Pins, flows_max: int) -> None:
        self._dataplane = Dataplane(pins, flows_max, IMAGE_BYTES)
        self._fds = {name: syscall.obj_get(pins.program(name)) for name in PROGRAMS}

    def close(self) -> None:
        for fd in self._fds.values():
            os.close(fd)
        self._dataplane.close()

    def load(self, rules: int, nodes: int) -> Image:
        return self.enforce(RuleMix(nodes).view(rules))

    def enforce(self, view: NodeView, dense: int = DENSE_BYTES) -> Image:
        """Put a view in force; ``dense``: bytes beyond which tables are in pages."""
        image = compile_image(view, self._dataplane.next_generation, self._dataplane.image_bytes, dense)
        # The failsafe lets a connection in whatever the random rules say.
        failsafe = Failsafe("ingress", 6, 22)
        self._dataplane.apply(image, [Interface(LOOPBACK, 0)], [failsafe])
        return image

    def denied_port(self) -> int:
        """A port that this rule set denies from the first node."""
        return next(port for port in range(2, 65536) if self._verdict(frame(port)) == 2)

    def _verdict(self, packet: bytes) -> int:
        return testrun.run(self._fds["tc_verdict"], packet, ifindex=LOOPBACK).verdict

    def open_flow(self) -> None:
        """A flow to the failsafe port: what is established."""
        assert testrun.run(self._fds["tc_ingress"], frame(22), ifindex=LOOPBACK).verdict == -1

    def descriptor(self, program: str) -> int:
        """The program's, for as long as this is open."""
        return self._fds[program]

    def map(self, name: str) -> Map:
        """One of the maps, which stays the bench's own."""
        return self._dataplane.map(name)

    def nanoseconds(self, program: str, packet: bytes, repeat: int) -> int:
        return testrun.run(self._fds[program], packet, ifindex=LOOPBACK, repeat=repeat).nanoseconds


def measure(bench: Bench, rounds: int, repeat: int) -> list[dict[str, Any]]:
    """All cases and their floors, one after another in every round."""
    measured = cases(22, bench.denied_port())
    bench.open_flow()
    floors = {case.floor: case.frame for case in measured}
    times: dict[str, list[int]] = {name: [] for name in (*floors, *(case.name for case in measured))}
    for _ in range(rounds):
        for name, packet in floors.items():
            times[name].append(bench.nanoseconds(name, packet, repeat))
        for case in measured:
            times[case.name].append(bench.nanoseconds(case.program, case.frame, repeat))
    return [
        {
            "case": case.name,
            "min_ns": min(times[case.name]),
            "median_ns": statistics.median(times[case.name]),
            "floor_min_ns": min(times[case.floor]),
            "ratio_min": round(min(times[case.name]) / min(times[case.floor]), 2),
            "ratio_median": round(
                statistics.median(
                    ours / floor for ours, floor in zip(times[case.name], times[case.floor], strict=True)
                ),
                2,
            ),
        }
        for case in measured
    ]


@contextmanager
def loaded(flows_max: int = abi.FLOWS_MAX) -> Iterator[Bench]:
    """The programs under an instance of their own, gone afterwards."""
    ensure_bpffs()
    pins = Pins(f"bench-{os.getpid()}")
    pins.create()
    defines = {"IMAGE_BYTES": IMAGE_BYTES, "FLOWS_MAX": flows_max, "NODES": max(n for _, n in SIZES)}
    try:
        specs = layout.map_specs(flows_max, IMAGE_BYTES)
        loader.load_source(SOURCE, pins, PROGRAMS, specs, defines)
        bench = Bench(pins, flows_max)
        try:
            yield bench
        finally:
            bench.close()
    finally:
        pins.remove()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--repeat", type=int, default=200_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    report: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "kernel": platform.release(),
        "rounds": arguments.rounds,
        "repeat": arguments.repeat,
        "sizes": [],
    }
    with loaded() as bench:
        for rules, nodes in SIZES:
            image = bench.load(rules, nodes)
            print(f"\n{rules} rules, {nodes} nodes ({len(image.data) >> 10} KiB image)")
            print(f"  {'':36}{'min ns':>8}{'median':>8}{'x floor, min':>14}{'median':>8}")
            lines = measure(bench, arguments.rounds, arguments.repeat)
            for line in lines:
                print(
                    f"  {line['case']:36}{line['min_ns']:8}{line['median_ns']:8.0f}"
                    f"{line['ratio_min']:14.2f}{line['ratio_median']:8.2f}",
                    flush=True,
                )
            report["sizes"].append({"rules": rules, "nodes": nodes, "cases": lines})
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
