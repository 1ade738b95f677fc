"""A fault in the middle of an apply leaves the old policy or the new in force; the next pass brings the new.

Every twelfth step of it; all of them in ``make test-resilience``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyagent.dataplane import Dataplane, Interface
from tests.sweep import sweep
from tests.sweep.scene import FLOWS_MAX, OLD, Scene, scene

pytestmark = pytest.mark.netns

EVERY = 12


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("swept")) as made:
        yield made


def test_an_agent_killed_at_any_step_leaves_the_old_policy_or_the_new(swept: Scene) -> None:
    names = sweep.steps(swept, fatal=True)
    found = sweep.kills(swept, range(0, len(names), EVERY))
    assert set(found) == {"old", "new"}


def test_an_error_at_any_step_leaves_the_old_policy_or_the_new(swept: Scene) -> None:
    names = sweep.steps(swept, fatal=False)
    found = sweep.errors(swept, range(2, len(names), EVERY))
    assert set(found) == {"old", "new"}


def test_a_mixture_would_be_seen(swept: Scene) -> None:
    assert swept.enforce(OLD).problem == ""
    assert swept.in_force() == "old"
    with Dataplane(swept.pins, FLOWS_MAX) as dataplane:
        other_endpoints = [Interface(swept.indices["one"], 1), Interface(swept.indices["two"], 0)]
        dataplane.set_interfaces(other_endpoints)
    with pytest.raises(AssertionError, match="a mixture"):
        swept.in_force()
