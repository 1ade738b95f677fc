"""Fixtures of the tests that talk to the kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyagent.bpf.pins import Pins, ensure_bpffs
from tests.support.kernel import Kernel, Network


@pytest.fixture
def pins(request: pytest.FixtureRequest) -> Iterator[Pins]:
    """A pin directory of this test's own, removed afterwards."""
    ensure_bpffs()
    own = Pins(f"test{os.getpid()}", Path("/sys/fs/bpf/autohep_test"))
    yield own
    for version in (*own.other_versions(), own):
        version.remove()


@pytest.fixture(scope="session")
def loaded_kernel() -> Iterator[tuple[Kernel, Network]]:
    """The whole program, loaded once, and a namespace with interfaces."""
    network = Network()
    with Kernel("prog") as kernel:
        yield kernel, network
    network.close()


@pytest.fixture(scope="module")
def kernel(loaded_kernel: tuple[Kernel, Network]) -> Iterator[Kernel]:
    """The program; this thread is in its namespace meanwhile."""
    program, network = loaded_kernel
    with network.entered():
        yield program
