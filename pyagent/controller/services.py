"""Keeps ClusterServices in step with Services, EndpointSlices and the policies that name some of them.

Agents follow this one object instead of Services: it is written once a second at most, and nothing is
written that is written already.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace

from pyagent.calc.services import RULED, Ruled, services_digest
from pyagent.datastore import Datastore, EventType, WatchEvent
from pyagent.datastore.lineage import now
from pyagent.errors import AlreadyExistsError, ConflictError, DatastoreError, ManifestError, NotFoundError
from pyagent.model import AUTOHEP_V1, ClusterServices, EndpointSlice, Metadata, Resource, Service
from pyagent.model.services import ClusterServicesSpec
from pyagent.model.status import Condition, Status, Truth, with_times

log = logging.getLogger(__name__)

NAME: Final = "default"
COMPLETE: Final = "Complete"
KINDS: Final = tuple(kind.KIND for kind in (Service, EndpointSlice, *RULED, ClusterServices))
#: The least time between two writes; in seconds.
WRITE_EVERY_S: Final = 1.0
#: The most that is written, as JSON. etcd takes 1.5 MiB in a request; each agent gets all of it each time.
BYTES_MAX: Final = 1_000_000
_RETRY_FIRST_S: Final = 1.0
_RETRY_MOST_S: Final = 300.0

Kind = TypeVar("Kind", bound=Resource)
Key = tuple[str, str, str]


async def keep_services(datastore: Datastore, write_every: float = WRITE_EVERY_S) -> None:
    """Follow and write until cancelled; what fails is tried again, later and later."""
    pause = _RETRY_FIRST_S
    while True:
        digest = _Digest(datastore, write_every)
        try:
            await digest.follow()
        except (DatastoreError, ManifestError) as error:
            pause = _RETRY_FIRST_S if digest.written else min(2 * pause, _RETRY_MOST_S)
            log.warning("ClusterServices not kept reason=%r retry_in_s=%g", str(error), pause)
            await asyncio.sleep(pause)


def write_services(datastore: Datastore) -> bool:
    """Read everything and write the digest once; False if it is written already."""
    digest = _Digest(datastore, WRITE_EVERY_S)
    digest.resources = {_key(each): each for kind in KINDS for each in datastore.list(kind)[0]}
    return digest.write()


class _Digest:
    """One watch, and the object that follows from it. ``written``: whether a write, or none, went well."""

    def __init__(self, datastore: Datastore, write_every: float) -> None:
        self._datastore = datastore
        self._write_every = write_every
        self._changed = asyncio.Event()
        self._synced = asyncio.Event()
        self.resources: dict[Key, Resource] = {}
        self.written = False

    async def follow(self) -> None:
        """Watch and write until either fails; then raise its error."""
        tasks = {asyncio.create_task(self._watch()), asyncio.create_task(self._write_on_change())}
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
        key = event.kind, event.namespace, event.name
        if event.type is EventType.SYNCED:
            self._synced.set()
        elif event.type is EventType.DELETED:
            self.resources.pop(key, None)
        elif event.resource is not None:
            self.resources[key] = event.resource
        self._changed.set()

    async def _write_on_change(self) -> None:
        await self._synced.wait()
        while True:
            await self._changed.wait()
            self._changed.clear()
            if await asyncio.to_thread(self.write):
                await asyncio.sleep(self._write_every)
            self.written = True

    def write(self) -> bool:
        """Write what differs from what is stored; False if nothing does."""
        found = dict(self.resources)
        spec = services_digest(_of(found, Service), _of(found, EndpointSlice), _ruled(found))
        size = len(msgspec.json.encode(spec))
        stored = found.get((ClusterServices.KIND, "", NAME))
        current = stored if isinstance(stored, ClusterServices) else None
        try:
            if size > BYTES_MAX:
                return self._tell(current or self._put(None, ClusterServicesSpec()), _too_large(size))
            changed = current is None or current.spec != spec
            held = self._put(current, spec) if current is None or changed else current
            return self._tell(held, _complete()) or changed
        except (AlreadyExistsError, ConflictError, NotFoundError) as error:
            # Somebody else wrote it; the watch brings what, and a pass with it.
            log.info("ClusterServices written by somebody else reason=%r", str(error))
            return True

    def _put(self, current: ClusterServices | None, spec: ClusterServicesSpec) -> ClusterServices:
        if current is None:
            metadata = Metadata(name=NAME)
            new = ClusterServices(
                api_version=AUTOHEP_V1, kind=ClusterServices.KIND, metadata=metadata, spec=spec
            )
            written = self._datastore.create(new)
        else:
            written = self._datastore.update(replace(current, spec=spec))
        log.info(
            "ClusterServices written node_ports=%d addresses=%d services=%d bytes=%d",
            sum(len(group.ports) for group in spec.node_ports),
            len(spec.addresses),
            len(spec.services),
            len(msgspec.json.encode(spec)),
        )
        return written

    def _tell(self, held: ClusterServices, condition: Condition) -> bool:
        """Write the condition where it is another; it names no figure that changes all the time."""
        before = Status.read(held.status)
        (timed,) = with_times([condition], before.conditions, now())
        if before.conditions == (timed,):
            return False
        if condition.status is not Truth.TRUE:
            log.error(
                "ClusterServices left as it was reason=%s message=%r", condition.reason, condition.message
            )
        status: dict[str, Any] = Status(conditions=(timed,)).wire()
        self._datastore.update_status(replace(held, status=status))
        return True


def _complete() -> Condition:
    return Condition(type=COMPLETE, status=Truth.TRUE, reason="Written", message="all Services are in it")


def _too_large(size: int) -> Condition:
    rounded = -(-size // 100_000) / 10
    message = (
        f"about {rounded:g} MB of at most {BYTES_MAX / 1e6:g} MB: what was written last stays in force;"
        " name fewer Services with many endpoints in policies"
    )
    return Condition(type=COMPLETE, status=Truth.FALSE, reason="TooLarge", message=message)


def _key(resource: Resource) -> Key:
    return resource.KIND, resource.metadata.namespace, resource.name


def _of(resources: dict[Key, Resource], kind: type[Kind]) -> list[Kind]:
    return [each for each in resources.values() if isinstance(each, kind)]


def _ruled(resources: dict[Key, Resource]) -> list[Ruled]:
    return [each for each in resources.values() if isinstance(each, RULED)]
