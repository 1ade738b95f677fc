"""Services mean the same to an agent that reads them as to one that reads the controller's digest."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pyagent.calc import World, node_view
from pyagent.calc.services import RULED, services_digest
from pyagent.model import AUTOHEP_V1, ClusterServices, EndpointSlice, Metadata, Resource, Service
from pyagent.reference import Evaluator
from tests.support.generate import random_world
from tests.support.generate_packets import random_cases
from tests.support.policy_world import plain


def digested(resources: Iterable[Resource]) -> list[Resource]:
    """The resources as a cluster's agent sees them."""
    resources = tuple(resources)
    spec = services_digest(
        [each for each in resources if isinstance(each, Service)],
        [each for each in resources if isinstance(each, EndpointSlice)],
        [each for each in resources if isinstance(each, RULED)],
    )
    metadata = Metadata(name="default")
    told = ClusterServices(api_version=AUTOHEP_V1, kind="ClusterServices", metadata=metadata, spec=spec)
    return [each for each in resources if not isinstance(each, Service | EndpointSlice)] + [told]


@pytest.mark.parametrize("part", range(4))
def test_the_view_of_the_digest_is_the_view_of_the_services(part: int) -> None:
    told = 0
    for seed in range(part, 400, 4):
        world = random_world(seed)
        direct = node_view(World.from_resources(world.resources), world.facts)
        by_digest = node_view(World.from_resources(digested(world.resources)), world.facts)
        assert plain(by_digest) == plain(direct), f"seed {seed}"
        told += bool(direct.redirected)
    assert told > 5, "worlds in which a Service has one of the host's addresses"


def test_the_reference_judges_by_the_digest_as_by_the_services() -> None:
    differing = 0
    for seed in range(120):
        world = random_world(seed)
        without = [each for each in world.resources if not isinstance(each, Service | EndpointSlice)]
        direct, told, silent = (
            Evaluator(each, world.facts) for each in (world.resources, digested(world.resources), without)
        )
        for case in random_cases(world, seed, 60):
            asked = (case.interface, case.direction, case.packet)
            expected = direct.evaluate(*asked).reason
            assert told.evaluate(*asked).reason == expected, f"seed {seed}"
            differing += silent.evaluate(*asked).reason != expected
    assert differing > 5, "packets for which Services make a difference"
