"""A compiler that has compiled before makes the very image that a new one makes."""

from __future__ import annotations

import os
from random import Random

import pytest

from benchmarks.cluster import Cluster, node
from pyagent.calc import Calculator, World
from pyagent.compiler import Compiler, compile_image
from pyagent.compiler.table import DENSE_BYTES
from tests.property.test_edit_properties import change, policies
from tests.property.test_edit_properties import node as random_node
from tests.support.generate import random_world
from tests.support.small_world import FACTS, endpoint, resource

SEQUENCES = int(os.environ.get("AUTOHEP_WORLDS", "6"))


def same(
    compiler: Compiler,
    calculator: Calculator,
    world: World,
    facts: object = FACTS,
    dense: int = DENSE_BYTES,
) -> None:
    ours = compiler.compile(calculator.view(world, facts), 1)  # type: ignore[arg-type]
    fresh = compile_image(calculator.view(world, facts), 1, dense=dense)  # type: ignore[arg-type]
    assert ours.data == fresh.data
    assert {**ours.metadata, **ours.outline()} == {**fresh.metadata, **fresh.outline()}


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_after_any_change_the_image_is_that_of_a_new_compiler(seed: int) -> None:
    random = Random(seed)
    network = resource("GlobalNetworkSet", "s", {"nets": ["10.9.0.0/16", "fd00:1::/32"]}, {"role": "web"})
    others = [random_node(random, f"n{number}") for number in range(2, 9)]
    world = World.from_resources([endpoint(), network, *others, *policies(random)])
    dense = DENSE_BYTES if seed % 2 else 0
    compiler, calculator = Compiler(dense), Calculator()
    for _ in range(20):
        for _ in range(random.choice((0, 1, 3))):
            world = change(random, world)
            calculator.moves(world)
        same(compiler, calculator, world, dense=dense)
        world = change(random, world)
        if random.random() < 0.5:
            world = world.put(random.choice(list(policies(random))))


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_from_one_world_to_quite_another_too(seed: int) -> None:
    compiler, calculator = Compiler(), Calculator()
    for step in range(8):
        made = random_world(seed * 100 + step % 5)
        same(compiler, calculator, World.from_resources(made.resources), made.facts)


def test_a_policy_of_many_changes_and_the_image_is_that_of_a_new_compiler() -> None:
    cluster = Cluster(300, 60)
    world = World.from_resources([*cluster.nodes, *cluster.policies])
    compiler, calculator = Compiler(), Calculator()
    for step in range(6):
        same(compiler, calculator, world, cluster.facts())
        for number in range(1 + 20 * step, 21 + 20 * step):
            world = world.put(node(number, cluster.some_labels()))
            assert calculator.moves(world) is not None
        world = world.put(cluster.policy(step * 7))
