"""XDP drops a frame if and only if tc would drop it at the untracked stage, whatever policy and frame."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

import pytest

from pyagent import abi
from pyagent.abi import Direction, Reason, TableKind
from pyagent.bpf import syscall, testrun
from pyagent.bpf.loader import load
from pyagent.bpf.numbers import XDP_DROP, XDP_PASS
from tests.property.test_engines_agree import world_of
from tests.support.kernel import FLOWS_MAX, INTERFACES, Kernel
from tests.support.kernel_agreement import Sent, Trio, sent_cases

WORLDS, FRAMES = 160, 150
#: Interfaces with counters of their own.
COUNTED = [name for name, index in INTERFACES.items() if index < abi.IFSTATE_MAX]


@pytest.fixture(scope="module")
def program(kernel: Kernel) -> Iterator[int]:
    """The XDP program on the very maps of the classifiers."""
    loaded = load(kernel.pins, ("xdp_ingress",), flows_max=FLOWS_MAX)
    assert loaded.created == ()
    descriptor = syscall.obj_get(loaded.programs["xdp_ingress"])
    yield descriptor
    os.close(descriptor)


def denied(kernel: Kernel, interface: str) -> int:
    """How often an untracked policy has denied at ingress there."""
    cells = kernel.dataplane.map("counters").sum_per_cpu(struct.pack("=I", INTERFACES[interface]))
    assert cells is not None
    return cells[int(Direction.INGRESS) * abi.REASON_MAX + int(Reason.UNTRACKED_DENY)]


def untracked_worlds(kernel: Kernel, part: int) -> Iterator[tuple[Trio, int]]:
    """Random worlds that have untracked policy at ingress, in force one after the other."""
    for seed in range(part, WORLDS, 2):
        world = world_of(seed)
        trio = Trio(kernel, world)
        if any(TableKind.UNTRACKED_INGRESS in each.tables for each in trio.engines.view.endpoints):
            yield trio, seed


@pytest.mark.parametrize("part", range(2))
def test_xdp_drops_what_the_untracked_stage_of_tc_would_drop(kernel: Kernel, program: int, part: int) -> None:
    dropped = passed = 0
    for trio, seed in untracked_worlds(kernel, part):
        sent = [one for one in sent_cases(trio.world, seed, FRAMES) if one.direction is Direction.INGRESS]
        reasons = [trio.alone(one).kernel.reason for one in sent]
        before = {name: denied(kernel, name) for name in COUNTED}
        verdicts = [run(program, one) for one in sent]
        for one, reason, verdict in zip(sent, reasons, verdicts, strict=True):
            expected = XDP_DROP if reason is Reason.UNTRACKED_DENY else XDP_PASS
            assert verdict == expected, f"world {seed}: {reason.name}\n{one}\n{one.frame.hex()}"
        drops = [
            one.case.interface for one, verdict in zip(sent, verdicts, strict=True) if verdict == XDP_DROP
        ]
        for name, count in before.items():
            assert denied(kernel, name) == count + drops.count(name), f"world {seed}: counted at {name}"
        dropped += len(drops)
        passed += len(sent) - len(drops)
    assert dropped > 10
    assert passed > 100


def run(program: int, sent: Sent) -> int:
    """The XDP program's verdict on a frame at its interface."""
    return testrun.run_xdp(program, sent.frame, ingress_ifindex=INTERFACES[sent.case.interface]).verdict


def test_without_a_generation_or_under_rescue_xdp_passes_everything(kernel: Kernel, program: int) -> None:
    sent = next(
        one
        for trio, seed in untracked_worlds(kernel, 0)
        for one in sent_cases(trio.world, seed, FRAMES)
        if one.direction is Direction.INGRESS and run(program, one) == XDP_DROP
    )
    control = kernel.dataplane.map("control")
    guarded = control.get(bytes(4))
    assert guarded is not None
    try:
        control.set(bytes(4), guarded[:8] + struct.pack("=Q", kernel.jiffies() + 1000) + guarded[16:])
        assert run(program, sent) == XDP_PASS
        control.set(bytes(4), guarded)
        assert run(program, sent) == XDP_DROP
        kernel.withdraw()
        assert run(program, sent) == XDP_PASS
    finally:
        control.set(bytes(4), guarded)
