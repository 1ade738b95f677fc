"""What the datastore holds, as far as an agent needs it: kept by one watch, handed out as a World."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import aclosing
from hashlib import blake2b
from typing import Final

from pyagent.agent.late import Watched
from pyagent.calc import World
from pyagent.datastore import EventType, WatchEvent
from pyagent.errors import DatastoreError
from pyagent.model import Resource

log = logging.getLogger(__name__)

#: The kinds that policy is made of. Nodes are the controller's business: heartbeats never reach an agent.
KINDS: Final = (
    "HostEndpoint",
    "GlobalNetworkPolicy",
    "StagedGlobalNetworkPolicy",
    "GlobalNetworkSet",
    "Tier",
    "Profile",
    "FelixConfiguration",
    "Service",
    "EndpointSlice",
)
_RETRY_FIRST_S: Final = 0.2
_RETRY_MOST_S: Final = 30.0


def digest(resources: Iterable[Resource]) -> str:
    """Name a set of resources by their versions: equal digests mean that the same state was seen."""
    versions = sorted(
        f"{each.kind}/{each.metadata.namespace}/{each.name}={each.metadata.resource_version}"
        for each in resources
    )
    return blake2b("\n".join(versions).encode(), digest_size=16).hexdigest()


class Mirror:
    """Follows the datastore. ``changed`` is set whenever :attr:`world` is another one than before.

    While the datastore is away the last state stays, and ``connected`` is False.
    """

    def __init__(self, datastore: Watched) -> None:
        self._datastore = datastore
        self._resources: dict[tuple[str, str, str], Resource] = {}
        self._seen: tuple[World, str] | None = None
        self.changed = asyncio.Event()
        self.synced = False
        self.connected = False
        #: ``kind/name`` -> why its newest version is not the one in force.
        self.broken: dict[str, str] = {}

    @property
    def world(self) -> World:
        """All resources as they are now; the same object until something changes."""
        return self._snapshot()[0]

    def observed(self) -> str:
        """The digest of what :attr:`world` is made of."""
        return self._snapshot()[1]

    def _snapshot(self) -> tuple[World, str]:
        if self._seen is None:
            resources = self._resources.values()
            self._seen = World.from_resources(resources), digest(resources)
        return self._seen

    async def follow(self) -> None:
        """Watch for ever; a watch that fails begins anew, later and later."""
        pause = _RETRY_FIRST_S
        while True:
            try:
                await self._watch()
            except DatastoreError as error:
                log.warning("datastore away reason=%r retry_in_s=%g last_state=kept", str(error), pause)
            if self.connected:
                pause = _RETRY_FIRST_S
            self.connected = False
            await asyncio.sleep(pause)
            pause = min(2 * pause, _RETRY_MOST_S)

    async def _watch(self) -> None:
        fresh: dict[tuple[str, str, str], Resource] = {}
        syncing = True
        async with aclosing(self._datastore.watch(KINDS)) as events:
            async for event in events:
                if event.type is EventType.SYNCED:
                    # What was deleted while nobody watched is simply not among the fresh ones.
                    self._resources, syncing = fresh, False
                    self._seen = None
                    self.synced = self.connected = True
                    self.changed.set()
                    continue
                self._note(event)
                _take(event, fresh if syncing else self._resources)
                if not syncing:
                    self._seen = None
                    self.changed.set()

    def _note(self, event: WatchEvent) -> None:
        place = f"{event.kind}/{event.name}"
        if event.type is EventType.ERROR:
            self.broken[place] = "; ".join(str(problem) for problem in event.problems)
            log.error("resource broken resource=%s last_good=kept reason=%r", place, self.broken[place])
        elif self.broken.pop(place, None) is not None:
            log.info("resource mended resource=%s", place)


def _take(event: WatchEvent, resources: dict[tuple[str, str, str], Resource]) -> None:
    key = (event.kind, event.namespace, event.name)
    if event.type is EventType.DELETED:
        resources.pop(key, None)
    elif event.resource is not None:
        resources[key] = event.resource
