"""A cluster keeps the contract of every datastore."""

from __future__ import annotations

import pytest

from tests.support.datastore_contract import DatastoreContract
from tests.support.own_names import OwnNames


class TestKubernetesDatastore(DatastoreContract):
    """The contract."""

    @pytest.fixture
    def store(self, cluster: OwnNames) -> OwnNames:
        return cluster
