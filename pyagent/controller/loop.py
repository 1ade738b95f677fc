"""The controller as a service: a mirror of the datastore, and a pass over it whenever something counts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping

from pyagent.controller.board import KINDS_REPORTED
from pyagent.controller.decision import Action
from pyagent.controller.happenings import Happening
from pyagent.controller.leader import Election, Terms
from pyagent.controller.meters import FAILED, WRITTEN, Meters
from pyagent.controller.reconcile import CONFIGURATION, KINDS, Reconciler, Report, State
from pyagent.controller.reporting import Reporter
from pyagent.controller.services import keep_services
from pyagent.controller.settings import Environment
from pyagent.datastore import Datastore, EventType, Leases, Reports, WatchEvent
from pyagent.errors import DatastoreError
from pyagent.model import HostEndpoint, KubeControllersConfiguration, Node, Resource

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
    meters: Meters | None = None,
) -> None:
    """Keep the host endpoints as they should be until cancelled.

    ``resync``: seconds between passes that read everything anew. Raises SettingsError at once if an
    environment variable (the process's unless given) is bad. A datastore that is away is waited for. Where
    the datastore has leases, several controllers agree on one that works, on ``terms``. Where it takes
    reports, it gets the statuses of policies and events. ``meters`` count what is done.
    """
    meters = meters or Meters()
    reconciler = Reconciler(datastore, Environment.read(os.environ if environment is None else environment))
    leases: Leases | None = getattr(datastore, "leases", None)
    if leases is None:
        await _keep(datastore, reconciler, resync, meters)
    else:
        await Election(leases, terms=terms).lead(lambda: _keep_all(datastore, reconciler, resync, meters))


async def _keep_all(datastore: Datastore, reconciler: Reconciler, resync: float, meters: Meters) -> None:
    """In a cluster, agents get Services from the controller; a directory's agents read them themselves."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_keep(datastore, reconciler, resync, meters))
        tasks.create_task(keep_services(datastore))


async def _keep(datastore: Datastore, reconciler: Reconciler, resync: float, meters: Meters) -> None:
    pause = RETRY_S
    meters.leading = True
    try:
        while True:
            follower = _Follower(datastore, reconciler, resync, meters)
            try:
                await follower.follow()
            except DatastoreError as error:
                pause = RETRY_S if follower.synced.is_set() else min(pause * 2, resync)
                log.warning("datastore not available reason=%r retry_in_s=%g", str(error), pause)
                await asyncio.sleep(pause)
    finally:
        meters.leading = False


class _Follower:
    """One watch and what follows from it."""

    def __init__(self, datastore: Datastore, reconciler: Reconciler, resync: float, meters: Meters) -> None:
        self._datastore = datastore
        self._meters = meters
        reports: Reports | None = getattr(datastore, "reports", None)
        self._reporter = Reporter(reports, meters) if reports is not None else None
        self._reconciler = reconciler
        self._resync = resync
        self._mirror: dict[tuple[str, str], Resource] = {}
        self._changed = asyncio.Event()
        #: What it is about.
        self._news: set[tuple[str, str]] = set()
        self.synced = asyncio.Event()

    async def follow(self) -> None:
        """Watch, reconcile and report until the watch fails; then raise its error."""
        tasks = {asyncio.create_task(self._watch()), asyncio.create_task(self._reconcile())}
        if self._reporter is not None:
            tasks.add(asyncio.create_task(self._reporter.run()))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        kinds = KINDS if self._reporter is None else sorted({*KINDS, *KINDS_REPORTED})
        async with contextlib.aclosing(self._datastore.watch(kinds)) as events:
            async for event in events:
                self._take(event)
                if self._reporter is not None:
                    self._reporter.take(event)
        raise DatastoreError("the watch ended")

    def _take(self, event: WatchEvent) -> None:
        key = (event.kind, event.name)
        if event.kind and event.kind not in KINDS:
            return
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
        self._news.add(key)
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
        self._news.clear()
        began = time.monotonic()
        before = self._mirror.copy()
        state = await asyncio.to_thread(State.read, self._datastore) if anew else State(before)
        report = await asyncio.to_thread(self._reconciler.reconcile, state)
        self._meters.reconciled.observe(time.monotonic() - began)
        self._remember(report, before)
        self._note(report)
        return report

    def _remember(self, report: Report, before: Mapping[tuple[str, str], Resource]) -> None:
        """What was written is no news when the watch tells of it, be it later or already."""
        for action, endpoint in report.written:
            key = (endpoint.kind, endpoint.name)
            known = self._mirror.get(key)
            if action is Action.DELETE:
                is_told = known is None
            else:
                is_told = _means_the_same(known, endpoint)
                if known is before.get(key):
                    self._mirror[key] = endpoint
            if is_told:
                self._news.discard(key)
        if not self._news:
            self._changed.clear()

    def _note(self, report: Report) -> None:
        self._meters.count_write(HostEndpoint.KIND, WRITTEN, len(report.written))
        self._meters.count_write(
            f"{KubeControllersConfiguration.KIND}/status", WRITTEN, report.status_written
        )
        for name, _reason in report.failed:
            kind = KubeControllersConfiguration.KIND if name == CONFIGURATION else HostEndpoint.KIND
            self._meters.count_write(kind, FAILED)
        if self._reporter is not None:
            self._reporter.note(*_happenings(report))


def _happenings(report: Report) -> Iterator[Happening]:
    """The host endpoints made and removed. Updates are not worth an event: labels change all day."""
    reasons = {Action.CREATE: "HostEndpointCreated", Action.DELETE: "HostEndpointDeleted"}
    for action, endpoint in report.written:
        if action in reasons:
            message = f"automatic host endpoint of node {endpoint.spec.node}"
            yield Happening(endpoint.kind, endpoint.name, endpoint.metadata.uid, reasons[action], message)


def _means_the_same(before: Resource | None, after: Resource) -> bool:
    """Whether a node or a host endpoint changed only in what makes no difference here.

    So does a node's heartbeat, and what an agent says of its endpoint.
    """
    if isinstance(before, HostEndpoint) and isinstance(after, HostEndpoint):
        one, other = before.metadata, after.metadata
        return before.spec == after.spec and (one.labels, one.annotations, one.uid) == (
            other.labels,
            other.annotations,
            other.uid,
        )
    return (
        isinstance(before, Node)
        and isinstance(after, Node)
        and before.metadata.labels == after.metadata.labels
        and before.metadata.annotations == after.metadata.annotations
        and before.status.addresses == after.status.addresses
    )
