"""One kind of a cluster, followed for ever: list it or stream it, watch it, and begin anew when told to.

Whatever goes wrong, the cache keeps the last state. A gap is closed by comparing a whole new list with it.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Iterator

import msgspec

from pyagent.datastore.kubernetes.cache import Cache, Key, key_of
from pyagent.datastore.kubernetes.connection import Connection, Stream
from pyagent.datastore.kubernetes.decoding import Decoded, decode, identity
from pyagent.datastore.kubernetes.errors import (
    ExpiredError,
    NotServedError,
    RefusedError,
    UnreachableError,
    parse_status,
)
from pyagent.datastore.kubernetes.events import Event, bookmark, events
from pyagent.datastore.kubernetes.listing import DISPENSABLE, is_missing, read_all
from pyagent.datastore.kubernetes.pace import Backoff
from pyagent.datastore.kubernetes.places import collection
from pyagent.errors import DatastoreError, ManifestError

log = logging.getLogger(__name__)


class _NoWatchListError(Exception):
    """The server does not stream the initial state: list it."""


class Reflector:
    """Keeps ``cache`` in step with the API server, in a thread of its own. ``own_node``: see decode."""

    def __init__(self, connection: Connection, cache: Cache, own_node: str = "") -> None:
        self._connection = connection
        self._own_node = own_node
        self._cache = cache
        self._kind = cache.kind
        self._backoff = Backoff(connection.pace)
        self._stopped = threading.Event()
        self._stream: Stream | None = None
        #: The version to go on from; empty: begin anew.
        self._version = ""
        self._heard_at = -math.inf
        self.connected = False
        self._thread = threading.Thread(target=self._run, name=f"watch-{self._kind}", daemon=True)

    @property
    def synced(self) -> bool:
        """Whether everything that exists has been seen once."""
        return self._cache.synced

    @property
    def silence(self) -> float:
        """Seconds since the server was heard; infinite if never. A minute is normal where nothing changes."""
        return time.monotonic() - self._heard_at

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End soon; returns at once."""
        self._stopped.set()
        if (stream := self._stream) is not None:
            stream.close()

    def join(self, patience: float) -> None:
        """Wait for the end of what ``stop`` ended."""
        self._thread.join(patience)

    def _run(self) -> None:
        while not self._stopped.is_set():
            pause = 0.0
            try:
                self._go_on()
            except ExpiredError as error:
                log.info("watch expired, reading all anew kind=%s reason=%r", self._kind, str(error))
                self._version = ""
                # Every watcher of a restarted server comes here at the same moment.
                pause = max(self._backoff.pause(), self._turn())
            except (DatastoreError, ManifestError) as error:
                pause = self._pause_after(error)
            except Exception:
                # A defect here must neither end the watch nor pass unseen.
                log.exception("watch failed kind=%s", self._kind)
                self._version = ""
                pause = self._backoff.pause()
            self.connected = False
            self._stopped.wait(pause)

    def _turn(self) -> float:
        """When to read all anew, so that not everybody does at once: the more there is, the later."""
        return random.uniform(0, self._connection.pace.relist * len(self._cache))  # noqa: S311

    def _pause_after(self, error: Exception) -> float:
        pause = self._backoff.pause(error.retry_after if isinstance(error, RefusedError) else 0.0)
        if not self._stopped.is_set():
            log.warning(
                "watch interrupted kind=%s reason=%r retry_in_s=%.1f last_state=kept",
                self._kind,
                str(error),
                pause,
            )
        return pause

    def _go_on(self) -> None:
        """One list if one is needed, and one watch to its end."""
        try:
            if self._version or not self._begin_by_watch_list():
                if not self._version:
                    self._list()
                self._watch(initial=False)
        except NotServedError:
            if not self.synced and self._kind in DISPENSABLE and is_missing(self._connection, self._kind):
                log.info("kind not served by this cluster, taken as empty kind=%s", self._kind)
                self._cache.replace({})
            raise

    def _begin_by_watch_list(self) -> bool:
        """Begin by having the initial state streamed; False if the server does not do that."""
        if self._connection.has_watch_list is False:
            return False
        try:
            self._watch(initial=True)
        except _NoWatchListError as error:
            log.info("the API server has no WatchList, listing instead reason=%r", str(error))
            self._connection.has_watch_list = False
            return False
        return True

    def _list(self) -> None:
        objects, version = read_all(self._connection, self._kind, self._decode)
        self._heard_at = time.monotonic()
        self._cache.replace({key_of(decoded): decoded for decoded in objects})
        self._version = version

    def _watch(self, *, initial: bool) -> None:
        """Follow until the server ends the watch, which it does by itself now and then."""
        began = time.monotonic()
        stream = self._open(initial=initial)
        self._stream = stream
        self._backoff.connected()
        self._heard_at = time.monotonic()
        try:
            if self._stopped.is_set():
                return
            incoming = self._heard(events(stream.chunks()))
            if initial:
                self._take_initial(incoming)
            self.connected = True
            for event in incoming:
                self._take(event)
        finally:
            self._stream = None
            stream.close()
            self._backoff.ended()
        if time.monotonic() - began < 1.0:
            # A server that ends every watch at once must not be asked in a loop.
            raise UnreachableError("the API server ended the watch at once")

    def _open(self, *, initial: bool) -> Stream:
        seconds = random.randint(*self._connection.pace.watch)  # noqa: S311
        query = [("watch", "true"), ("allowWatchBookmarks", "true"), ("timeoutSeconds", str(seconds))]
        if not initial:
            query += [("resourceVersion", self._version)]
            return self._connection.stream(collection(self._kind), self._kind, query)
        query += [
            ("sendInitialEvents", "true"),
            ("resourceVersionMatch", "NotOlderThan"),
            ("resourceVersion", ""),
        ]
        try:
            return self._connection.stream(collection(self._kind), self._kind, query)
        except ManifestError as error:
            raise _NoWatchListError(str(error)) from error
        except RefusedError as error:
            if error.status == 400:
                raise _NoWatchListError(str(error)) from error
            raise

    def _heard(self, incoming: Iterator[Event]) -> Iterator[Event]:
        for event in incoming:
            self._heard_at = time.monotonic()
            yield event

    def _take_initial(self, incoming: Iterator[Event]) -> None:
        """The initial events of a WatchList: all objects, and a bookmark that ends them."""
        found: dict[Key, Decoded] = {}
        for event in incoming:
            if event.type in ("ADDED", "MODIFIED"):
                decoded = self._decode(event.object)
                found[key_of(decoded)] = decoded
            elif event.type == "DELETED":
                namespace, name, _, _ = identity(event.object)
                found.pop((namespace, name), None)
            elif event.type == "ERROR":
                self._raise_initial(event)
            elif event.type == "BOOKMARK":
                version, ends = bookmark(event)
                if not ends:
                    # A server that knows nothing of sendInitialEvents and ignored it.
                    raise _NoWatchListError("a bookmark before the end of the initial events")
                self._connection.has_watch_list = True
                self._version = version
                self._cache.replace(found)
                return
        raise UnreachableError("the API server ended the watch before it had sent everything")

    def _raise_initial(self, event: Event) -> None:
        status = parse_status(bytes(event.object))
        if status.code == 410:
            raise ExpiredError(status.message)
        if self._connection.has_watch_list:
            raise RefusedError(status.code, f"watch of {self._kind}: {status.message}")
        raise _NoWatchListError(status.message)

    def _take(self, event: Event) -> None:
        if event.type == "BOOKMARK":
            self._move_to(bookmark(event)[0])
        elif event.type in ("ADDED", "MODIFIED"):
            decoded = self._decode(event.object)
            self._move_to(decoded.version)
            self._cache.put(decoded)
        elif event.type == "DELETED":
            namespace, name, _, version = identity(event.object)
            self._move_to(version)
            self._cache.drop((namespace, name))
        elif event.type == "ERROR":
            status = parse_status(bytes(event.object))
            if status.code == 410:
                raise ExpiredError(status.message)
            raise RefusedError(status.code, f"watch of {self._kind}: {status.code} {status.message}")

    def _move_to(self, version: str) -> None:
        """Go on from here. A server that counts backwards was restored from a backup: begin anew."""
        if not version:
            raise UnreachableError("the API server sent an object without resourceVersion")
        if version.isdecimal() and self._version.isdecimal() and int(version) < int(self._version):
            raise ExpiredError(f"resourceVersion {version} after {self._version}")
        self._version = version

    def _decode(self, raw: msgspec.Raw) -> Decoded:
        try:
            decoded = decode(raw, self._kind, lean=True, own_node=self._own_node)
        except msgspec.MsgspecError as error:
            raise UnreachableError(f"the API server sent what is no {self._kind}: {error}") from error
        if decoded.problems:
            reasons = "; ".join(str(problem) for problem in decoded.problems)
            log.warning("invalid object kind=%s name=%s problems=%r", self._kind, decoded.name, reasons)
        return decoded
