"""The controller as a service, on the real embedded datastore."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from pyagent.controller import SettingsError, loop, run
from pyagent.controller.reconcile import Reconciler
from pyagent.datastore import EmbeddedDatastore
from pyagent.errors import NotFoundError
from pyagent.model import HostEndpoint, Node
from tests.support.directories import quick_directory
from tests.support.memory_datastore import MemoryDatastore
from tests.support.resources import controllers_configuration, host_endpoint, node

PATIENCE_S = 10.0


@pytest.fixture
def root() -> Iterator[Path]:
    with quick_directory() as directory:
        yield directory / "store"


@pytest.fixture
def store(root: Path) -> EmbeddedDatastore:
    store = EmbeddedDatastore(root)
    store.create(controllers_configuration(auto_create="Enabled"))
    store.create(node("n1", "10.0.0.1"))
    return store


@contextlib.asynccontextmanager
async def running(store: EmbeddedDatastore | MemoryDatastore, resync: float = 300.0) -> AsyncIterator[None]:
    task = asyncio.create_task(run(store, resync, environment={}))
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def move(here: Path, there: Path) -> None:
    here.rename(there)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 (files and other threads set no event)
            await asyncio.sleep(0.01)


def names(store: EmbeddedDatastore | MemoryDatastore) -> list[str]:
    return [each.name for each in store.list("HostEndpoint")[0]]


def endpoint(store: EmbeddedDatastore, name: str) -> HostEndpoint | None:
    try:
        found = store.get("HostEndpoint", name)
    except NotFoundError:
        return None
    assert isinstance(found, HostEndpoint)
    return found


async def test_it_starts_by_making_what_is_missing(store: EmbeddedDatastore) -> None:
    async with running(store):
        await until(lambda: names(store) == ["n1-auto-hep"])
    assert store.get("Tier", "default")


async def test_it_follows_nodes_as_they_come_change_and_go(store: EmbeddedDatastore) -> None:
    async with running(store):
        store.create(node("n2", "10.0.0.2"))
        await until(lambda: names(store) == ["n1-auto-hep", "n2-auto-hep"])
        store.update(node("n2", labels={"zone": "a"}))
        await until(
            lambda: (found := endpoint(store, "n2-auto-hep")) is not None and "zone" in found.metadata.labels
        )
        store.delete("Node", "n2")
        await until(lambda: names(store) == ["n1-auto-hep"])


async def test_it_obeys_a_changed_configuration(store: EmbeddedDatastore) -> None:
    async with running(store):
        await until(lambda: names(store) == ["n1-auto-hep"])
        store.update(controllers_configuration(auto_create="Disabled"))
        await until(lambda: names(store) == [])
        store.update(controllers_configuration(auto_create="Enabled"))
        await until(lambda: names(store) == ["n1-auto-hep"])


async def test_it_repairs_edited_and_deleted_endpoints(store: EmbeddedDatastore) -> None:
    async with running(store):
        await until(lambda: names(store) == ["n1-auto-hep"])
        made = endpoint(store, "n1-auto-hep")
        assert made is not None
        store.update(replace(made, spec=replace(made.spec, interface_name="eth0")))
        await until(lambda: (found := endpoint(store, "n1-auto-hep")) is not None and found.spec == made.spec)
        store.delete("HostEndpoint", "n1-auto-hep")
        await until(lambda: names(store) == ["n1-auto-hep"])


async def test_it_repairs_files_edited_and_removed_by_hand(store: EmbeddedDatastore, root: Path) -> None:
    path = root / "hostendpoints" / "n1-auto-hep.yaml"
    async with running(store):
        await until(path.exists)
        text = path.read_text()
        path.write_text(text.replace("10.0.0.1", "10.0.0.7"))
        await until(lambda: "10.0.0.1" in path.read_text())
        path.unlink()
        await until(path.exists)


async def test_it_restores_predefined_resources(store: EmbeddedDatastore) -> None:
    async with running(store):
        await until(lambda: len(store.list("Tier")[0]) == 3)
        store.delete("Tier", "kube-admin")
        await until(lambda: len(store.list("Tier")[0]) == 3)


async def test_it_takes_a_name_over_as_soon_as_its_owner_gives_it_up(store: EmbeddedDatastore) -> None:
    store.create(host_endpoint("n1-auto-hep", "n1"))
    async with running(store):
        store.create(node("n2", "10.0.0.2"))
        await until(lambda: "n2-auto-hep" in names(store))
        mine = endpoint(store, "n1-auto-hep")
        assert mine is not None
        assert mine.metadata.labels == {}
        store.delete("HostEndpoint", "n1-auto-hep")
        await until(lambda: names(store) == ["n1-auto-hep", "n2-auto-hep"])


async def test_a_broken_configuration_file_leaves_everything_as_it_is(
    store: EmbeddedDatastore, root: Path
) -> None:
    path = root / "kubecontrollersconfigurations" / "default.yaml"
    async with running(store):
        await until(lambda: "status:" in path.read_text())
        assert names(store) == ["n1-auto-hep"]
        path.write_text("kind: [")
        store.create(node("n2", "10.0.0.2"))
        await until(lambda: names(store) == ["n1-auto-hep", "n2-auto-hep"])
        assert path.read_text() == "kind: ["


async def test_many_changes_at_once_are_answered_by_few_passes(
    store: EmbeddedDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[object] = []
    original = Reconciler.reconcile
    monkeypatch.setattr(
        Reconciler, "reconcile", lambda self, state: (passes.append(1), original(self, state))[1]
    )
    async with running(store):
        await until(lambda: names(store) == ["n1-auto-hep"])
        for number in range(100, 150):
            store.create(node(f"n{number}", f"10.0.1.{number}"))
        await until(lambda: len(names(store)) == 51)
    assert len(passes) < 15


async def test_a_nodes_heartbeat_causes_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[object] = []
    original = Reconciler.reconcile
    monkeypatch.setattr(
        Reconciler, "reconcile", lambda self, state: (passes.append(1), original(self, state))[1]
    )
    store = MemoryDatastore()
    store.create(controllers_configuration(auto_create="Enabled"))
    created = store.create(node("n1", "10.0.0.1"))
    async with running(store):
        await until(lambda: len(passes) > 1)
        await asyncio.sleep(4 * loop.BATCH_S)
        before = len(passes)
        for phase in ("a", "b", "c"):
            created = store.update(replace(created, status=replace(created.status, phase=phase)))
            await asyncio.sleep(2 * loop.BATCH_S)
        assert len(passes) == before
        store.update(node("n1", labels={"x": ""}))
        await until(lambda: len(passes) > before)
        # One for the label; what that one wrote is no news.
        await until(lambda: "x" in store.get("HostEndpoint", "n1-auto-hep").metadata.labels)
        await asyncio.sleep(4 * loop.BATCH_S)
        assert len(passes) == before + 1


async def test_a_resync_finds_what_the_watch_did_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf(MemoryDatastore):
        """A store whose watch goes silent once it has synchronised."""

        async def watch(self, kinds):  # type: ignore[no-untyped-def,override]
            async with contextlib.aclosing(super().watch(kinds)) as events:
                async for event in events:
                    yield event
                    if event.type == "SYNCED":
                        await asyncio.sleep(PATIENCE_S)

    store = Deaf()
    store.create(controllers_configuration(auto_create="Enabled"))
    async with running(store, resync=0.1):
        await asyncio.sleep(0.05)
        store.create(node("n1", "10.0.0.1"))
        await until(lambda: names(store) == ["n1-auto-hep"])


async def test_a_write_that_failed_is_tried_again_soon(
    store: EmbeddedDatastore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "RETRY_S", 0.02)
    path = root / "hostendpoints" / "n1-auto-hep.yaml"
    path.write_text("broken: [")
    async with running(store):
        store.create(node("n2", "10.0.0.2"))
        await until(lambda: names(store) == ["n2-auto-hep"])
        path.unlink()
        await until(lambda: names(store) == ["n1-auto-hep", "n2-auto-hep"])


async def test_a_datastore_that_goes_away_is_waited_for(
    store: EmbeddedDatastore, root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loop, "RETRY_S", 0.05)
    away = root.with_name("away")
    async with running(store):
        await until(lambda: names(store) == ["n1-auto-hep"])
        move(root, away)
        await until(lambda: "datastore not available" in caplog.text)
        move(away, root)
        store.create(node("n2", "10.0.0.2"))
        await until(lambda: names(store) == ["n1-auto-hep", "n2-auto-hep"])


async def test_a_bad_environment_ends_it_at_once(store: EmbeddedDatastore) -> None:
    with pytest.raises(SettingsError, match="AUTO_HOST_ENDPOINTS"):
        await asyncio.wait_for(run(store, environment={"AUTO_HOST_ENDPOINTS": "perhaps"}), PATIENCE_S)
    assert names(store) == []


def test_only_labels_annotations_and_addresses_of_a_node_count() -> None:
    before = node("n1", "10.0.0.1", labels={"a": "b"})
    assert isinstance(before, Node)
    assert loop._means_the_same(before, replace(before, status=replace(before.status, phase="x")))
    assert not loop._means_the_same(before, node("n1", "10.0.0.2", labels={"a": "b"}))
    assert not loop._means_the_same(before, node("n1", "10.0.0.1"))
    assert not loop._means_the_same(None, before)
