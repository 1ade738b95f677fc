"""An agent's statuses in a cluster: written to its own endpoints, and no harm where they are refused."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace as changed

import pytest
from msgspec.structs import replace

from pyagent.agent.late import LateDatastore
from pyagent.agent.mirror import Mirror
from pyagent.agent.reporting import Pace, Reporter
from pyagent.datastore import EventType
from pyagent.datastore.kubernetes import KubernetesDatastore
from pyagent.model import HostEndpoint
from pyagent.model.status import PROTECTED, Condition, HostEndpointStatus, Truth
from tests.kube.conftest import Open
from tests.support.apiserver import ApiServer
from tests.support.following import following
from tests.support.own_names import OwnNames
from tests.support.resources import host_endpoint

QUICK = Pace(spread=0, rest=0, urgent=0, first_pause=0.01, longest_pause=0.05, forbidden=0.2)
READER = "reader-token"
PROTECTED_STATUS = HostEndpointStatus(
    conditions=(Condition(type=PROTECTED, status=Truth.TRUE, reason="Covered"),), observed="abc"
)


@contextlib.asynccontextmanager
async def reporting(store: KubernetesDatastore) -> AsyncIterator[Reporter]:
    mirror = Mirror(store, "n1")
    reporter = Reporter(store, mirror, QUICK)
    tasks = [asyncio.create_task(mirror.follow()), asyncio.create_task(reporter.follow())]
    try:
        await until(lambda: mirror.synced)
        mirror.changed.clear()
        reporter.want({"h": PROTECTED_STATUS})
        yield reporter
        assert not mirror.changed.is_set(), "a status asked for a pass"
        assert set(mirror.endpoints) == {"h"}
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 (a test's wait)
            await asyncio.sleep(0.01)


def stored(store: KubernetesDatastore) -> HostEndpointStatus:
    found = store.get("HostEndpoint", "h")
    assert isinstance(found, HostEndpoint)
    return HostEndpointStatus.read(found.status)


def writes(server: ApiServer) -> int:
    return sum(asked.verb == "update" for asked in server.faults.requests)


async def test_a_status_is_written_once_and_asks_for_no_pass(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    store.create(host_endpoint("h", "n1"))
    store.create(host_endpoint("other", "n2"))
    async with reporting(store):
        await asyncio.to_thread(wait_for, lambda: stored(store).observed == "abc")
        written = writes(server)
        await asyncio.sleep(0.2)
        assert writes(server) == written == 1
    generation = store.get("HostEndpoint", "h").metadata.generation
    assert generation == 1


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_an_agent_without_the_right_is_told_so_once_and_goes_on_when_it_gets_it(
    server: ApiServer, store: KubernetesDatastore, open_store: Open, caplog: pytest.LogCaptureFixture
) -> None:
    store.create(host_endpoint("h", "n1"))
    plurals = {kind.plural for kind in server.storage.kinds.values()}
    reading = frozenset((verb, plural) for verb in ("get", "list", "watch") for plural in plurals)
    server.users[READER] = reading
    reader = open_store(READER)
    async with reporting(reader) as reporter:
        await until(lambda: "status not written" in caplog.text)
        await asyncio.sleep(0.5)
        assert caplog.text.count("status not written") == 1
        assert not reporter.refused
        server.users[READER] = reading | {("update", "hostendpoints/status")}
        await asyncio.to_thread(wait_for, lambda: stored(reader).observed == "abc")


async def test_a_cluster_without_status_subresources_is_left_in_peace(
    server: ApiServer, store: KubernetesDatastore, caplog: pytest.LogCaptureFixture
) -> None:
    store.create(host_endpoint("h", "n1"))
    kinds = server.storage.kinds
    for key, kind in kinds.items():
        kinds[key] = changed(kind, status=False)
    async with reporting(store) as reporter:
        await until(lambda: reporter.refused)
        asked = len(server.faults.requests)
        reporter.want({"h": HostEndpointStatus(observed="new")})
        await asyncio.sleep(0.2)
        assert len(server.faults.requests) == asked
    assert caplog.text.count("statuses not written") == 1


async def test_an_endpoint_that_is_gone_for_a_while_is_no_cluster_without_statuses(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    store.create(host_endpoint("h", "n1"))
    missing = server.storage.missing(server.storage.kind("projectcalico.org/v3", "hostendpoints"), "h")
    fault = server.faults.add(
        status=404, body=missing.body(), times=5, when=lambda asked: asked.verb == "get"
    )
    async with reporting(store) as reporter:
        await until(lambda: fault.times == 0)
        await asyncio.to_thread(wait_for, lambda: stored(store).observed == "abc")
        assert not reporter.refused


async def test_an_agent_hears_nothing_of_what_other_nodes_say_of_themselves(
    server: ApiServer, store: KubernetesDatastore, open_store: Open
) -> None:
    for number in ("1", "2"):
        store.create(host_endpoint(f"h{number}", f"n{number}"))
    spared = open_store()
    late = LateDatastore(lambda: spared, "n1")
    async with following(late, "HostEndpoint") as own, following(store, "HostEndpoint") as whole:
        for number in ("1", "2"):
            stored_one = await asyncio.to_thread(store.get, "HostEndpoint", f"h{number}")
            assert isinstance(stored_one, HostEndpoint)
            said = replace(stored_one, status=PROTECTED_STATUS.wire())
            await asyncio.to_thread(store.update_status, said)
        await whole.until(lambda: len(whole.events) == 5)
        moved = host_endpoint("h2", "n2", {"role": "web"})
        await asyncio.to_thread(store.update, moved)
        await own.until(lambda: bool(own.resources["HostEndpoint", "h2"].metadata.labels))
        told = [(each.type, each.name) for each in own.events if each.type is EventType.MODIFIED]
        assert sorted(told) == [(EventType.MODIFIED, "h1"), (EventType.MODIFIED, "h2")]
        assert own.resources["HostEndpoint", "h2"].status is None  # type: ignore[attr-defined]
        assert own.resources["HostEndpoint", "h1"].status["observed"] == "abc"  # type: ignore[attr-defined]
        assert whole.resources["HostEndpoint", "h2"].status["observed"] == "abc"  # type: ignore[attr-defined]


async def test_a_cluster_stores_what_an_agent_says_and_its_generation_stays(cluster: OwnNames) -> None:
    node = f"{cluster.mark}n1"
    cluster.create(host_endpoint("h", node))
    assert isinstance(cluster.inner, KubernetesDatastore)
    mirror = Mirror(cluster.inner, node)
    reporter = Reporter(cluster.inner, mirror, QUICK)
    tasks = [asyncio.create_task(mirror.follow()), asyncio.create_task(reporter.follow())]
    try:
        await until(lambda: mirror.synced)
        reporter.want({f"{cluster.mark}h": PROTECTED_STATUS})
        await until(lambda: bool((mirror.endpoints[f"{cluster.mark}h"].status or {}).get("observed")))
        reporter.want({f"{cluster.mark}h": replace(PROTECTED_STATUS, observed="def")})
        await until(
            lambda: HostEndpointStatus.read(mirror.endpoints[f"{cluster.mark}h"].status).observed == "def"
        )
        stored_one = await asyncio.to_thread(cluster.get, "HostEndpoint", "h")
        assert stored_one.metadata.generation == 1
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
