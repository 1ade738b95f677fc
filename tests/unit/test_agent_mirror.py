"""The mirror: one watch, kept through a datastore's absence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from pyagent.agent import mirror as mirror_module
from pyagent.agent.mirror import Mirror, digest
from pyagent.datastore import EventType, WatchEvent
from pyagent.errors import DatastoreError, Problem
from pyagent.model import GlobalNetworkSet
from tests.support.memory_datastore import MemoryDatastore
from tests.support.resources import network_set

PATIENCE = 5.0


@asynccontextmanager
async def following(mirror: Mirror) -> AsyncGenerator[None, None]:
    task = asyncio.create_task(mirror.follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  (what is waited for has no event)
            await asyncio.sleep(0.005)


def names(mirror: Mirror) -> set[str]:
    return set(mirror.world.of(GlobalNetworkSet))


async def test_what_existed_and_what_comes_is_in_the_world_and_what_goes_is_not() -> None:
    store = MemoryDatastore()
    store.create(network_set("old", "10.0.0.0/8"))
    mirror = Mirror(store)
    async with following(mirror):
        await until(lambda: mirror.synced)
        assert names(mirror) == {"old"}
        store.create(network_set("new", "10.1.0.0/16"))
        await until(lambda: names(mirror) == {"old", "new"})
        store.delete("GlobalNetworkSet", "old")
        await until(lambda: names(mirror) == {"new"})


async def test_the_digest_is_that_of_the_stored_resources_and_changes_with_them() -> None:
    store = MemoryDatastore()
    store.create(network_set("one", "10.0.0.0/8"))
    mirror = Mirror(store)
    async with following(mirror):
        await until(lambda: mirror.synced)
        before = mirror.observed()
        assert before == digest(store.list("GlobalNetworkSet")[0])
        store.update(network_set("one", "10.9.0.0/16"))
        await until(lambda: mirror.observed() != before)
        assert mirror.observed() == digest(store.list("GlobalNetworkSet")[0])


class Script:
    """A datastore whose watches say what the test wrote down, one list a watch."""

    def __init__(self, *watches: Sequence[WatchEvent | DatastoreError]) -> None:
        self._watches = list(watches)
        self.begun = 0

    async def watch(self, _kinds: Sequence[str]) -> AsyncGenerator[WatchEvent, None]:
        said = self._watches[self.begun] if self.begun < len(self._watches) else []
        self.begun += 1
        for item in said:
            if isinstance(item, DatastoreError):
                raise item
            yield item
        await asyncio.Event().wait()


def added(name: str) -> WatchEvent:
    resource = network_set(name, "10.0.0.0/8")
    return WatchEvent(EventType.ADDED, "GlobalNetworkSet", name, resource=resource)


SYNCED = WatchEvent(EventType.SYNCED)


async def test_while_the_datastore_is_away_the_last_state_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    retry_soon(monkeypatch)
    store = Script([added("a"), SYNCED, DatastoreError("gone")], [DatastoreError("still gone")], [])
    mirror = Mirror(store)  # type: ignore[arg-type]
    async with following(mirror):
        await until(lambda: store.begun == 3)
        assert names(mirror) == {"a"}
        assert not mirror.connected


async def test_what_was_deleted_meanwhile_is_gone_after_the_next_synced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    retry_soon(monkeypatch)
    store = Script([added("a"), added("b"), SYNCED, DatastoreError("gone")], [added("b"), SYNCED])
    mirror = Mirror(store)  # type: ignore[arg-type]
    async with following(mirror):
        await until(lambda: names(mirror) == {"b"})
        assert mirror.connected


async def test_a_watch_that_breaks_before_it_is_synced_takes_nothing_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    retry_soon(monkeypatch)
    store = Script(
        [added("a"), added("b"), SYNCED, DatastoreError("gone")], [added("b"), DatastoreError("x")], []
    )
    mirror = Mirror(store)  # type: ignore[arg-type]
    async with following(mirror):
        await until(lambda: store.begun == 3)
        assert names(mirror) == {"a", "b"}


async def test_a_broken_resource_keeps_its_last_good_version_and_is_named() -> None:
    broken = WatchEvent(
        EventType.ERROR, "GlobalNetworkSet", "a", problems=(Problem("spec.nets[0]", "not a network", "x"),)
    )
    store = Script([added("a"), SYNCED, broken])
    mirror = Mirror(store)  # type: ignore[arg-type]
    async with following(mirror):
        await until(lambda: "GlobalNetworkSet/a" in mirror.broken)
        assert names(mirror) == {"a"}
        assert "not a network" in mirror.broken["GlobalNetworkSet/a"]


async def test_a_mended_resource_is_named_no_more() -> None:
    broken = WatchEvent(EventType.ERROR, "GlobalNetworkSet", "a", problems=(Problem("spec", "bad"),))
    store = Script([added("a"), SYNCED, broken, added("a")])
    mirror = Mirror(store)  # type: ignore[arg-type]
    async with following(mirror):
        await until(lambda: mirror.synced and not mirror.broken)
        assert names(mirror) == {"a"}


def retry_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_module, "_RETRY_FIRST_S", 0.01)
