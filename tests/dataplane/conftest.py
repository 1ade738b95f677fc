"""Fixtures of the tests that talk to the kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyagent.bpf.pins import Pins, ensure_bpffs


@pytest.fixture
def pins(request: pytest.FixtureRequest) -> Iterator[Pins]:
    """A pin directory of this test's own, removed afterwards."""
    ensure_bpffs()
    own = Pins(f"test{os.getpid()}", Path("/sys/fs/bpf/autohep_test"))
    yield own
    for version in (*own.other_versions(), own):
        version.remove()
