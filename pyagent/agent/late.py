"""A datastore that may not be there yet: opened when it is first used, and anew each time that fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Protocol, runtime_checkable

from pyagent.datastore import Datastore, WatchEvent
from pyagent.datastore.protocol import R


class Watched(Protocol):
    """What the agent needs of a datastore to enforce."""

    def watch(self, kinds: Sequence[str]) -> AsyncGenerator[WatchEvent, None]:
        """See Datastore."""


@runtime_checkable
class Monitored(Protocol):
    """A datastore that knows how well it is connected; a directory has no such notion."""

    @property
    def connected(self) -> bool:
        """Whether what was reported is up to date as far as anybody can know."""

    @property
    def staleness(self) -> float:
        """Seconds since the server was last heard of; infinite: never."""


@runtime_checkable
class Reporting(Protocol):
    """A datastore that takes statuses."""

    def update_status(self, resource: R) -> R:
        """See Datastore."""


@runtime_checkable
class Sparing(Protocol):
    """A datastore whose watches can leave out what other nodes say of themselves."""

    own_node: str


class LateDatastore:
    """Uses what ``open_datastore`` opens; where that fails with DatastoreError, so does the use.

    ``node``: whose agent asks; empty: whoever wants to hear of all nodes' statuses.
    """

    def __init__(self, open_datastore: Callable[[], Datastore], node: str = "") -> None:
        self._open, self._node = open_datastore, node
        self._opened: Datastore | None = None
        self._lock = threading.Lock()

    @property
    def connected(self) -> bool:
        """See Monitored."""
        opened = self._opened
        return opened is not None and (not isinstance(opened, Monitored) or opened.connected)

    @property
    def staleness(self) -> float:
        """See Monitored."""
        opened = self._opened
        return opened.staleness if isinstance(opened, Monitored) else 0.0

    async def watch(self, kinds: Sequence[str]) -> AsyncGenerator[WatchEvent, None]:
        """See Datastore."""
        datastore = await asyncio.to_thread(self._reopen)
        async with aclosing(datastore.watch(kinds)) as events:
            async for event in events:
                yield event

    def update_status(self, resource: R) -> R:
        """See Datastore. Blocks."""
        return (self._opened or self._reopen()).update_status(resource)

    def _reopen(self) -> Datastore:
        with self._lock:
            self._opened = None
            self._opened = self._open()
            if isinstance(self._opened, Sparing):
                self._opened.own_node = self._node
            return self._opened
