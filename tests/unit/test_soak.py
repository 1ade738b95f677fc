"""What a soak calls growth, and what not."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from tests.soak.plot import svg
from tests.soak.samples import Sample, growth

AT_REST = Sample(0, 80_000, 30_000, 28, 8, 5, 14, 4, 23, 2)


def run(*changes: dict[str, int], looks: int = 60) -> list[Sample]:
    """At rest, under churn with ``changes`` one after another, and at rest again."""
    under_churn = [
        replace(
            AT_REST, seconds=5.0 * number, links=8, interfaces=4, **changes[number * len(changes) // looks]
        )
        for number in range(looks)
    ]
    return [AT_REST, *under_churn, replace(AT_REST, seconds=5.0 * looks)]


def test_a_run_that_stays_as_it_is_has_not_grown() -> None:
    assert growth(run({})) == []


def test_what_is_more_only_during_the_warm_up_is_no_growth() -> None:
    assert growth(run({}, *[{"agent_kib": 95_000}] * 9)) == []


@pytest.mark.parametrize(
    ("what", "early", "late"),
    [
        ("agent_kib", 80_000, 90_000),
        ("controller_kib", 30_000, 33_000),
        ("agent_descriptors", 28, 40),
        ("controller_descriptors", 8, 12),
        ("programs", 5, 6),
        ("maps", 14, 15),
    ],
)
def test_what_is_more_at_the_end_than_after_the_warm_up_has_grown(what: str, early: int, late: int) -> None:
    assert [line.split(":")[0] for line in growth(run({what: early}, {what: late}))] == [what]


@pytest.mark.parametrize("what", ["programs", "maps", "links", "pins", "interfaces"])
def test_what_the_churn_leaves_behind_has_grown(what: str) -> None:
    samples = run({})
    samples[-1] = replace(samples[-1], **{what: getattr(AT_REST, what) + 2})
    assert {line.split(":")[0] for line in growth(samples)} == {what}


def test_the_plot_has_a_line_for_each_thing_measured() -> None:
    drawn = ET.fromstring(svg(run({}), "a soak"))
    assert len(drawn.findall("{http://www.w3.org/2000/svg}polyline")) == 8
