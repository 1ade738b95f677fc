"""A Datastore in memory, for tests that need many stores or a fault on demand; it passes the contract."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence

from pyagent import manifest
from pyagent.datastore import EventType, WatchEvent
from pyagent.datastore.layout import is_name
from pyagent.datastore.lineage import has_status, succeed, with_revision, with_status_of
from pyagent.datastore.protocol import R
from pyagent.errors import (
    AlreadyExistsError,
    ConflictError,
    DatastoreError,
    ManifestError,
    NotFoundError,
    Problem,
)
from pyagent.model import CALICO_V3, KINDS, Resource

Key = tuple[str, str, str]


class MemoryDatastore:
    """All resources in a dict, every change in a log that watches follow."""

    def __init__(self) -> None:
        self._resources: dict[Key, Resource] = {}
        self._log: list[WatchEvent] = []
        self._revision = 0
        self._lock = threading.Lock()

    def list(self, kind: str, namespace: str | None = None) -> tuple[list[Resource], str]:
        _check_kind(kind)
        with self._lock:
            found = [self._resources[key] for key in sorted(self._resources) if key[0] == kind]
            revision = str(self._revision)
        return [each for each in found if namespace in (None, each.metadata.namespace)], revision

    def get(self, kind: str, name: str, namespace: str = "") -> Resource:
        _check_kind(kind)
        return self._stored((kind, namespace, name))

    def create(self, resource: R) -> R:
        resource = _valid(resource)
        with self._lock:
            if _key(resource) in self._resources:
                raise AlreadyExistsError(resource.kind, resource.name)
            return self._put(EventType.ADDED, succeed(resource, None))

    def update(self, resource: R) -> R:
        resource = _valid(resource)
        with self._lock:
            before = self._current(resource)
            if resource.API_VERSION == CALICO_V3 or not has_status(resource):
                resource = with_status_of(resource, before)
            after = succeed(resource, before)
            return after if after == before else self._put(EventType.MODIFIED, after)

    def update_status(self, resource: R) -> R:
        with self._lock:
            before = self._current(resource)
            assert isinstance(before, type(resource))
            after = with_status_of(before, resource)
            return before if after == before else self._put(EventType.MODIFIED, after)

    def delete(self, kind: str, name: str, namespace: str = "", resource_version: str = "") -> None:
        with self._lock:
            stored = self._stored((kind, namespace, name))
            if resource_version not in ("", stored.metadata.resource_version):
                raise ConflictError(kind, name)
            del self._resources[_key(stored)]
            self._revision += 1
            self._log.append(WatchEvent(EventType.DELETED, kind, name, namespace, stored))

    async def watch(self, kinds: Sequence[str]) -> AsyncGenerator[WatchEvent, None]:
        for kind in kinds:
            _check_kind(kind)
        with self._lock:
            existing = [each for each in self._resources.values() if each.kind in kinds]
            position = len(self._log)
        for each in existing:
            yield WatchEvent(EventType.ADDED, each.kind, each.name, each.metadata.namespace, each)
        yield WatchEvent(EventType.SYNCED)
        while True:
            while position < len(self._log):
                event = self._log[position]
                position += 1
                if event.kind in kinds:
                    yield event
            await asyncio.sleep(0.005)

    def _stored(self, key: Key) -> Resource:
        try:
            return self._resources[key]
        except KeyError:
            raise NotFoundError(key[0], key[2]) from None

    def _current(self, resource: Resource) -> Resource:
        stored, wanted = self._stored(_key(resource)), resource.metadata
        has = stored.metadata
        if wanted.resource_version not in ("", has.resource_version) or wanted.uid not in ("", has.uid):
            raise ConflictError(resource.kind, resource.name)
        return stored

    def _put(self, type_: EventType, resource: R) -> R:
        self._revision += 1
        resource = with_revision(resource, self._revision)
        self._resources[_key(resource)] = resource
        event = WatchEvent(type_, resource.kind, resource.name, resource.metadata.namespace, resource)
        self._log.append(event)
        return resource


def _key(resource: Resource) -> Key:
    return resource.kind, resource.metadata.namespace, resource.name


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise DatastoreError(f"resource type '{kind}' is not supported")


def _valid(resource: R) -> R:
    filled = manifest.default(resource)
    assert isinstance(filled, type(resource))
    problems = manifest.validate(filled)
    if not problems and not is_name(resource.name):
        problems = [Problem("metadata.name", "not a name", resource.name)]
    if problems:
        raise ManifestError(problems)
    return filled
