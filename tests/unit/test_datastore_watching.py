"""A watch of the embedded datastore: what is done to its files by hand, and what inotify cannot tell."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyagent.datastore import EmbeddedDatastore, EventType
from pyagent.errors import DatastoreError
from tests.support.by_hand import BROKEN, by_hand, write
from tests.support.datastore_contract import KIND, nets_of, next_event, synced
from tests.support.directories import quick_directory
from tests.support.resources import network_set, service


@pytest.fixture
def root() -> Iterator[Path]:
    with quick_directory() as directory:
        yield directory / "store"


@pytest.fixture
def store(root: Path) -> EmbeddedDatastore:
    return EmbeddedDatastore(root)


def fill_inotify_queue(directory: Path) -> None:
    """Cause more events in a watched directory than the kernel keeps."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    noise, other = directory / ".noise", directory / ".other-noise"
    noise.touch()
    for _ in range(limit // 4 + 1):
        noise.rename(other)
        other.rename(noise)


def move_away(root: Path) -> None:
    root.rename(root.with_name("moved"))


async def test_a_file_made_edited_and_removed_by_hand_is_reported(
    store: EmbeddedDatastore, root: Path
) -> None:
    path = root / "globalnetworksets" / "a.yaml"
    async with synced(store, KIND) as events:
        for net, expected in (("10.0.0.0/8", EventType.ADDED), ("11.0.0.0/8", EventType.MODIFIED)):
            write(path, by_hand(net))
            event = await next_event(events)
            assert (event.type, nets_of(event.resource)) == (expected, (net,))
        path.unlink()
        assert (await next_event(events)).type is EventType.DELETED


async def test_a_file_written_in_place_is_looked_at_when_it_is_finished(
    store: EmbeddedDatastore, root: Path
) -> None:
    text = by_hand("10.0.0.0/8")
    async with synced(store, KIND) as events:
        with (root / "globalnetworksets" / "a.yaml").open("w") as file:
            file.write(text[:30])
            file.flush()
            store.create(network_set("b"))
            assert (await next_event(events)).name == "b"
            file.write(text[30:])
        event = await next_event(events)
    assert (event.type, event.name) == (EventType.ADDED, "a")


async def test_a_hard_link_is_seen(store: EmbeddedDatastore, root: Path) -> None:
    (root.parent / "outside").write_text(by_hand("10.0.0.0/8"))
    async with synced(store, KIND) as events:
        (root / "globalnetworksets" / "a.yaml").hardlink_to(root.parent / "outside")
        assert (await next_event(events)).type is EventType.ADDED


async def test_a_file_that_breaks_is_reported_once_and_again_when_it_is_mended(
    store: EmbeddedDatastore, root: Path
) -> None:
    good = store.create(network_set("a", "10.0.0.0/8"))
    path = root / "globalnetworksets" / "a.yaml"
    text = path.read_text()
    async with synced(store, KIND) as events:
        write(path, BROKEN)
        event = await next_event(events)
        assert (event.type, event.name, event.resource) == (EventType.ERROR, "a", good)
        assert event.problems
        assert event.problems[0].file == str(path)
        write(path, BROKEN)
        write(path, text)
        event = await next_event(events)
        assert (event.type, event.resource) == (EventType.MODIFIED, good)


async def test_a_watch_that_begins_with_a_broken_file_tells_both(
    store: EmbeddedDatastore, root: Path
) -> None:
    good = store.create(network_set("a", "10.0.0.0/8"))
    write(root / "globalnetworksets" / "a.yaml", BROKEN)
    write(root / "globalnetworksets" / "b.yaml", BROKEN)
    events = store.watch([KIND])
    first = [await next_event(events) for _ in range(4)]
    assert [(event.type, event.name, event.resource) for event in first] == [
        (EventType.ADDED, "a", good),
        (EventType.ERROR, "a", good),
        (EventType.ERROR, "b", None),
        (EventType.SYNCED, "", None),
    ]
    (root / "globalnetworksets" / "b.yaml").unlink()
    gone = await next_event(events)
    assert (gone.type, gone.name, gone.resource) == (EventType.DELETED, "b", None)
    await events.aclose()


async def test_directories_that_come_and_go_are_followed(store: EmbeddedDatastore, root: Path) -> None:
    async with synced(store, "Service") as events:
        for namespace in ("one", "two"):
            store.create(service(namespace, "web"))
            assert (await next_event(events)).namespace == namespace
        store.create(service("one", "mail"))
        assert (await next_event(events)).name == "mail"
        (root / "services" / "two" / "web.yaml").unlink()
        (root / "services" / "two").rmdir()
        assert (await next_event(events)).type is EventType.DELETED
        store.create(service("two", "web"))
        assert (await next_event(events)).type is EventType.ADDED
        (root / "services" / "one").rename(root / "elsewhere")
        assert {(await next_event(events)).type for _ in range(2)} == {EventType.DELETED}


async def test_an_overflow_of_the_kernels_queue_loses_nothing(
    store: EmbeddedDatastore, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with synced(store, KIND) as events:
        fill_inotify_queue(root / "globalnetworksets")
        created = store.create(network_set("a"))
        event = await next_event(events)
    assert (event.type, event.resource) == (EventType.ADDED, created)
    assert "overflowed" in caplog.text


async def test_a_resync_finds_what_inotify_could_not_tell(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyagent.datastore.watching._Changes._note", lambda _self, _event: None)
    store = EmbeddedDatastore(root, resync=0.1)
    async with synced(store, KIND) as events:
        created = store.create(network_set("a"))
        assert (await next_event(events)).resource == created


async def test_a_file_with_a_mistaken_suffix_is_warned_of(
    store: EmbeddedDatastore, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    (root / "globalnetworksets" / "a.yml").write_text(by_hand("10.0.0.0/8"))
    async with synced(store, KIND):
        pass
    assert "file ignored" in caplog.text
    assert "a.yml" in caplog.text


async def test_a_watch_ends_with_an_error_when_the_directory_goes_away(
    store: EmbeddedDatastore, root: Path
) -> None:
    store.create(network_set("a"))
    async with synced(store, KIND) as events:
        move_away(root)
        with pytest.raises(DatastoreError):
            await next_event(events)
