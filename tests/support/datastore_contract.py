"""What every implementation of Datastore must do: subclass DatastoreContract, give it a ``store`` fixture."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator

import pytest
from msgspec.structs import replace

from pyagent.datastore import Datastore, EventType, WatchEvent
from pyagent.errors import AlreadyExistsError, ConflictError, DatastoreError, ManifestError, NotFoundError
from pyagent.model import Metadata, Resource
from tests.support.resources import host_endpoint, network_set, service

KIND = "GlobalNetworkSet"
PATIENCE_S = 10.0


async def next_event(events: AsyncGenerator[WatchEvent, None]) -> WatchEvent:
    """The next event, or a failure after PATIENCE_S."""
    return await asyncio.wait_for(anext(events), PATIENCE_S)


@contextlib.asynccontextmanager
async def synced(store: Datastore, *kinds: str) -> AsyncIterator[AsyncGenerator[WatchEvent, None]]:
    """A watch that has reported everything that existed."""
    async with contextlib.aclosing(store.watch(kinds)) as events:
        while (await next_event(events)).type is not EventType.SYNCED:
            pass
        yield events


def nets_of(resource: Resource | None) -> tuple[str, ...]:
    return getattr(resource, "spec").nets  # noqa: B009 (not every resource has one)


class ReadingAndWriting:
    """Without a watch."""

    def test_a_created_resource_is_read_back_as_returned(self, store: Datastore) -> None:
        created = store.create(network_set("a", "10.0.0.0/8", role="peer"))
        assert store.get(KIND, "a") == created
        assert nets_of(created) == ("10.0.0.0/8",)
        assert created.metadata.labels == {"role": "peer"}

    def test_a_created_resource_gets_uid_time_generation_and_version(self, store: Datastore) -> None:
        metadata = store.create(network_set("a")).metadata
        assert len(metadata.uid) >= 32
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", metadata.creation_timestamp or "")
        assert metadata.generation == 1
        assert metadata.resource_version

    def test_what_the_store_assigns_is_ignored_when_given_to_create(self, store: Datastore) -> None:
        metadata = Metadata(
            name="a",
            uid="mine",
            resource_version="77",
            generation=9,
            creation_timestamp="2001-01-01T00:00:00Z",
        )
        created = store.create(replace(network_set("a"), metadata=metadata)).metadata
        assert created.uid != "mine"
        assert created.resource_version != "77"
        assert created.generation == 1
        assert created.creation_timestamp != "2001-01-01T00:00:00Z"

    def test_creating_a_name_twice_is_refused_and_changes_nothing(self, store: Datastore) -> None:
        first = store.create(network_set("a", "10.0.0.0/8"))
        with pytest.raises(AlreadyExistsError, match=r"resource already exists: GlobalNetworkSet\(a\)"):
            store.create(network_set("a", "11.0.0.0/8"))
        assert store.get(KIND, "a") == first

    def test_a_missing_resource_is_not_found(self, store: Datastore) -> None:
        store.create(network_set("b"))
        message = r"resource does not exist: GlobalNetworkSet\(a\)"
        with pytest.raises(NotFoundError, match=message):
            store.get(KIND, "a")
        with pytest.raises(NotFoundError, match=message):
            store.update(network_set("a"))
        with pytest.raises(NotFoundError, match=message):
            store.delete(KIND, "a")
        with pytest.raises(NotFoundError, match=r"resource does not exist: HostEndpoint\(a\)"):
            store.update_status(host_endpoint("a", "n1"))
        assert store.get(KIND, "b").name == "b"

    @pytest.mark.parametrize(
        "name", ["../a", "..", ".", "", "a/b", "/etc/passwd", ".hidden", "A", "a\0b", "a\n", "x" * 254]
    )
    def test_an_impossible_name_is_never_found_and_never_stored(self, store: Datastore, name: str) -> None:
        store.create(network_set("a"))
        with pytest.raises(NotFoundError):
            store.get(KIND, name)
        with pytest.raises(NotFoundError):
            store.delete(KIND, name)
        with pytest.raises(ManifestError):
            store.create(network_set(name))
        assert [resource.name for resource in store.list(KIND)[0]] == ["a"]

    def test_the_longest_names_are_kept_apart(self, store: Datastore) -> None:
        names = ["x" * 63 + "." + "y" * 63 + "." + "z" * 63 + "." + "w" * 60 + end for end in ("a", "b")]
        assert [len(name) for name in names] == [253, 253]
        for name in names:
            store.create(network_set(name, "10.0.0.0/8"))
        assert sorted(resource.name for resource in store.list(KIND)[0]) == names
        assert store.get(KIND, names[1]).name == names[1]

    def test_a_kind_that_does_not_exist_is_refused(self, store: Datastore) -> None:
        with pytest.raises(DatastoreError, match="resource type 'Nonsense' is not supported"):
            store.list("Nonsense")
        with pytest.raises(DatastoreError, match="resource type 'Nonsense' is not supported"):
            store.get("Nonsense", "a")

    def test_an_invalid_resource_is_refused_whole(self, store: Datastore) -> None:
        good = store.create(network_set("a", "10.0.0.0/8"))
        with pytest.raises(ManifestError, match="not-a-net"):
            store.update(network_set("a", "not-a-net"))
        with pytest.raises(ManifestError, match="not-a-net"):
            store.create(network_set("b", "not-a-net"))
        assert store.list(KIND)[0] == [good]

    def test_listing_gives_every_resource_of_the_kind_by_name(self, store: Datastore) -> None:
        created = [store.create(network_set(name)) for name in ("b", "a", "c")]
        store.create(host_endpoint("h", "n1"))
        listed, revision = store.list(KIND)
        assert listed == sorted(created, key=lambda resource: resource.name)
        assert revision
        assert store.list("Tier")[0] == []

    def test_the_stores_revision_moves_with_every_change(self, store: Datastore) -> None:
        revisions = [store.list(KIND)[1]]
        store.create(network_set("a"))
        revisions.append(store.list(KIND)[1])
        store.update(network_set("a", "10.0.0.0/8"))
        revisions.append(store.list(KIND)[1])
        store.delete(KIND, "a")
        revisions.append(store.list(KIND)[1])
        assert len(set(revisions)) == len(revisions)

    def test_namespaces_keep_resources_of_one_name_apart(self, store: Datastore) -> None:
        one = store.create(service("one", "web", 80))
        two = store.create(service("two", "web", 81))
        assert store.get("Service", "web", "one") == one
        assert store.get("Service", "web", "two") == two
        assert store.list("Service")[0] == [one, two]
        assert store.list("Service", "two")[0] == [two]
        store.delete("Service", "web", "one")
        assert store.list("Service")[0] == [two]

    def test_an_update_changes_spec_and_labels_and_keeps_identity(self, store: Datastore) -> None:
        before = store.create(network_set("a", "10.0.0.0/8", role="old")).metadata
        updated = store.update(network_set("a", "11.0.0.0/8", role="new"))
        assert nets_of(store.get(KIND, "a")) == ("11.0.0.0/8",)
        assert updated == store.get(KIND, "a")
        assert updated.metadata.labels == {"role": "new"}
        assert (updated.metadata.uid, updated.metadata.creation_timestamp) == (
            before.uid,
            before.creation_timestamp,
        )
        assert updated.metadata.resource_version != before.resource_version

    def test_the_generation_counts_changes_of_the_spec_only(self, store: Datastore) -> None:
        store.create(network_set("a"))
        assert store.update(network_set("a", role="x")).metadata.generation == 1
        assert store.update(network_set("a", "10.0.0.0/8", role="x")).metadata.generation == 2

    def test_writing_what_is_stored_already_changes_nothing(self, store: Datastore) -> None:
        created = store.create(network_set("a", "10.0.0.0/8"))
        assert store.update(created) == created
        assert store.update(network_set("a", "10.0.0.0/8")) == created

    def test_a_stale_version_is_refused_and_a_current_one_is_not(self, store: Datastore) -> None:
        first = store.create(network_set("a"))
        second = store.update(replace(network_set("a", "10.0.0.0/8"), metadata=first.metadata))
        with pytest.raises(ConflictError, match=r"update conflict: GlobalNetworkSet\(a\)"):
            store.update(replace(network_set("a", "11.0.0.0/8"), metadata=first.metadata))
        with pytest.raises(ConflictError):
            store.delete(KIND, "a", resource_version=first.metadata.resource_version)
        assert store.get(KIND, "a") == second
        store.delete(KIND, "a", resource_version=second.metadata.resource_version)
        assert store.list(KIND)[0] == []

    def test_an_update_meant_for_a_deleted_namesake_is_refused(self, store: Datastore) -> None:
        first = store.create(network_set("a"))
        store.delete(KIND, "a")
        second = store.create(network_set("a"))
        assert second.metadata.uid != first.metadata.uid
        stale = replace(first, metadata=replace(first.metadata, resource_version=""))
        with pytest.raises(ConflictError):
            store.update(stale)
        assert store.get(KIND, "a") == second

    def test_a_resource_version_is_never_used_twice(self, store: Datastore) -> None:
        seen = []
        for net in ("10.0.0.0/8", "11.0.0.0/8"):
            seen.append(store.create(network_set("a", net)).metadata.resource_version)
            seen.append(store.create(network_set("b", net)).metadata.resource_version)
            seen.append(store.update(network_set("a", "12.0.0.0/8")).metadata.resource_version)
            store.delete(KIND, "b")
            store.delete(KIND, "a")
        assert len(set(seen)) == len(seen)

    def test_a_status_is_written_apart_from_the_spec(self, store: Datastore) -> None:
        store.create(host_endpoint("h", "n1"))
        with_status = replace(host_endpoint("h", "elsewhere"), status={"policies": 3})
        updated = store.update_status(with_status)
        assert updated == store.get("HostEndpoint", "h")
        assert (updated.spec.node, updated.status) == ("n1", {"policies": 3})
        assert updated.metadata.generation == 1
        changed = store.update(replace(host_endpoint("h", "n2"), status={"policies": 4}))
        assert (changed.spec.node, changed.status) == ("n2", {"policies": 3})
        assert store.update(host_endpoint("h", "n3")).status == {"policies": 3}

    def test_a_stale_status_is_refused_and_the_same_status_changes_nothing(self, store: Datastore) -> None:
        first = store.create(host_endpoint("h", "n1"))
        second = store.update_status(replace(first, status={"policies": 3}))
        assert second.metadata.resource_version != first.metadata.resource_version
        with pytest.raises(ConflictError):
            store.update_status(replace(first, status={"policies": 4}))
        assert store.update_status(second) == second

    def test_deleting_removes_only_that_resource(self, store: Datastore) -> None:
        store.create(network_set("a"))
        kept = store.create(network_set("b"))
        store.delete(KIND, "a")
        assert store.list(KIND)[0] == [kept]


class Watching:
    """The stream of changes."""

    async def test_a_watch_begins_with_what_exists_and_one_sync(self, store: Datastore) -> None:
        created = {store.create(network_set(name)).name for name in ("a", "b")}
        async with contextlib.aclosing(store.watch([KIND])) as events:
            first = [await next_event(events) for _ in range(3)]
        assert [event.type for event in first] == [EventType.ADDED, EventType.ADDED, EventType.SYNCED]
        assert {event.name for event in first[:2]} == created
        assert all(event.resource == store.get(KIND, event.name) for event in first[:2])

    async def test_every_kind_of_change_is_reported_as_it_happens(self, store: Datastore) -> None:
        async with synced(store, KIND) as events:
            created = store.create(network_set("a"))
            assert await next_event(events) == WatchEvent(EventType.ADDED, KIND, "a", resource=created)
            updated = store.update(network_set("a", "10.0.0.0/8"))
            assert await next_event(events) == WatchEvent(EventType.MODIFIED, KIND, "a", resource=updated)
            store.delete(KIND, "a")
            gone = await next_event(events)
            assert (gone.type, gone.name, nets_of(gone.resource)) == (EventType.DELETED, "a", ("10.0.0.0/8",))

    async def test_a_status_change_is_reported(self, store: Datastore) -> None:
        created = store.create(host_endpoint("h", "n1"))
        async with synced(store, "HostEndpoint") as events:
            updated = store.update_status(replace(created, status={"policies": 3}))
            assert await next_event(events) == WatchEvent(
                EventType.MODIFIED, "HostEndpoint", "h", resource=updated
            )

    async def test_a_watch_reports_its_own_kinds_only(self, store: Datastore) -> None:
        async with synced(store, KIND, "Service") as events:
            store.create(host_endpoint("h", "n1"))
            store.create(service("one", "web"))
            event = await next_event(events)
            assert (event.kind, event.name, event.namespace) == ("Service", "web", "one")
            store.create(network_set("a"))
            assert (await next_event(events)).kind == KIND

    async def test_a_resource_that_was_replaced_by_a_namesake_is_reported_as_both(
        self, store: Datastore
    ) -> None:
        first = store.create(network_set("a"))
        async with synced(store, KIND) as events:
            store.delete(KIND, "a")
            second = store.create(network_set("a"))
            changes = [await next_event(events) for _ in range(2)]
        assert [event.type for event in changes] == [EventType.DELETED, EventType.ADDED]
        assert changes[0].resource is not None
        assert changes[0].resource.metadata.uid == first.metadata.uid
        assert changes[1].resource == second

    async def test_several_watchers_see_the_same(self, store: Datastore) -> None:
        async with synced(store, KIND) as one, synced(store, KIND) as two:
            store.create(network_set("a"))
            assert await next_event(one) == await next_event(two)

    async def test_a_slow_reader_ends_up_with_the_last_state(self, store: Datastore) -> None:
        async with synced(store, KIND) as events:
            for number in range(30):
                store.create(network_set(f"set-{number}"))
            for number in range(0, 30, 2):
                store.delete(KIND, f"set-{number}")
            last = store.update(network_set("set-29", "10.0.0.0/8"))
            mirror: dict[str, Resource] = {}
            while mirror.get("set-29") != last or len(mirror) != 15:
                event = await next_event(events)
                if event.type is EventType.DELETED:
                    del mirror[event.name]
                else:
                    assert event.resource is not None
                    mirror[event.name] = event.resource
        assert sorted(mirror.values(), key=lambda resource: resource.name) == store.list(KIND)[0]

    async def test_nothing_is_missed_between_the_list_and_the_watch(self, store: Datastore) -> None:
        created: list[str] = []

        async def write() -> None:
            for number in range(40):
                name = f"set-{number}"
                await asyncio.to_thread(store.create, network_set(name))
                created.append(name)

        writer = asyncio.create_task(write())
        seen: set[str] = set()
        async with contextlib.aclosing(store.watch([KIND])) as events:
            while len(seen) < 40:
                event = await next_event(events)
                if event.type is EventType.ADDED:
                    assert event.name not in seen
                    seen.add(event.name)
        await writer
        assert seen == set(created)

    async def test_an_unknown_kind_cannot_be_watched(self, store: Datastore) -> None:
        with pytest.raises(DatastoreError, match="Nonsense"):
            await next_event(store.watch(["Nonsense"]))


class DatastoreContract(ReadingAndWriting, Watching):
    """Everything."""
