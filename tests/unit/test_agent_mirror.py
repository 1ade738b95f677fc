"""The mirror: one watch, kept through a datastore's absence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pyagent.agent import mirror as mirror_module
from pyagent.agent.lastgood import LAST_GOOD, LastGood
from pyagent.agent.mirror import Mirror, digest
from pyagent.agent.state import StateDirectory
from pyagent.datastore import EventType, WatchEvent
from pyagent.errors import DatastoreError, Problem
from pyagent.model import GlobalNetworkSet, HostEndpoint
from tests.support.memory_datastore import MemoryDatastore
from tests.support.resources import host_endpoint, network_set

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


def with_status(endpoint: HostEndpoint, **status: Any) -> HostEndpoint:
    metadata = replace(endpoint.metadata, resource_version="")
    return replace(endpoint, metadata=metadata, status=status)


async def test_what_means_nothing_to_policy_asks_for_no_pass() -> None:
    store = MemoryDatastore()
    endpoint = store.create(host_endpoint("other", "n2"))
    mirror = Mirror(store, "n1")
    async with following(mirror):
        await until(lambda: mirror.synced)
        mirror.changed.clear()
        before = mirror.seen()
        store.update_status(with_status(endpoint, generation=7))
        annotated = replace(endpoint.metadata, annotations={"who": "x"}, resource_version="")
        store.update(replace(endpoint, metadata=annotated))
        # What comes after it is seen, so that was seen as well.
        store.create(host_endpoint("last", "n3"))
        await until(lambda: ("HostEndpoint", "", "last") in mirror._resources)
        kept = mirror._resources["HostEndpoint", "", "other"]
        assert isinstance(kept, HostEndpoint)
        assert kept.status is None
        mirror.changed.clear()
        assert mirror.seen().digest != before.digest
        after = mirror.seen()
        store.update_status(with_status(endpoint, generation=8))
        store.update_status(with_status(host_endpoint("last", "n3"), generation=1))
        await asyncio.sleep(0.1)
        assert not mirror.changed.is_set()
        assert mirror.seen() is after
        assert after.digest == digest(store.list("HostEndpoint")[0])
        # The control: a label is seen.
        store.update(host_endpoint("other", "n2", {"role": "db"}))
        await until(mirror.changed.is_set)
        assert mirror.seen().digest != after.digest


async def test_policies_have_a_name_of_their_own_that_no_endpoint_changes() -> None:
    store = MemoryDatastore()
    store.create(network_set("s", "10.0.0.0/8"))
    mirror = Mirror(store, "n1")
    async with following(mirror):
        await until(lambda: mirror.synced)
        before = mirror.seen()
        store.create(host_endpoint("other", "n2"))
        await until(lambda: mirror.seen().digest != before.digest)
        assert mirror.seen().policies == before.policies
        store.update(network_set("s", "10.1.0.0/16"))
        await until(lambda: mirror.seen().policies != before.policies)


async def test_this_nodes_own_endpoints_are_known_with_their_statuses() -> None:
    store = MemoryDatastore()
    own = store.create(host_endpoint("own", "n1"))
    store.create(host_endpoint("other", "n2"))
    mirror = Mirror(store, "n1")
    async with following(mirror):
        await until(lambda: mirror.synced)
        assert set(mirror.endpoints) == {"own"}
        mirror.endpoints_changed.clear()
        store.update_status(with_status(own, generation=3))
        await until(mirror.endpoints_changed.is_set)
        assert mirror.endpoints["own"].status == {"generation": 3}
        store.delete("HostEndpoint", "own")
        await until(lambda: not mirror.endpoints)


def broken(name: str, uid: str) -> WatchEvent:
    return WatchEvent(
        EventType.ERROR, "GlobalNetworkSet", name, problems=(Problem("spec.nets", "bad"),), uid=uid
    )


def identified(name: str, uid: str) -> WatchEvent:
    event = added(name)
    assert event.resource is not None
    metadata = replace(event.resource.metadata, uid=uid)
    return WatchEvent(EventType.ADDED, event.kind, name, resource=replace(event.resource, metadata=metadata))


@pytest.mark.parametrize(("uid", "kept"), [("u1", True), ("u2", False), ("", False)])
async def test_what_turned_invalid_while_no_agent_ran_keeps_its_last_valid_form(
    tmp_path: Path, uid: str, kept: bool
) -> None:
    with StateDirectory(tmp_path) as state:
        before = Mirror(Script([identified("a", "u1"), SYNCED]))  # type: ignore[arg-type]
        async with following(before):
            await until(lambda: before.synced)
        LastGood(state, "n1").keep(before.resources())
        after = Mirror(Script([broken("a", uid), SYNCED]), "n1", LastGood(state, "n1"))  # type: ignore[arg-type]
        async with following(after):
            await until(lambda: after.synced)
            assert names(after) == ({"a"} if kept else set())
            assert "GlobalNetworkSet/a" in after.broken
            if kept:
                assert after.seen().policies == before.seen().policies


async def test_a_watch_that_begins_anew_keeps_the_valid_form_of_what_is_invalid_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    retry_soon(monkeypatch)
    store = Script([identified("a", "u1"), SYNCED, DatastoreError("gone")], [broken("a", "u1"), SYNCED], [])
    mirror = Mirror(store)  # type: ignore[arg-type]
    async with following(mirror):
        await until(lambda: bool(mirror.broken) and mirror.connected)
        assert names(mirror) == {"a"}


def test_last_good_versions_are_bounded_damaged_ones_left_out_and_other_nodes_endpoints_not_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def known(resource: Any) -> Any:
        return replace(resource, metadata=replace(resource.metadata, uid=f"u-{resource.name}"))

    resources = [known(network_set(f"s{number}", "10.0.0.0/8")) for number in range(100)]
    resources += [known(host_endpoint("own", "n1")), known(host_endpoint("other", "n2"))]
    with StateDirectory(tmp_path) as state:
        LastGood(state, "n1").keep(resources)
        path = tmp_path / LAST_GOOD
        path.write_bytes(b"garbage\n" + path.read_bytes())
        found = LastGood(state, "n1")
        assert found.find("GlobalNetworkSet", "s7", "u-s7") == resources[7]
        assert found.find("HostEndpoint", "own", "u-own") is not None
        assert found.find("HostEndpoint", "other", "u-other") is None
        assert "unreadable" in caplog.text
        LastGood(state, "n1", bytes_max=1000).keep(resources)
        assert 0 < path.stat().st_size <= 1000
        assert "not all kept" in caplog.text


def test_last_good_versions_are_written_only_when_they_changed(tmp_path: Path) -> None:
    with StateDirectory(tmp_path) as state:
        last_good = LastGood(state, "n1")
        last_good.keep([network_set("s", "10.0.0.0/8")])
        (tmp_path / LAST_GOOD).unlink()
        last_good.keep([network_set("s", "10.0.0.0/8")])
        assert not (tmp_path / LAST_GOOD).exists()
        last_good.keep([network_set("s", "10.1.0.0/16")])
        assert (tmp_path / LAST_GOOD).exists()
