"""What a watch knows of one kind, and what its reader has been told: the difference is the queue.

Changes are queued by object and merged while they wait, so that a reader of any slowness costs no more memory
than the objects themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping

from msgspec.structs import replace

from pyagent.datastore.kubernetes.decoding import Decoded
from pyagent.datastore.protocol import EventType, WatchEvent
from pyagent.model import HostEndpoint, Metadata, Node, Resource

Key = tuple[str, str]


def key_of(decoded: Decoded) -> Key:
    """The key of an object among those of its kind."""
    return decoded.namespace, decoded.name


class Cache:
    """All objects of ``kind``. Written by one thread, read by another; ``notify`` tells the reader."""

    def __init__(self, kind: str, notify: Callable[[], None]) -> None:
        self.kind = kind
        self._notify = notify
        self._lock = threading.Lock()
        self._current: dict[Key, Decoded] = {}
        self._reported: dict[Key, Decoded] = {}
        self._changed: dict[Key, None] = {}
        self._synced = False

    @property
    def synced(self) -> bool:
        """Whether everything that exists has been seen once."""
        return self._synced

    def __len__(self) -> int:
        return len(self._current)

    def put(self, decoded: Decoded) -> None:
        """An object is as given."""
        with self._lock:
            self._put(decoded)
        self._notify()

    def drop(self, key: Key) -> None:
        """There is no such object any more."""
        with self._lock:
            if self._current.pop(key, None) is not None:
                self._changed[key] = None
        self._notify()

    def replace(self, objects: Mapping[Key, Decoded]) -> None:
        """These are all objects there are."""
        with self._lock:
            for key in self._current.keys() - objects.keys():
                del self._current[key]
                self._changed[key] = None
            for decoded in objects.values():
                self._put(decoded)
            self._synced = True
        self._notify()

    def take(self) -> list[WatchEvent]:
        """What brings the reader up to date."""
        with self._lock:
            changed, self._changed = self._changed, {}
            return [event for key in sorted(changed) for event in self._report(key)]

    def _put(self, decoded: Decoded) -> None:
        key = key_of(decoded)
        before = self._current.get(key)
        if before is not None and before.version == decoded.version and before.uid == decoded.uid:
            return
        if decoded.resource is None and before is not None and before.uid == decoded.uid:
            # Invalid now: what it was stays in force until it is mended or deleted.
            decoded = replace(decoded, resource=before.resource)
        self._current[key] = decoded
        if before is None or not _means_the_same(before, decoded):
            self._changed[key] = None

    def _report(self, key: Key) -> Iterator[WatchEvent]:
        now, told = self._current.get(key), self._reported.get(key)
        if now is None:
            if self._reported.pop(key, None) is not None:
                yield self._event(EventType.DELETED, told)
            return
        self._reported[key] = now
        if told is not None and told.uid != now.uid:
            yield self._event(EventType.DELETED, told)
            told = None
        if now.problems:
            if told is None and now.resource is not None:
                yield self._event(EventType.ADDED, now)
            yield self._event(EventType.ERROR, now)
        elif told is None or told.resource is None:
            yield self._event(EventType.ADDED, now)
        elif told.version != now.version:
            yield self._event(EventType.MODIFIED, now)

    def _event(self, type_: EventType, decoded: Decoded | None) -> WatchEvent:
        assert decoded is not None
        if type_ is EventType.ERROR:
            problems, uid = decoded.problems, decoded.uid
        else:
            problems, uid = (), ""
        return WatchEvent(type_, self.kind, decoded.name, decoded.namespace, decoded.resource, problems, uid)


def _means_the_same(before: Decoded, after: Decoded) -> bool:
    """Whether a Node changed only in what nobody here looks at, as its heartbeat does.

    Or a host endpoint, in a status that is not kept.
    """
    one, other = before.resource, after.resource
    if isinstance(one, HostEndpoint) and isinstance(other, HostEndpoint):
        return (
            one.status is None
            and other.status is None
            and not (before.problems or after.problems)
            and replace(one, metadata=_undated(one)) == replace(other, metadata=_undated(other))
        )
    return (
        isinstance(one, Node)
        and isinstance(other, Node)
        and before.uid == after.uid
        and one.metadata.labels == other.metadata.labels
        and one.metadata.annotations == other.metadata.annotations
        and one.status.addresses == other.status.addresses
    )


def _undated(resource: Resource) -> Metadata:
    return replace(resource.metadata, resource_version="")
