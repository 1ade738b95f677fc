"""The reference evaluator and the compiled image agree on every packet in every world."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from pyagent import manifest
from pyagent.abi import Reason
from pyagent.compiler.pipeline import Judged, Pipeline
from tests.support.agreement import Engines, report, shrink
from tests.support.generate import RandomWorld, random_world
from tests.support.generate_packets import random_cases
from tests.support.small_world import FACTS, endpoint, policy, rule

#: More of both for long runs; the first seed is printed with every difference.
WORLDS = int(os.environ.get("AUTOHEP_WORLDS", "80"))
PACKETS = int(os.environ.get("AUTOHEP_PACKETS", "150"))
FIRST = int(os.environ.get("AUTOHEP_SEED", "0"))
PARTS = 8


def world_of(seed: int) -> RandomWorld:
    """Half of the worlds as they are written, half as they are stored, defaults filled in."""
    world = random_world(seed)
    if seed % 2:
        return world
    return replace(world, resources=tuple(manifest.default(each) for each in world.resources))


@pytest.mark.parametrize("part", range(PARTS))
def test_reference_and_image_agree_on_random_packets(part: int) -> None:
    for seed in range(FIRST + part, FIRST + WORLDS, PARTS):
        world = world_of(seed)
        engines = Engines(world)
        for case in random_cases(world, seed, PACKETS):
            if engines.difference(case):
                pytest.fail(report(world, case))


def test_shrinking_leaves_only_what_the_difference_needs() -> None:
    needed = policy("needed", rule(), rule("Deny", protocol="TCP"))
    world = RandomWorld(0, (endpoint(), policy("other", rule()), needed), FACTS)

    def differs(smaller: RandomWorld) -> bool:
        rules = [each for found in smaller.resources for each in getattr(found.spec, "ingress", ())]
        return any(each.action == "Deny" for each in rules)

    small = shrink(world, differs)
    (only,) = small.resources
    assert manifest.encode(only)["spec"]["ingress"] == [{"action": "Deny"}]


def test_a_report_shows_the_smallest_world_the_packet_and_both_ways_to_the_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = world_of(7)
    covered = next(
        case
        for case in random_cases(world, 7, 200)
        if Engines(world).ask(case)[0].reason is Reason.POLICY_DENY
    )
    assert Engines(world).difference(covered) == ""

    def misjudge(*_question: object, **_more: object) -> Judged:
        return Judged(Reason.NO_ENDPOINT)

    monkeypatch.setattr(Pipeline, "judge", misjudge)
    text = report(world, covered)
    assert text.startswith("world 7: the reference says POLICY_DENY, the image NO_ENDPOINT\n")
    assert text.count("\nkind: ") == 1
    assert "kind: HostEndpoint" in text
    assert str(covered.packet) in text
    assert "[POLICY_DENY]" in text
