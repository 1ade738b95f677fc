"""Directories for tests that write a lot."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

_MEMORY = Path("/dev/shm")


@contextlib.contextmanager
def quick_directory() -> Iterator[Path]:
    """An empty directory in memory where there is a place for it: no fsync there waits for a busy disk."""
    place = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="autohep-test-", dir=place) as name:
        yield Path(name)
