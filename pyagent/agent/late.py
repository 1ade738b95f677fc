"""A datastore that may not be there yet: opened when it is first watched, and anew each time that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Protocol

from pyagent.datastore import Datastore, WatchEvent


class Watched(Protocol):
    """What the agent needs of a datastore."""

    def watch(self, kinds: Sequence[str]) -> AsyncGenerator[WatchEvent, None]:
        """See Datastore."""


class LateDatastore:
    """Watches what ``open_datastore`` opens; where that fails with DatastoreError, so does the watch."""

    def __init__(self, open_datastore: Callable[[], Datastore]) -> None:
        self._open = open_datastore

    async def watch(self, kinds: Sequence[str]) -> AsyncGenerator[WatchEvent, None]:
        """See Datastore."""
        datastore = await asyncio.to_thread(self._open)
        async with aclosing(datastore.watch(kinds)) as events:
            async for event in events:
                yield event
