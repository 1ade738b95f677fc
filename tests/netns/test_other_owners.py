"""Programs, filters and queueing disciplines of others: they stay where they are and see every packet."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from pyagent.abi import Direction
from pyagent.attach import tcx
from pyagent.attach.outcome import Mode
from pyagent.attach.reconcile import Reconciler
from pyagent.attach.uninstall import uninstall
from pyagent.bpf import numbers, syscall
from pyagent.bpf.maps import Map, MapSpec
from pyagent.bpf.numbers import TC_SHOT, TC_UNSPEC, MapType, ProgramType
from pyagent.bpf.pins import Pins
from tests.dataplane.kernel_objects import instruction
from tests.netns.test_attach import hosts, pins, put_programs, wire
from tests.netns.two_hosts import TwoHosts, run

__all__ = ["hosts", "pins"]

_CELL = MapSpec("counter", MapType.ARRAY, 4, 8, 1)
MODES = pytest.mark.parametrize(
    "mode", [pytest.param(Mode.TCX, marks=pytest.mark.since((6, 6), "tcx")), Mode.CLSACT]
)
_FIRST = struct.pack("=I", 0)


@dataclass(frozen=True)
class Counter:
    """A program of somebody else that counts packets and lets the next one judge."""

    name: str
    program: int
    cell: Map

    def packets(self) -> int:
        value = self.cell.get(_FIRST)
        assert value is not None
        return int.from_bytes(value, "little")


@pytest.fixture
def neighbours() -> Iterator[list[Counter]]:
    """Two for each direction."""
    with ExitStack() as stack:
        made = []
        for name in ("in_before", "in_after", "out_before", "out_after"):
            cell = stack.enter_context(Map.create(_CELL))
            program = syscall.prog_load(ProgramType.SCHED_CLS, counting(cell.fd), name)
            stack.callback(os.close, program)
            made.append(Counter(name, program, cell))
        yield made


def counting(fd: int) -> bytes:
    """Adds one to the only cell of a map; its verdict is left to whoever comes next."""
    return b"".join((
        instruction(0x62, 0x0A, -4, 0),  # *(u32 *)(r10 - 4) = 0
        instruction(0xBF, 0xA2),  # r2 = r10
        instruction(0x07, 0x02, 0, -4),  # r2 += -4
        instruction(0x18, 0x11, 0, fd), instruction(0),  # r1 = the map
        instruction(0x85, 0, 0, 1),  # r0 = bpf_map_lookup_elem(r1, r2)
        instruction(0x15, 0, 2, 0),  # if r0 == 0, two further
        instruction(0xB7, 0x01, 0, 1),  # r1 = 1
        instruction(0xDB, 0x10),  # lock *(u64 *)r0 += r1
        instruction(0xB7, 0, 0, TC_UNSPEC),
        instruction(0x95),
    ))  # fmt: skip


def everybody_counts(hosts: TwoHosts, neighbours: list[Counter]) -> None:
    before = [each.packets() for each in neighbours]
    assert hosts.peer_reaches_node("3")
    grown = {each.name: each.packets() - one for each, one in zip(neighbours, before, strict=True)}
    assert all(number > 0 for number in grown.values()), grown


def live_through(hosts: TwoHosts, pins: Pins, mode: Mode, neighbours: list[Counter]) -> None:
    """Start, restart with new programs, and uninstall; others count packets all the time."""
    for _ in range(3):
        put_programs(pins, TC_UNSPEC)
        reports = Reconciler(pins, mode).reconcile([wire(hosts)])
        assert [report.attached for report in reports] == [True, True]
        everybody_counts(hosts, neighbours)
    # The control: where ours deny, nobody gets through, and who comes after ours sees nothing.
    put_programs(pins, TC_SHOT)
    Reconciler(pins, mode).reconcile([wire(hosts)])
    assert not hosts.peer_reaches_node()
    removed = uninstall(pins)
    assert (removed.links, removed.filters) == ((2, 0) if mode is Mode.TCX else (0, 2))
    everybody_counts(hosts, neighbours)


HOOKS = (("in", "ingress"), ("out", "egress"))


@MODES
def test_filters_of_others_before_and_behind_ours_see_every_packet_to_the_end(
    hosts: TwoHosts, pins: Pins, neighbours: list[Counter], mode: Mode
) -> None:
    run("tc", "qdisc", "add", "dev", "wire", "clsact")
    folder = pins.base / f"neighbours{os.getpid()}"
    folder.mkdir()
    try:
        for each in neighbours:
            syscall.obj_pin(each.program, folder / each.name)
        for short, hook in HOOKS:
            add_filter(hook, "7", folder / f"{short}_after")
        put_programs(pins, TC_UNSPEC)
        Reconciler(pins, mode).reconcile([wire(hosts)])
        for short, hook in HOOKS:  # of equal priority the newest is the first
            add_filter(hook, "1", folder / f"{short}_before")
        live_through(hosts, pins, mode, neighbours)
        for short, hook in HOOKS:
            shown = run("tc", "filter", "show", "dev", "wire", hook)
            left = re.findall(r" (\S+):\[\*fsobj\] direct-action", shown)
            assert left == [f"{short}_before", f"{short}_after"]
    finally:
        for pin in folder.iterdir():
            pin.unlink()
        folder.rmdir()


def add_filter(hook: str, priority: str, pin: Path) -> None:
    run(
        "tc",
        "filter",
        "add",
        "dev",
        "wire",
        hook,
        "prio",
        priority,
        "handle",
        "1",
        "bpf",
        "da",
        "pinned",
        str(pin),
    )


@pytest.mark.since((6, 6), "tcx")
def test_tcx_programs_of_others_before_and_behind_ours_see_every_packet_to_the_end(
    hosts: TwoHosts, pins: Pins, neighbours: list[Counter]
) -> None:
    by_name = {each.name: each.program for each in neighbours}
    links = []
    try:
        put_programs(pins, TC_UNSPEC)
        for first in (False, True):
            for short, direction in (("in", Direction.INGRESS), ("out", Direction.EGRESS)):
                program = by_name[f"{short}_{'before' if first else 'after'}"]
                flags = numbers.F_BEFORE if first else 0
                links.append(syscall.link_create(program, hosts.ifindex, tcx.ATTACH_TYPE[direction], flags))
            Reconciler(pins, Mode.TCX).reconcile([wire(hosts)])
        live_through(hosts, pins, Mode.TCX, neighbours)
        for attach_type in tcx.ATTACH_TYPE.values():
            assert len(syscall.prog_query(hosts.ifindex, attach_type)) == 2
    finally:
        for link in links:
            os.close(link)


@MODES
@pytest.mark.parametrize("kind", ["htb", "tbf"])
def test_a_queueing_discipline_of_others_stays_and_carries_packets(
    hosts: TwoHosts, pins: Pins, mode: Mode, kind: str
) -> None:
    arguments = {"htb": ["default", "1"], "tbf": ["rate", "100mbit", "burst", "32k", "latency", "10ms"]}
    there = ["tc", "qdisc", "add", "dev", "wire", "root", "handle", "8001:", kind, *arguments[kind]]
    run(*there)
    if kind == "htb":
        run(
            "tc",
            "class",
            "add",
            "dev",
            "wire",
            "parent",
            "8001:",
            "classid",
            "8001:1",
            "htb",
            "rate",
            "1gbit",
        )
    before = run("tc", "qdisc", "show", "dev", "wire")
    for _ in range(2):
        put_programs(pins, TC_UNSPEC)
        Reconciler(pins, mode).reconcile([wire(hosts)])
        sent = packets_of("8001:")
        assert hosts.peer_reaches_node("3")
        assert packets_of("8001:") > sent
    uninstall(pins)
    assert run("tc", "qdisc", "show", "dev", "wire") == before
    sent = packets_of("8001:")
    assert hosts.peer_reaches_node("3")
    assert packets_of("8001:") > sent


def packets_of(handle: str) -> int:
    """Packets that a queueing discipline has sent."""
    shown = run("tc", "-s", "qdisc", "show", "dev", "wire")
    found = re.search(rf"{handle} .*?Sent \d+ bytes (\d+) pkt", shown, re.DOTALL)
    assert found is not None, shown
    return int(found[1])
