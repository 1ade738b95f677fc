"""The controller's digest of Services: complete, written seldom, and never half."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from pyagent.controller import services
from pyagent.controller.services import keep_services, write_services
from pyagent.errors import DatastoreError
from pyagent.model import ClusterServices, Resource
from pyagent.model.services import ClusterServicesSpec
from pyagent.model.status import Status
from tests.support.memory_datastore import MemoryDatastore
from tests.support.policy_world import endpoint_slice, policy
from tests.unit.test_calc_services import WEB, port, service

NODE_PORT = port(80, 30080)


@pytest.fixture
def store() -> MemoryDatastore:
    return MemoryDatastore()


@contextlib.asynccontextmanager
async def kept(store: MemoryDatastore) -> AsyncIterator[None]:
    """The digest is kept, without its pauses."""
    task = asyncio.create_task(keep_services(store, write_every=0.0))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 (a test's wait)
            await asyncio.sleep(0.005)


def stored(store: MemoryDatastore) -> ClusterServices | None:
    found = store.list("ClusterServices")[0]
    assert all(isinstance(each, ClusterServices) for each in found)
    return found[0] if found else None  # type: ignore[return-value]


def node_ports(store: MemoryDatastore) -> set[int] | None:
    found = stored(store)
    return None if found is None else {port for group in found.spec.node_ports for port in group.ports}


def complete(store: MemoryDatastore) -> str:
    found = stored(store)
    condition = Status.read(found.status).condition(services.COMPLETE) if found else None
    return condition.status if condition else ""


async def test_the_digest_follows_services_as_they_come_change_and_go(store: MemoryDatastore) -> None:
    async with kept(store):
        await until(lambda: node_ports(store) == set() and complete(store) == "True")
        made = store.create(service(ports=[NODE_PORT]))
        await until(lambda: node_ports(store) == {30080})
        store.update(service(ports=[port(80, 30081)]))
        await until(lambda: node_ports(store) == {30081})
        store.delete("Service", made.name, "web")
        await until(lambda: node_ports(store) == set())


async def test_endpoints_come_with_the_policy_that_names_their_service(store: MemoryDatastore) -> None:
    store.create(endpoint_slice("shop", "10.1.0.5", ports=(("TCP", 80),)))
    async with kept(store):
        await until(lambda: complete(store) == "True")
        assert stored(store) is not None
        assert stored(store).spec.services == ()  # type: ignore[union-attr]
        store.create(policy("p", WEB))
        await until(lambda: [each.name for each in stored(store).spec.services] == ["shop"])  # type: ignore[union-attr]


async def test_what_somebody_changes_by_hand_is_put_right_and_what_is_deleted_is_made_anew(
    store: MemoryDatastore,
) -> None:
    store.create(service(ports=[NODE_PORT]))
    async with kept(store):
        await until(lambda: node_ports(store) == {30080} and complete(store) == "True")
        found = stored(store)
        assert found is not None
        store.update(msgspec.structs.replace(found, spec=ClusterServicesSpec()))
        await until(lambda: node_ports(store) == {30080})
        store.delete("ClusterServices", "default")
        await until(lambda: node_ports(store) == {30080} and complete(store) == "True")


def test_nothing_is_written_that_is_written_already(store: MemoryDatastore) -> None:
    store.create(service(ports=[NODE_PORT]))
    assert write_services(store)
    found = stored(store)
    assert not write_services(store)
    store.create(endpoint_slice("shop", "10.1.0.5", ports=(("TCP", 80),)))
    assert not write_services(store), "no policy names the service"
    assert stored(store) == found
    store.create(service("mail", ports=[port(25, 30025)]))
    assert write_services(store)


def test_a_digest_that_is_too_large_is_refused_whole_and_says_so(
    store: MemoryDatastore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store.create(service(ports=[NODE_PORT]))
    assert write_services(store)
    monkeypatch.setattr(services, "BYTES_MAX", 120)
    store.create(service("mail", ports=[port(25, 30025)], externalIPs=["192.0.2.1", "192.0.2.2"]))
    assert write_services(store)
    assert (node_ports(store), complete(store)) == ({30080}, "False")
    assert "TooLarge" in caplog.text
    assert not write_services(store), "said once"
    store.delete("Service", "mail", "web")
    assert write_services(store)
    assert (node_ports(store), complete(store)) == ({30080}, "True")


def test_a_digest_that_is_too_large_from_the_start_is_empty_and_says_so(
    store: MemoryDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "BYTES_MAX", 20)
    store.create(service(ports=[NODE_PORT]))
    assert write_services(store)
    assert (node_ports(store), complete(store)) == (set(), "False")


async def test_a_store_that_refuses_is_tried_again(
    store: MemoryDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = store.create
    refusals = iter([DatastoreError("403 forbidden"), None])

    def unwilling(resource: Resource) -> Resource:
        refusal = next(refusals, None)
        if refusal is not None:
            raise refusal
        return create(resource)

    monkeypatch.setattr(store, "create", unwilling)
    monkeypatch.setattr(services, "_RETRY_FIRST_S", 0.01)
    create(service(ports=[NODE_PORT]))
    async with kept(store):
        await until(lambda: node_ports(store) == {30080})
