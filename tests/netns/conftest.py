"""A lab for each test file that wants one with a control plane."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lab import Lab


@pytest.fixture(scope="module")
def whole_lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Machines, services, datastore, controller and agents; what they logged is shown if a test failed."""
    lab = Lab(f"w{os.getpid()}")
    before = request.session.testsfailed
    with lab:
        yield lab
        if request.session.testsfailed > before:
            for name in lab.processes.names():
                print(f"--- the end of {name}'s log\n{lab.processes.log(name, lines=40)}")
