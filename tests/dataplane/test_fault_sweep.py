"""A fault in the middle of an apply leaves the old policy or the new in force; the next pass brings the new.

So with an edit in place, and with clsact. Every twelfth step; all of them, and those of loading programs, in
``make test-resilience``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pyagent.dataplane import Dataplane, Interface
from tests.sweep import sweep
from tests.sweep.courses import EDIT, without_tcx
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


def test_an_edit_in_place_killed_at_any_line_leaves_each_address_its_old_class_or_the_new(
    swept: Scene,
) -> None:
    names = sweep.steps(swept, EDIT, fatal=True)
    found = sweep.kills(swept, range(0, len(names), EVERY), EDIT)
    assert {"old", "one address", "new"} >= set(found) > {"new"}


def test_an_edit_in_place_with_an_error_at_any_line_is_compiled(swept: Scene) -> None:
    names = sweep.steps(swept, EDIT, fatal=False)
    assert set(sweep.errors(swept, range(0, len(names), EVERY), EDIT)) == {"new"}


@pytest.mark.parametrize("go", [sweep.kills, sweep.errors])
def test_a_fault_at_any_step_without_tcx_leaves_the_old_policy_or_the_new(swept: Scene, go: Any) -> None:
    with without_tcx():
        names = sweep.steps(swept, fatal=go is sweep.kills)
        assert any(name.startswith("netlink tc") for name in names)
        assert set(go(swept, range(2, len(names), EVERY))) == {"old", "new"}


def test_a_mixture_would_be_seen(swept: Scene) -> None:
    assert swept.enforce(OLD).problem == ""
    assert swept.in_force() == "old"
    with Dataplane(swept.pins, FLOWS_MAX) as dataplane:
        other_endpoints = [Interface(swept.indices["one"], 1), Interface(swept.indices["two"], 0)]
        dataplane.set_interfaces(other_endpoints)
    with pytest.raises(AssertionError, match="a mixture"):
        swept.in_force()
