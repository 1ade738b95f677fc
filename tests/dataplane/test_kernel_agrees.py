"""Reference, compiled image and kernel agree on every packet, whatever the policy and however it travels."""

from __future__ import annotations

import os

import pytest

from tests.property.test_engines_agree import world_of
from tests.support.kernel import Kernel
from tests.support.kernel_agreement import Trio, conversation, describe, report, sent_cases

#: More of both for long runs; the seed is printed with every difference.
WORLDS = int(os.environ.get("AUTOHEP_WORLDS", "50"))
PACKETS = int(os.environ.get("AUTOHEP_PACKETS", "400"))
FIRST = int(os.environ.get("AUTOHEP_SEED", "1000"))
PARTS = 5


@pytest.mark.parametrize("part", range(PARTS))
def test_all_three_engines_agree_on_random_packets(kernel: Kernel, part: int) -> None:
    for seed in range(FIRST + part, FIRST + WORLDS, PARTS):
        world = world_of(seed)
        trio = Trio(kernel, world)
        for sent in sent_cases(world, seed, PACKETS):
            if trio.alone(sent).difference:
                pytest.fail(report(kernel, world, sent))
        assert trio.left_over() == [], f"world {seed}"


@pytest.mark.parametrize("part", range(PARTS))
def test_packets_that_follow_others_are_judged_as_a_plain_model_of_state_says(
    kernel: Kernel, part: int
) -> None:
    for seed in range(FIRST + part, FIRST + WORLDS, PARTS):
        world = world_of(seed)
        trio = Trio(kernel, world)
        for sent in conversation(world, seed, PACKETS // 2):
            answers = trio.in_turn(sent)
            assert not answers.difference, describe(world, sent, answers)
        assert trio.miscounted() == [], f"world {seed}"


def test_a_difference_is_reported_with_seed_resources_packet_frame_and_all_answers(kernel: Kernel) -> None:
    world = world_of(FIRST)
    sent = next(sent_cases(world, FIRST, 1))
    told = describe(world, sent, Trio(kernel, world).alone(sent))
    for part in (f"world {FIRST}", "kind: HostEndpoint", sent.frame.hex(), "reference:", "image:", "kernel:"):
        assert part in told
