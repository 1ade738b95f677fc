"""The controller as a service: a mirror of the datastore, and a pass over it whenever something counts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping

from pyagent.controller.leader import Election, Terms
from pyagent.controller.reconcile import KINDS, Reconciler, Report, State
from pyagent.controller.settings import Environment
from pyagent.datastore import Datastore, EventType, Leases, WatchEvent
from pyagent.errors import DatastoreError
from pyagent.model import Node, Resource

log = logging.getLogger(__name__)

RESYNC_S = 300.0
#: Changes within this time are answered by one pass; in seconds.
BATCH_S = 0.05
#: The pause before another try, doubled at each failure up to the resync period; in seconds.
RETRY_S = 1.0


async def run(
    datastore: Datastore,
    resync: float = RESYNC_S,
    environment: Mapping[str, str] | None = None,
    terms: Terms | None = None,
) -> None:
    """Keep the host endpoints as they should be until cancelled.

    ``resync``: seconds between passes that read everything anew. Raises SettingsError at once if an
    environment variable (the process's unless given) is bad. A datastore that is away is waited for. Where
    the datastore has leases, several controllers agree on one that works, on ``terms``.
    """
    reconciler = Reconciler(datastore, Environment.read(os.environ if environment is None else environment))
    leases: Leases | None = getattr(datastore, "leases", None)
    if leases is None:
        await _keep(datastore, reconciler, resync)
    else:
        await Election(leases, terms=terms).lead(lambda: _keep(datastore, reconciler, resync))


async def _keep(datastore: Datastore, reconciler: Reconciler, resync: float) -> None:
    pause = RETRY_S
    while True:
        follower = _Follower(datastore, reconciler, resync)
        try:
            await follower.follow()
        except DatastoreError as error:
            pause = RETRY_S if follower.synced.is_set() else min(pause * 2, resync)
            log.warning("datastore not available reason=%r retry_in_s=%g", str(error), pause)
            await asyncio.sleep(pause)


class _Follower:
    """One watch and what follows from it."""

    def __init__(self, datastore: Datastore, reconciler: Reconciler, resync: float) -> None:
        self._datastore = datastore
        self._reconciler = reconciler
        self._resync = resync
        self._mirror: dict[tuple[str, str], Resource] = {}
        self._changed = asyncio.Event()
        self.synced = asyncio.Event()

    async def follow(self) -> None:
        """Watch and reconcile until the watch fails; then raise its error."""
        tasks = {asyncio.create_task(self._watch()), asyncio.create_task(self._reconcile())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        async with contextlib.aclosing(self._datastore.watch(KINDS)) as events:
            async for event in events:
                self._take(event)
        raise DatastoreError("the watch ended")

    def _take(self, event: WatchEvent) -> None:
        key = (event.kind, event.name)
        match event.type:
            case EventType.SYNCED:
                self.synced.set()
            case EventType.ADDED | EventType.MODIFIED if event.resource is not None:
                before = self._mirror.get(key)
                self._mirror[key] = event.resource
                if _means_the_same(before, event.resource):
                    return
            case EventType.DELETED:
                self._mirror.pop(key, None)
            case _:
                # An unreadable resource stays as it is in the mirror; whoever found it unreadable has
                # said so.
                return
        self._changed.set()

    async def _reconcile(self) -> None:
        await self.synced.wait()
        # The first pass and every resync read anew, so that not even a faulty watch can mislead for long.
        report = await self._pass(anew=True)
        loop = asyncio.get_running_loop()
        next_resync = loop.time() + self._resync
        retry = RETRY_S
        while True:
            retry = min(retry * 2, self._resync) if report.failed else RETRY_S
            due = min(next_resync, loop.time() + retry) if report.failed else next_resync
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._changed.wait()
                    await asyncio.sleep(BATCH_S)
            anew = loop.time() >= next_resync
            if anew:
                next_resync = loop.time() + self._resync
                self._reconciler.forget_remarks()
            report = await self._pass(anew=anew)

    async def _pass(self, *, anew: bool) -> Report:
        self._changed.clear()
        state = await asyncio.to_thread(State.read, self._datastore) if anew else State(self._mirror)
        return await asyncio.to_thread(self._reconciler.reconcile, state)


def _means_the_same(before: Resource | None, after: Resource) -> bool:
    """Whether a node changed only in what makes no difference here, as its heartbeat does."""
    return (
        isinstance(before, Node)
        and isinstance(after, Node)
        and before.metadata.labels == after.metadata.labels
        and before.metadata.annotations == after.metadata.annotations
        and before.status.addresses == after.status.addresses
    )
