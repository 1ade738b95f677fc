"""Broken frames and bytes out of nowhere: judged as a plain parser says, and never let through in silence."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from pyagent import abi
from pyagent.abi import Direction, Reason
from pyagent.model.facts import HostFacts
from tests.property.test_engines_agree import world_of
from tests.support import small_world
from tests.support.frames import VLAN, Part, Wrapping, frame
from tests.support.garbage import broken_frames, from_nowhere, runnable
from tests.support.kernel import Kernel
from tests.support.kernel_agreement import Trio
from tests.support.parser import judge_frame, parse
from tests.support.small_world import WORLD, WORLD6, endpoint, felix, packet, policy, rule

FRAMES = 3000
WORLDS = 8
#: Why a frame may pass a host that denies everything.
HARMLESS = {Reason.NON_IP, Reason.NEIGHBOUR}
#: A host that uses no tunnels.
FACTS = HostFacts("n1", small_world.FACTS.interfaces)
#: Forwarded packets pass where no applyOnForward policy applies.
CLOSED = (
    endpoint(),
    policy("closed", rule("Deny"), egress=[rule("Deny")], applyOnForward=True),
    felix(failsafeInboundHostPorts=[], failsafeOutboundHostPorts=[]),
)


@pytest.mark.parametrize("direction", Direction)
def test_nothing_passes_a_host_that_denies_all_but_what_is_not_ip_or_finds_neighbours(
    kernel: Kernel, direction: Direction
) -> None:
    kernel.enforce(*CLOSED, facts=FACTS)
    seen: Counter[Reason] = Counter()
    random = Random(direction)
    for _ in range(FRAMES):
        seen[kernel.run(from_nowhere(random), direction=direction).reason] += 1
    for data in broken_frames(world_of(1), direction, FRAMES):
        seen[kernel.run(data, direction=direction).reason] += 1
    passed = {reason for reason in seen if reason < abi.REASON_DROPPED}
    assert passed <= HARMLESS, seen
    expected = {Reason.SHORT, Reason.MALFORMED, Reason.FORWARD_DENY, Reason.POLICY_DENY, Reason.NON_IP}
    assert expected <= seen.keys(), "the positive control: frames of all kinds were there"


@pytest.mark.parametrize("seed", range(WORLDS))
def test_the_program_reads_a_broken_frame_as_a_plain_parser_does(kernel: Kernel, seed: int) -> None:
    world = world_of(2000 + seed)
    trio = Trio(kernel, world)
    pipeline = trio.engines.pipeline
    for data in broken_frames(world, seed, FRAMES // WORLDS):
        for interface, direction in (("eth0", Direction.INGRESS), ("cali1", Direction.EGRESS)):
            observed = kernel.run(data, interface, direction).reason
            assert observed is judge_frame(pipeline, data, interface, direction), data.hex()
            kernel.forget()


@pytest.mark.parametrize("source", [WORLD, WORLD6])
def test_the_parser_reads_whole_frames_back_as_they_were_sent(source: str) -> None:
    for wrapping in (Wrapping(), Wrapping(tags=(VLAN, VLAN)), Wrapping(part=Part.FIRST), Wrapping(padding=9)):
        for sent in (packet(80, source=source), packet(53, source=source, protocol="SCTP", tcp_flags=2)):
            parsed = parse(frame(sent, wrapping))
            assert parsed.packet == sent
            assert parsed.first is (wrapping.part is Part.FIRST)


def test_the_longest_and_the_emptiest_frames_are_judged_too(kernel: Kernel) -> None:
    kernel.enforce(*CLOSED, facts=FACTS)
    for data in (bytes(14), b"\xff" * 14, bytes(3000), b"\xff" * 3000, runnable(bytes(12) + b"\x08\x00")):
        reason = kernel.run(data).reason
        assert reason >= abi.REASON_DROPPED or reason in HARMLESS
