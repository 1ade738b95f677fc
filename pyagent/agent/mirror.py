"""What the datastore holds, as far as an agent needs it: kept by one watch, handed out as a World."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from pyagent.agent.lastgood import LastGood
from pyagent.agent.late import Monitored, Watched
from pyagent.agent.meaning import digest, digest_of_marks, mark, meaning
from pyagent.calc import World
from pyagent.calc.observed import OBSERVED_KINDS, policy_digest
from pyagent.calc.world import TRAIL
from pyagent.datastore import EventType, WatchEvent
from pyagent.errors import DatastoreError
from pyagent.model import HostEndpoint, Resource

__all__ = ["CLUSTER_KINDS", "KINDS", "Mirror", "Seen", "digest"]

log = logging.getLogger(__name__)

#: The kinds that policy is made of. Nodes are the controller's business: heartbeats never reach an agent.
POLICY_KINDS: Final = (
    "HostEndpoint",
    "GlobalNetworkPolicy",
    "StagedGlobalNetworkPolicy",
    "GlobalNetworkSet",
    "Tier",
    "Profile",
    "FelixConfiguration",
)
#: With what a directory holds of Services: themselves.
KINDS: Final = (*POLICY_KINDS, "Service", "EndpointSlice")
#: With what a cluster's controller says of them: one object in place of all Services and their endpoints.
CLUSTER_KINDS: Final = (*POLICY_KINDS, "ClusterServices")
_RETRY_FIRST_S: Final = 0.2
_RETRY_MOST_S: Final = 30.0


Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the datastore held at one moment. ``digest`` names all of it, ``policies`` the policies in it."""

    world: World
    digest: str
    policies: str


class Mirror:
    """Follows the datastore. ``changed`` is set whenever :attr:`world` is another one than before.

    While the datastore is away the last state stays, and ``connected`` is False. Statuses are no part of that
    state; those of the host endpoints of ``node`` are in :attr:`endpoints`, and ``endpoints_changed`` is set
    when one of these changes in any way. ``last_good``: valid forms of resources from before this start.
    ``kinds``: what is followed.
    """

    def __init__(
        self,
        datastore: Watched,
        node: str = "",
        last_good: LastGood | None = None,
        kinds: Sequence[str] = KINDS,
    ) -> None:
        self._datastore = datastore
        self._kinds = kinds
        self._node = node
        self._last_good = last_good
        self._resources: dict[Key, Resource] = {}
        self._marks: dict[Key, int] = {}
        self._seen: Seen | None = None
        self._world: World | None = None
        self._steps: dict[Key, Resource | None] = {}
        self._policies: str | None = None
        self._following = False
        self._lost_at: float | None = time.monotonic()
        self.changed = asyncio.Event()
        self.endpoints: dict[str, HostEndpoint] = {}
        self.endpoints_changed = asyncio.Event()
        self.synced = False
        #: ``kind/name`` -> why its newest version is not the one in force.
        self.broken: dict[str, str] = {}

    @property
    def world(self) -> World:
        """All resources as they are now; the same object until something changes."""
        return self.seen().world

    def observed(self) -> str:
        """The digest of what :attr:`world` is made of."""
        return self.seen().digest

    def seen(self) -> Seen:
        """What the datastore holds as far as is known now; the same object until something changes."""
        if self._seen is None:
            if self._policies is None:
                self._policies = policy_digest(self._resources.values())
            self._world, self._steps = self._moved_on(), {}
            self._seen = Seen(self._world, digest_of_marks(sum(self._marks.values())), self._policies)
        return self._seen

    def _moved_on(self) -> World:
        """The world of now; made from the last one where few things changed, so that it can tell which."""
        world = self._world
        if world is None or len(self._steps) > TRAIL:
            return World.from_resources(self._resources.values())
        for (kind, namespace, name), resource in self._steps.items():
            world = world.remove(kind, name, namespace) if resource is None else world.put(resource)
        return world

    @property
    def endpoint_count(self) -> int:
        """How many host endpoints there are, of all nodes."""
        return len(self.seen().world.of(HostEndpoint))

    def resources(self) -> tuple[Resource, ...]:
        """The resources that :attr:`world` is made of, in no order."""
        return tuple(self._resources.values())

    def keep_good(self, resources: Sequence[Resource]) -> None:
        """Keep what is in force for a later start; from any thread. Blocks for milliseconds if it changed."""
        if self._last_good is not None:
            self._last_good.keep(resources)

    @property
    def connected(self) -> bool:
        """Whether what is known is up to date as far as anybody can know."""
        datastore = self._datastore
        return self._following and (not isinstance(datastore, Monitored) or datastore.connected)

    @property
    def staleness(self) -> float:
        """Seconds since the datastore was last heard of, up to a minute where all is well."""
        return self._datastore.staleness if isinstance(self._datastore, Monitored) else 0.0

    def away_for(self) -> float:
        """For how many seconds the datastore has been away; 0: it is not."""
        if self.connected:
            self._lost_at = None
            return 0.0
        if self._lost_at is None:
            self._lost_at = time.monotonic()
        return time.monotonic() - self._lost_at

    async def follow(self) -> None:
        """Watch for ever; a watch that fails begins anew, later and later."""
        pause = _RETRY_FIRST_S
        while True:
            try:
                await self._watch()
            except DatastoreError as error:
                log.warning("datastore away reason=%r retry_in_s=%g last_state=kept", str(error), pause)
            if self._following:
                pause = _RETRY_FIRST_S
            self._following = False
            self.away_for()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _RETRY_MOST_S)

    async def _watch(self) -> None:
        fresh: dict[Key, Resource] | None = {}
        async with aclosing(self._datastore.watch(self._kinds)) as events:
            async for event in events:
                if event.type is EventType.SYNCED and fresh is not None:
                    # What was deleted while nobody watched is simply not among the fresh ones.
                    self._replace(fresh)
                    fresh = None
                    self.synced = self._following = True
                    self.away_for()
                    self.changed.set()
                    continue
                self._note(event)
                key = event.kind, event.namespace, event.name
                resource = self._in_force(event, key)
                if fresh is None:
                    self._put(key, resource)
                elif resource is not None:
                    fresh[key] = resource
                else:
                    fresh.pop(key, None)

    def _in_force(self, event: WatchEvent, key: Key) -> Resource | None:
        """What an event leaves in force; of a resource that is broken, its last valid form."""
        if event.type is EventType.DELETED or event.resource is not None:
            resource = None if event.type is EventType.DELETED else event.resource
            return self._own(key, resource)
        known = self._resources.get(key)
        if known is not None and event.uid in ("", known.metadata.uid):
            return known
        found = self._last_good.find(event.kind, event.name, event.uid) if self._last_good else None
        if found is not None:
            log.warning("last good version of an earlier run in force resource=%s/%s", event.kind, event.name)
        return found

    def _own(self, key: Key, resource: Resource | None) -> Resource | None:
        """Keep this node's endpoints whole, and of everything what it means."""
        known = self.endpoints.pop(key[2], None) if key[0] == HostEndpoint.KIND else None
        if isinstance(resource, HostEndpoint) and resource.spec.node == self._node:
            self.endpoints[resource.name] = resource
        if known is not None or key[2] in self.endpoints:
            self.endpoints_changed.set()
        return None if resource is None else meaning(resource)

    def _replace(self, fresh: dict[Key, Resource]) -> None:
        self._resources = fresh
        self._marks = {key: mark(resource) for key, resource in fresh.items()}
        for name in [name for name in self.endpoints if (HostEndpoint.KIND, "", name) not in fresh]:
            del self.endpoints[name]
        self._seen = self._policies = self._world = None
        self.endpoints_changed.set()

    def _put(self, key: Key, resource: Resource | None) -> None:
        """A resource is as given; nobody is told of changes that mean nothing."""
        if self._resources.get(key) == resource:
            return
        if resource is None:
            del self._resources[key], self._marks[key]
        else:
            self._resources[key], self._marks[key] = resource, mark(resource)
        self._seen = None
        self._steps[key] = resource
        if key[0] in OBSERVED_KINDS:
            self._policies = None
        self.changed.set()

    def _note(self, event: WatchEvent) -> None:
        place = f"{event.kind}/{event.name}"
        if event.type is EventType.ERROR:
            self.broken[place] = "; ".join(str(problem) for problem in event.problems)
            log.error("resource broken resource=%s last_good=kept reason=%r", place, self.broken[place])
        elif self.broken.pop(place, None) is not None:
            log.info("resource mended resource=%s", place)
