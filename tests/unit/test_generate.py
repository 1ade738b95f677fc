"""The generator of random worlds makes only what validation accepts, and everything that policy can say."""

from __future__ import annotations

import msgspec
import pytest

from pyagent import manifest
from pyagent.model import GlobalNetworkPolicy
from pyagent.model.policy import Rule
from tests.support.generate import random_world
from tests.support.generate_packets import random_cases

SEEDS = range(150)


@pytest.mark.parametrize("first", range(0, 150, 30))
def test_every_random_resource_is_valid(first):
    for seed in range(first, first + 30):
        for resource in random_world(seed).resources:
            assert manifest.validate(manifest.default(resource)) == []


def test_every_field_of_a_rule_is_used_by_some_world():
    rules = [
        rule
        for seed in SEEDS
        for policy in random_world(seed).resources
        if isinstance(policy, GlobalNetworkPolicy)
        for rule in (*policy.spec.ingress, *policy.spec.egress)
    ]
    names = Rule.__struct_fields__
    used = {name for rule in rules for name in names if getattr(rule, name) != getattr(Rule(), name)}
    assert used == set(Rule.__struct_fields__) - {"metadata"}
    sides = [side for rule in rules for side in (rule.source, rule.destination)]
    words = "nets notNets selector notSelector namespaceSelector services serviceAccounts ports notPorts"
    assert {name for side in sides for name in msgspec.to_builtins(side)} == set(words.split())


def test_a_seed_always_gives_the_same_world_and_packets():
    one, other = random_world(7), random_world(7)
    assert one == other
    assert one != random_world(8)
    assert list(random_cases(one, 3, 50)) == list(random_cases(other, 3, 50))


def test_packets_are_of_every_kind():
    cases = [case for seed in range(20) for case in random_cases(random_world(seed), seed, 100)]
    assert {case.direction for case in cases} == {"ingress", "egress"}
    assert {1, 6, 17, 58, 132, 47} <= {case.packet.protocol for case in cases}
    assert {case.packet.version for case in cases} == {4, 6}
    assert any(case.packet.fragment for case in cases)
    assert {case.interface for case in cases} >= {"lo", "eth0", "cali1", "new0"}
