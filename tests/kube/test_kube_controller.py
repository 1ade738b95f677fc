"""The controller on a cluster: one of two works, Nodes become host endpoints, heartbeats cost nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from pyagent.controller import run
from pyagent.datastore import Lease
from pyagent.datastore.kubernetes import KubernetesDatastore
from pyagent.datastore.kubernetes.connection import Connection
from pyagent.errors import AlreadyExistsError, ConflictError, NotFoundError
from tests.kube.conftest import Open
from tests.support.apiserver import ApiServer
from tests.support.candidates import TERMS, Shift, candidate
from tests.support.own_names import OwnNames
from tests.support.resources import controllers_configuration, node


@pytest.fixture
def namespace(cluster: OwnNames, connection: Connection) -> Iterator[str]:
    """A namespace of the test's own, in whatever cluster there is; for leases, which are removed."""
    name = f"{cluster.mark}leases"
    cluster.use(name)
    yield name
    for lease in ("one", "test-lease"):
        path = f"/apis/coordination.k8s.io/v1/namespaces/{name}/leases/{lease}"
        with contextlib.suppress(NotFoundError):
            connection.request("DELETE", path, "Lease", lease)


def test_leases_are_written_only_by_who_saw_their_last_version(cluster: OwnNames, namespace: str) -> None:
    assert isinstance(cluster.inner, KubernetesDatastore)
    leases = cluster.inner.leases
    with pytest.raises(NotFoundError):
        leases.get(namespace, "one")
    wanted = Lease(
        namespace=namespace,
        name="one",
        holder="a",
        seconds=7,
        acquired="2026-01-02T03:04:05.000006Z",
        renewed="2026-01-02T03:04:05.000006Z",
        transitions=3,
    )
    first = leases.create(wanted)
    assert first == leases.get(namespace, "one")
    assert (first.holder, first.seconds, first.transitions, first.renewed) == ("a", 7, 3, wanted.renewed)
    with pytest.raises(AlreadyExistsError):
        leases.create(wanted)
    second = leases.update(Lease(namespace=namespace, name="one", holder="b", version=first.version))
    assert second.holder == "b"
    with pytest.raises(ConflictError):
        leases.update(first)


async def test_one_of_two_candidates_works_and_the_other_follows(cluster: OwnNames, namespace: str) -> None:
    assert isinstance(cluster.inner, KubernetesDatastore)
    leases, shift = cluster.inner.leases, Shift()
    async with candidate(leases, "a", shift, namespace) as a:
        await shift.until("a")
        async with candidate(leases, "b", shift, namespace):
            await asyncio.sleep(1.5)
            assert shift.log == ["a begins"]
            a.cancel()
            await shift.until("b")
    assert shift.most == 1


@contextlib.asynccontextmanager
async def controller(store: KubernetesDatastore) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(run(store, environment={}, terms=TERMS))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], bool], patience: float = 10.0) -> None:
    async with asyncio.timeout(patience):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110 (a test's wait)
            await asyncio.sleep(0.02)


def endpoints(store: KubernetesDatastore) -> dict[str, tuple[str, ...]]:
    return {each.name: each.spec.expected_ips for each in store.list("HostEndpoint")[0]}  # type: ignore[attr-defined]


async def test_nodes_become_host_endpoints_and_heartbeats_write_nothing(
    server: ApiServer, open_store: Open
) -> None:
    store = open_store()
    store.create(controllers_configuration(auto_create="Enabled"))
    store.create(node("n1", "192.0.2.1"))
    async with controller(store):
        await until(lambda: endpoints(store) == {"n1-auto-hep": ("192.0.2.1",)})
        kind = server.storage.kind("v1", "nodes")
        writes = server.faults.count("update", "hostendpoints")
        for beat in range(30):
            conditions = {"status": {"conditions": [{"type": "Ready", "beat": beat}]}}
            server.storage.patch(kind, "", "n1", conditions, status=True)
        await asyncio.sleep(0.3)
        assert server.faults.count("update", "hostendpoints") == writes
        address = {"type": "InternalIP", "address": "192.0.2.2"}
        server.storage.patch(kind, "", "n1", {"status": {"addresses": [address]}}, status=True)
        await until(lambda: endpoints(store) == {"n1-auto-hep": ("192.0.2.2",)})
        assert server.faults.count("update", "hostendpoints") == writes + 1
        server.storage.delete(kind, "", "n1", {})
        await until(lambda: not endpoints(store))


async def test_of_two_controllers_one_writes_and_the_other_goes_on_where_it_is_gone(
    server: ApiServer, open_store: Open
) -> None:
    one, two = open_store(), open_store()
    one.create(controllers_configuration(auto_create="Enabled"))
    async with controller(one) as first:
        one.create(node("n1", "192.0.2.1"))
        await until(lambda: set(endpoints(one)) == {"n1-auto-hep"})
        async with controller(two):
            await asyncio.sleep(0.3)
            assert not two._reflectors, "who does not lead watches nothing"
            first.cancel()
            one.create(node("n2", "192.0.2.2"))
            await until(lambda: set(endpoints(two)) == {"n1-auto-hep", "n2-auto-hep"})


async def test_a_controller_survives_a_server_that_is_killed(server: ApiServer, open_store: Open) -> None:
    store = open_store()
    store.create(controllers_configuration(auto_create="Enabled"))
    async with controller(store):
        store.create(node("n1", "192.0.2.1"))
        await until(lambda: set(endpoints(store)) == {"n1-auto-hep"})
        server.kill()
        await asyncio.sleep(1)
        server.start()
        store.create(node("n2", "192.0.2.2"))
        await until(lambda: set(endpoints(store)) == {"n1-auto-hep", "n2-auto-hep"})
