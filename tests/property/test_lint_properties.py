"""What lint says of rules is true of packets: in random worlds, by the reference evaluator."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from msgspec import structs

from pyagent import manifest
from pyagent.inquiry import Hosts, Sources
from pyagent.lint import Check, lint
from pyagent.model import Resource
from pyagent.policytest.coverage import Hits
from pyagent.reference import Decision, Evaluator
from tests.support.generate import NODE, RandomWorld, random_world
from tests.support.generate_packets import Case, random_cases

WORLDS = 32
PACKETS = 150
PARTS = 4
DEAD = {Check.SHADOWED, Check.CONTRADICTING, Check.EMPTY_PEER}
PLACE = re.compile(r"(?P<owner>.+)/(?P<direction>ingress|egress)\[(?P<index>\d+)\]")


def world_of(seed: int) -> RandomWorld:
    """A world on a host as lint imagines it, for it knows no other."""
    world = random_world(seed)
    resources = tuple(manifest.default(each) for each in world.resources)
    return replace(world, resources=resources, facts=Hosts(resources).facts(NODE, "cali1", "eth9"))


def decisions(world: RandomWorld, resources: tuple[Resource, ...]) -> Iterator[tuple[Case, Decision]]:
    evaluator = Evaluator(resources, world.facts)
    for case in random_cases(world, world.seed, PACKETS):
        yield (
            case,
            evaluator.evaluate(
                case.interface, case.direction, case.packet, forwarded=case.received or None, flow=case.flow
            ),
        )


@pytest.mark.parametrize("part", range(PARTS))
def test_no_packet_meets_a_rule_of_which_lint_says_that_none_does(part: int) -> None:
    reported = met = 0
    for seed in range(part, WORLDS, PARTS):
        world = world_of(seed)
        dead = {
            (each.kind, each.place)
            for each in lint(Sources(world.resources), world.resources)
            if each.check in DEAD or "never matches" in each.message
        }
        hits = Hits()
        for _, decision in decisions(world, world.resources):
            hits.note(decision)
        assert not hits.rules & dead, f"world {seed}"
        reported += len(dead)
        met += len(hits.rules)
    assert reported > 5
    assert met > 5


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_changes_without_a_rule_of_which_lint_says_that_it_changes_nothing(part: int) -> None:
    tried = 0
    for seed in range(part, WORLDS * 4, PARTS):
        world = world_of(seed)
        found = lint(Sources(world.resources), world.resources)
        for each in (one for one in found if one.check in {Check.REDUNDANT, Check.SHADOWED}):
            rest = tuple(_without(each.kind, each.place, resource) for resource in world.resources)
            before = [(case, one.verdict) for case, one in decisions(world, world.resources)]
            after = [(case, one.verdict) for case, one in decisions(world, rest)]
            assert before == after, f"world {seed}: {each}"
            tried += 1
            if tried % 3 == 0:
                break
    assert tried > 3


def _without(kind: str, place: str, resource: Resource) -> Resource:
    at = PLACE.fullmatch(place)
    assert at is not None
    if (resource.KIND, resource.name) != (kind, at["owner"]):
        return resource
    spec = resource.spec  # type: ignore[attr-defined]
    rules = list(getattr(spec, at["direction"]))
    del rules[int(at["index"])]
    return structs.replace(resource, spec=structs.replace(spec, **{at["direction"]: tuple(rules)}))  # type: ignore[call-arg]
