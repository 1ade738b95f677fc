"""The datastore in a cluster's API server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import msgspec

from pyagent.datastore.kubernetes.cache import Cache
from pyagent.datastore.kubernetes.connection import MERGE_PATCH, Connection
from pyagent.datastore.kubernetes.decoding import Decoded, decode
from pyagent.datastore.kubernetes.definitions import Definitions
from pyagent.datastore.kubernetes.errors import NotServedError, UnreachableError
from pyagent.datastore.kubernetes.leases import KubernetesLeases
from pyagent.datastore.kubernetes.listing import DISPENSABLE, is_missing, read_all
from pyagent.datastore.kubernetes.places import collection, item
from pyagent.datastore.kubernetes.reflector import Reflector
from pyagent.datastore.kubernetes.reports import KubernetesReports
from pyagent.datastore.kubernetes.writing import changes, checked, is_ours, new_object, status_body, successor
from pyagent.datastore.layout import kind_directory
from pyagent.datastore.lineage import has_status
from pyagent.datastore.protocol import EventType, R, WatchEvent
from pyagent.errors import ConflictError, DatastoreError
from pyagent.model import Resource

log = logging.getLogger(__name__)

#: How often an unconditional update is tried again because somebody else was quicker.
_ATTEMPTS = 5
_WRITER = (("fieldManager", "autohep"),)
#: How long the end of a watch waits for its threads; in seconds.
_FAREWELL_S = 1.0
#: Resources and the revision of their list.
_Listed = tuple[list[Resource], str]


class KubernetesDatastore:
    """Datastore in the API server behind ``connection``; our kinds are custom resources there."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._reflectors: set[Reflector] = set()
        #: Watches keep the statuses of this node's host endpoints only; empty: of all.
        self.own_node = ""
        #: Where controllers agree on who of them leads.
        self.leases = KubernetesLeases(connection)
        #: Where statuses are written, and events.
        self.reports = KubernetesReports(connection)
        #: The kinds' definitions.
        self.definitions = Definitions(connection)

    @property
    def staleness(self) -> float:
        """Seconds since the most silent of the running watches heard of the server; 0 if none is running.

        Infinite before the first answer. Up to a minute is normal where nothing changes: so often bookmarks
        come.
        """
        return max((reflector.silence for reflector in list(self._reflectors)), default=0.0)

    @property
    def connected(self) -> bool:
        """Whether every running watch is up to date as far as anybody can know."""
        return all(reflector.connected for reflector in list(self._reflectors))

    def list(self, kind: str, namespace: str | None = None) -> tuple[list[Resource], str]:
        """See Datastore. Objects that are not valid are left out, with a warning.

        Of a kind that a cluster can do without and does not serve there are none, and no revision.
        """
        return self._list(kind, namespace or "")

    def glance(self, kind: str) -> _Listed:
        """As ``list``; of Nodes only what a watch tells, for thousands of whole ones take 300 MB."""
        return self._list(kind, "", lean=True)

    def _list(self, kind: str, namespace: str, *, lean: bool = False) -> _Listed:
        kind_directory(kind)
        try:
            objects, revision = read_all(
                self._connection, kind, lambda raw: _read(raw, kind, lean=lean), namespace
            )
        except NotServedError:
            if kind in DISPENSABLE and is_missing(self._connection, kind):
                return [], ""
            raise
        for broken in (each for each in objects if each.resource is None):
            reasons = "; ".join(map(str, broken.problems))
            log.warning("invalid object left out kind=%s name=%s problems=%r", kind, broken.name, reasons)
        objects.sort(key=lambda each: (each.namespace, each.name))
        return [each.resource for each in objects if each.resource is not None], revision

    def get(self, kind: str, name: str, namespace: str = "") -> Resource:
        """See Datastore. DatastoreError if the object is not valid."""
        answer = self._connection.request("GET", item(kind, name, namespace), kind, name)
        return _valid(_read(answer.body, kind))

    def create(self, resource: R) -> R:
        """See Datastore."""
        resource = checked(resource)
        path = collection(resource.kind, resource.metadata.namespace)
        created = self._write("POST", path, resource, new_object(resource))
        if has_status(resource) and getattr(created, "status", None) != getattr(resource, "status", None):
            # Where the status is a resource of its own, the server drops it here.
            metadata = msgspec.structs.replace(resource.metadata, resource_version="", uid="")
            return self.update_status(msgspec.structs.replace(resource, metadata=metadata))
        return created

    def update(self, resource: R) -> R:
        """See Datastore."""
        resource = checked(resource)
        path = _path(resource)

        def write(current: dict[str, Any]) -> R:
            if is_ours(resource):
                return self._write("PUT", path, resource, successor(resource, current))
            return self._write("PATCH", path, resource, changes(resource, current))

        return self._replace(resource, write)

    def update_status(self, resource: R) -> R:
        """See Datastore. NoStatusError where objects of this kind have none to write."""
        path = _path(resource) + "/status"

        def write(current: dict[str, Any]) -> R:
            with self.reports.told_if_there_is_none(resource.kind, resource.name):
                return self._write("PUT", path, resource, status_body(resource, current))

        return self._replace(resource, write)

    def delete(self, kind: str, name: str, namespace: str = "", resource_version: str = "") -> None:
        """See Datastore."""
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if resource_version:
            body["preconditions"] = {"resourceVersion": resource_version}
        self._connection.request("DELETE", item(kind, name, namespace), kind, name, body=body)

    async def watch(self, kinds: Sequence[str]) -> AsyncGenerator[WatchEvent, None]:
        """See Datastore. It waits for a server that is away, and never ends by itself.

        Nodes come with their labels, annotations and addresses only, and not when nothing of that changed.
        """
        for kind in kinds:
            kind_directory(kind)
        changed = asyncio.Event()
        notify = _notifier(asyncio.get_running_loop(), changed)
        caches = [Cache(kind, notify) for kind in kinds]
        reflectors = [Reflector(self._connection, cache, self.own_node) for cache in caches]
        self._reflectors.update(reflectors)
        try:
            for reflector in reflectors:
                reflector.start()
            while not all(cache.synced for cache in caches):
                await changed.wait()
                changed.clear()
            for event in _events(caches):
                yield event
            yield WatchEvent(EventType.SYNCED)
            while True:
                for event in _events(caches):
                    yield event
                await changed.wait()
                changed.clear()
        finally:
            self._reflectors.difference_update(reflectors)
            for reflector in reflectors:
                reflector.stop()
            await asyncio.shield(asyncio.to_thread(_farewell, reflectors))

    def close(self) -> None:
        """Drop idle connections."""
        self._connection.close()

    def _replace(self, resource: R, write: Callable[[dict[str, Any]], R]) -> R:
        """Read, check what the writer expects to be there, write; again if somebody else was quicker."""
        expected = resource.metadata
        for attempt in range(_ATTEMPTS):
            current = self._current(resource)
            metadata = current["metadata"]
            if expected.uid not in ("", metadata["uid"]):
                raise ConflictError(resource.kind, resource.name)
            if expected.resource_version not in ("", metadata["resourceVersion"]):
                raise ConflictError(resource.kind, resource.name)
            try:
                return write(current)
            except ConflictError:
                if expected.resource_version or attempt == _ATTEMPTS - 1:
                    raise
        raise ConflictError(resource.kind, resource.name)

    def _current(self, resource: Resource) -> dict[str, Any]:
        answer = self._connection.request("GET", _path(resource), resource.kind, resource.name)
        try:
            current = msgspec.json.decode(answer.body, type=dict[str, Any])
            if not {"uid", "resourceVersion"} <= current["metadata"].keys():
                raise KeyError("metadata")
        except (msgspec.MsgspecError, KeyError, AttributeError) as error:
            raise UnreachableError(f"the API server sent what is no {resource.kind}: {error}") from error
        return current

    def _write(self, method: str, path: str, resource: R, body: dict[str, Any]) -> R:
        answer = self._connection.request(
            method,
            path,
            resource.kind,
            resource.name,
            query=_WRITER,
            body=body,
            content_type=MERGE_PATCH if method == "PATCH" else "application/json",
        )
        written = _valid(_read(answer.body, resource.kind))
        assert isinstance(written, type(resource))
        return written


def _path(resource: Resource) -> str:
    return item(resource.kind, resource.name, resource.metadata.namespace)


def _read(raw: bytes | msgspec.Raw, kind: str, *, lean: bool = False) -> Decoded:
    try:
        return decode(raw, kind, lean=lean)
    except msgspec.MsgspecError as error:
        raise UnreachableError(f"the API server sent what is no {kind}: {error}") from error


def _valid(decoded: Decoded) -> Resource:
    if decoded.resource is None:
        raise DatastoreError("\n".join(str(problem) for problem in decoded.problems))
    return decoded.resource


def _events(caches: Sequence[Cache]) -> list[WatchEvent]:
    return [event for cache in caches for event in cache.take()]


def _farewell(reflectors: Sequence[Reflector]) -> None:
    deadline = time.monotonic() + _FAREWELL_S
    for reflector in reflectors:
        reflector.join(max(0.0, deadline - time.monotonic()))


def _notifier(loop: asyncio.AbstractEventLoop, changed: asyncio.Event) -> Callable[[], None]:
    def notify() -> None:
        # The loop may be closed while the threads are still ending.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(changed.set)

    return notify
