"""A watch in the background, for tests that look at what its reader has at some moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from pyagent.datastore import Datastore, EventType, WatchEvent
from pyagent.model import Resource

PATIENCE_S = 10.0


class Follower:
    """What a watch has told so far: the resources in force, what is broken, and every event."""

    def __init__(self) -> None:
        self.events: list[WatchEvent] = []
        self.resources: dict[tuple[str, str], Resource] = {}
        self.broken: dict[tuple[str, str], str] = {}
        self.synced = False
        self._changed = asyncio.Condition()

    async def follow(self, store: Datastore, kinds: tuple[str, ...]) -> None:
        async with contextlib.aclosing(store.watch(kinds)) as events:
            async for event in events:
                async with self._changed:
                    self._take(event)
                    self._changed.notify_all()

    async def until(self, holds: Callable[[], bool], patience: float = PATIENCE_S) -> None:
        """Wait until ``holds``, or fail."""
        try:
            async with asyncio.timeout(patience):
                while not holds():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.05), self._changed:
                            await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"never came true; last events {self.events[-5:]}") from None

    def names(self, kind: str = "GlobalNetworkSet") -> set[str]:
        return {name for found, name in self.resources if found == kind}

    def _take(self, event: WatchEvent) -> None:
        self.events.append(event)
        key = (event.kind, event.name)
        if event.type is EventType.SYNCED:
            self.synced = True
            return
        self.broken.pop(key, None)
        if event.type is EventType.ERROR:
            self.broken[key] = "; ".join(str(problem) for problem in event.problems)
        if event.type is EventType.DELETED:
            self.resources.pop(key, None)
        elif event.resource is not None:
            self.resources[key] = event.resource


@contextlib.asynccontextmanager
async def following(store: Datastore, *kinds: str, synced: bool = True) -> AsyncIterator[Follower]:
    """A watch of ``kinds`` that runs meanwhile; it has reported what exists unless ``synced`` is False."""
    follower = Follower()
    task = asyncio.create_task(follower.follow(store, kinds or ("GlobalNetworkSet",)))
    try:
        if synced:
            await follower.until(lambda: follower.synced)
        yield follower
        assert not task.done(), task.result() if task.done() else ""
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
