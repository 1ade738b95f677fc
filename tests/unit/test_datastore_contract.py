"""Every implementation of Datastore keeps the same contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyagent.datastore import Datastore, EmbeddedDatastore
from tests.support.datastore_contract import DatastoreContract
from tests.support.directories import quick_directory
from tests.support.memory_datastore import MemoryDatastore

IMPLEMENTATIONS: dict[str, Callable[[Path], Datastore]] = {
    "embedded": lambda directory: EmbeddedDatastore(directory / "store"),
    "memory": lambda _directory: MemoryDatastore(),
}


class TestDatastore(DatastoreContract):
    """The contract, once an implementation."""

    @pytest.fixture(params=list(IMPLEMENTATIONS))
    def store(self, request: pytest.FixtureRequest) -> Iterator[Datastore]:
        with quick_directory() as directory:
            yield IMPLEMENTATIONS[request.param](directory)
