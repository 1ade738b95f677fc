"""The walkthrough, told as `make demo` tells it, with nothing coming out differently."""

from __future__ import annotations

from tests.lab import Lab
from tests.lab.expectations import Stage
from tests.lab.steps import STEPS
from tests.lab.story import Story


def test_the_walkthrough_comes_out_as_the_seed_text_tells_it(whole_lab: Lab) -> None:
    said: list[str] = []
    story = Story(whole_lab, said.append)
    differences = story.tell()
    assert differences == [], "\n".join([*said, story.table()])
    assert {step.stage for step in STEPS if step.stage is not None} == set(Stage)
    assert len(story.rows) == len(STEPS) + len(Stage) + 1
