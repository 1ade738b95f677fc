"""Writing this node's statuses to the datastore: seldom, spread over the nodes, and never in the way."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from pyagent.agent.late import Reporting
from pyagent.agent.mirror import Mirror
from pyagent.datastore.lineage import now
from pyagent.datastore.reports import NoStatusError
from pyagent.errors import AutohepError, ConflictError, DatastoreError, NotFoundError
from pyagent.model import HostEndpoint
from pyagent.model.status import PROTECTED, HostEndpointStatus, Truth, with_times

log = logging.getLogger(__name__)

_FORBIDDEN: Final = 403


@dataclass(frozen=True, slots=True)
class Pace:
    """How soon and how often statuses are written; seconds.

    A change of all nodes at once, as a new policy is, is spread over ``spread`` where there are a thousand
    endpoints, over four times that where there are two thousand, at most over ``spread_most``: every write is
    delivered to every agent, and 80,000 deliveries a second keep an API server's four CPUs busy. Between two
    rounds of writing of one node lies ``rest``, and as much again for every thousand. ``urgent``: the
    same where protection was lost. ``forbidden``: until a refusal is tried again.
    """

    spread: float = 12.0
    spread_most: float = 600.0
    rest: float = 1.0
    urgent: float = 1.0
    first_pause: float = 1.0
    longest_pause: float = 60.0
    forbidden: float = 600.0


class Reporter:
    """Brings the statuses of the endpoints that ``mirror`` calls its own to what :meth:`want` said last."""

    def __init__(self, datastore: Reporting, mirror: Mirror, pace: Pace | None = None) -> None:
        self._datastore, self._mirror = datastore, mirror
        self._pace = pace or Pace()
        self._wanted: Mapping[str, HostEndpointStatus] = {}
        #: What was written, by the version of the endpoint that it was written on.
        self._written: dict[str, tuple[HostEndpoint, HostEndpointStatus]] = {}
        self._planned: float | None = None
        self._not_before = 0.0
        self._wrote_at = -self._pace.rest
        self._pause = self._pace.first_pause
        self._told: set[str] = set()
        #: Whether this datastore has turned out to take no statuses.
        self.refused = False

    def want(self, statuses: Mapping[str, HostEndpointStatus]) -> None:
        """This is how things stand, by host endpoint; conditions without times."""
        self._wanted = statuses
        self._mirror.endpoints_changed.set()

    def stored(self, name: str) -> HostEndpointStatus:
        """The status that an endpoint has now, as far as is known."""
        endpoint = self._mirror.endpoints.get(name)
        on, status = self._written.get(name, (None, HostEndpointStatus()))
        if endpoint is None or on is endpoint:
            return status
        return HostEndpointStatus.read(endpoint.status)

    async def follow(self) -> None:
        """Write for ever, or until it turns out that nobody takes it."""
        wake = self._mirror.endpoints_changed
        while not self.refused:
            wake.clear()
            different = self._different()
            pause = self._until_due(different)
            if pause == 0.0:
                await self._write(different)
                continue
            try:
                async with asyncio.timeout(pause):
                    await wake.wait()
            except TimeoutError:
                continue

    def _different(self) -> dict[str, HostEndpointStatus]:
        """What is to be written: statuses that differ from those stored in more than the generation.

        The image's generation is told along: it changes with every label of every node.
        """
        found = {}
        for name, wanted in self._wanted.items():
            before = self.stored(name)
            status = replace(wanted, conditions=with_times(wanted.conditions, before.conditions, now()))
            if name in self._mirror.endpoints and replace(status, generation=before.generation) != before:
                found[name] = status
        return found

    def _until_due(self, different: Mapping[str, HostEndpointStatus]) -> float | None:
        """Seconds until these are to be written; None: there is nothing to write."""
        if not different:
            self._planned = None
            return None
        pace, at = self._pace, time.monotonic()
        thousands = self._mirror.endpoint_count / 1000
        spread = min(pace.spread * thousands**2, pace.spread_most)
        urgent = any(self._is_urgent(name, status) for name, status in different.items())
        if self._planned is None:
            self._planned = at + random.uniform(0, spread)  # noqa: S311 (not a secret)
        planned = min(self._planned, at) if urgent else self._planned
        rest = pace.urgent if urgent else pace.rest * (1 + thousands)
        return max(0.0, planned - at, self._wrote_at + rest - at, self._not_before - at)

    def _is_urgent(self, name: str, status: HostEndpointStatus) -> bool:
        """Whether it is the first, or says that protection was lost."""
        before, after = self.stored(name).condition(PROTECTED), status.condition(PROTECTED)
        if before is None or after is None:
            return True
        return before.status is Truth.TRUE and after.status is not Truth.TRUE

    async def _write(self, different: Mapping[str, HostEndpointStatus]) -> None:
        self._planned, self._wrote_at = None, time.monotonic()
        for name, status in different.items():
            endpoint = self._mirror.endpoints.get(name)
            if endpoint is None:
                continue
            metadata = replace(endpoint.metadata, resource_version="")
            changed = replace(endpoint, metadata=metadata, status=status.wire())
            try:
                await asyncio.to_thread(self._datastore.update_status, changed)
            except AutohepError as error:
                self._not_before = time.monotonic() + self._after(name, error)
                return
            self._written[name] = endpoint, status
            self._pause = self._pace.first_pause
            self._told.clear()

    def _after(self, name: str, error: AutohepError) -> float:
        """How long to wait after a failure, which is told once."""
        if isinstance(error, NoStatusError):
            self.refused = True
            log.warning("statuses not written: the datastore takes none reason=%r", str(error))
            return 0.0
        status = error.status if isinstance(error, DatastoreError) else 0
        kind = f"{type(error).__name__}/{status}"
        if kind not in self._told and not isinstance(error, (NotFoundError, ConflictError)):
            self._told.add(kind)
            log.warning("status not written, tried again later hostendpoint=%s reason=%r", name, str(error))
        if status == _FORBIDDEN:
            return self._pace.forbidden * random.uniform(1.0, 1.5)  # noqa: S311
        pause, self._pause = self._pause, min(2 * self._pause, self._pace.longest_pause)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311
