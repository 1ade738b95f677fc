"""A cluster for the tests: the stand-in, or with ``AUTOHEP_TEST_KUBECONFIG=PATH`` the one of that file.

Tests that take ``server`` need the stand-in, for they make it fail; against a real cluster they are left out.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyagent.crds import PRESENTATIONS, definitions
from pyagent.datastore.kubernetes import KubernetesDatastore, Pace
from pyagent.datastore.kubernetes.connection import Connection
from pyagent.datastore.kubernetes.places import collection
from pyagent.errors import AlreadyExistsError, DatastoreError
from tests.support.apiserver import ADMIN, ApiServer
from tests.support.own_names import OwnNames

REAL = os.environ.get("AUTOHEP_TEST_KUBECONFIG", "")
#: Everything that takes long in a cluster takes no time here.
PACE = Pace(connect=2, answer=3, silence=1.5, first_pause=0.02, longest_pause=0.2, healthy=0.5, page=7)
#: A real server sends its first bookmark after a minute.
REAL_PACE = Pace(first_pause=0.1, longest_pause=2)

Open = Callable[..., KubernetesDatastore]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not REAL:
        return
    needs_standin = [item for item in items if "server" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=needs_standin)
    items[:] = [item for item in items if item not in needs_standin]


@pytest.fixture(scope="session")
def quiet_server() -> Iterator[ApiServer]:
    """A stand-in that no test makes fail."""
    server = ApiServer()
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def connection(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connection]:
    """The cluster, with our kinds defined."""
    if REAL:
        real = Connection(REAL, pace=REAL_PACE)
        with _defined(real):
            yield real
        return
    server: ApiServer = request.getfixturevalue("quiet_server")
    yield Connection(server.kubeconfig(tmp_path_factory.mktemp("cluster")), pace=PACE)


@contextlib.contextmanager
def _defined(connection: Connection) -> Iterator[None]:
    """Our kinds are defined; those that were not are removed again."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    made = []
    try:
        for crd in definitions():
            with contextlib.suppress(AlreadyExistsError):
                connection.request(
                    "POST", path, "CustomResourceDefinition", crd["metadata"]["name"], body=crd
                )
                made.append(crd["metadata"]["name"])
        for kind in PRESENTATIONS:
            _wait_for(connection, kind)
        yield
    finally:
        for name in made:
            connection.request("DELETE", f"{path}/{name}", "CustomResourceDefinition", name)


def _wait_for(connection: Connection, kind: str) -> None:
    """A new definition takes a moment to be served."""
    for _ in range(100):
        try:
            connection.request("GET", collection(kind), kind)
        except DatastoreError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"{kind} is defined but never served")


@pytest.fixture
def cluster(connection: Connection) -> Iterator[OwnNames]:
    """The cluster's datastore, seen as if nobody else used it."""

    def make(name: str) -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        connection.request("POST", "/api/v1/namespaces", "Namespace", name, body=body)

    own = OwnNames(KubernetesDatastore(connection), make)
    yield own
    own.remove_all()
    for name in own.namespaces:
        with contextlib.suppress(DatastoreError):
            connection.request("DELETE", f"/api/v1/namespaces/{name}", "Namespace", name)
            # Where no controller does it.
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {}}
            connection.request("PUT", f"/api/v1/namespaces/{name}/finalize", "Namespace", name, body=body)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """A stand-in of the test's own, to make fail."""
    server = ApiServer()
    server.bookmark = 0.3
    server.start()
    yield server
    server.kill()


@pytest.fixture
def open_store(server: ApiServer, tmp_path: Path) -> Open:
    """Opens datastores on ``server``, as its administrator or with another token."""

    def open_it(token: str = ADMIN, pace: Pace = PACE) -> KubernetesDatastore:
        return KubernetesDatastore(Connection(server.kubeconfig(tmp_path, token), pace=pace))

    return open_it


@pytest.fixture
def store(open_store: Open) -> KubernetesDatastore:
    """A datastore on ``server``."""
    return open_store()
