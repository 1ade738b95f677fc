"""Watching the directory of an embedded datastore.

inotify only says where to look; what changed is always found by comparing with what was reported before.
So a lost, merged or repeated notification does no harm, a slow reader costs no memory, and an overflow of
the kernel's queue is answered by looking everywhere. The directories are armed before the first look, so
nothing falls in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import operator
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path

from asyncinotify import Event, Inotify, Mask

from pyagent.datastore import layout
from pyagent.datastore.layout import Slot
from pyagent.datastore.protocol import EventType, WatchEvent
from pyagent.datastore.shelf import Shelf, Stored
from pyagent.errors import DatastoreError
from pyagent.model import Resource

log = logging.getLogger(__name__)

#: Changes within this time of each other are looked at together; in seconds.
SETTLE_S = 0.01

# CLOSE_WRITE and not MODIFY: a file is looked at when its writer has finished. CREATE is for directories
# and links.
_MASK = (
    Mask.CREATE
    | Mask.CLOSE_WRITE
    | Mask.MOVED_TO
    | Mask.MOVED_FROM
    | Mask.DELETE
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
    | Mask.ONLYDIR
)
#: Slots in their order, without the cost of comparing them.
_PLACE = operator.attrgetter("kind", "namespace", "file")
_NOWHERE_IN_PARTICULAR = (
    Mask.Q_OVERFLOW | Mask.IGNORED | Mask.ISDIR | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.UNMOUNT
)


async def watch_directory(
    root: Path, shelf: Shelf, kinds: Sequence[str], resync: float
) -> AsyncGenerator[WatchEvent, None]:
    """The watch of EmbeddedDatastore."""
    with _inotify() as inotify:
        changes = _Changes(root, inotify, kinds)
        reported = _Reported(shelf, kinds)
        changes.arm()
        pump = asyncio.create_task(changes.collect())
        try:
            for event in await asyncio.to_thread(reported.compare_all):
                yield event
            yield WatchEvent(EventType.SYNCED)
            while True:
                slots = await changes.next(resync)
                if pump.done():
                    pump.result()
                look = reported.compare_all if slots is None else functools.partial(reported.compare, slots)
                for event in await asyncio.to_thread(look):
                    yield event
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)


@contextlib.contextmanager
def _inotify() -> Iterator[Inotify]:
    try:
        inotify = Inotify(cache_size=256)
    except OSError as error:
        msg = f"cannot watch: {error.strerror} (see fs.inotify.max_user_instances and max_user_watches)"
        raise DatastoreError(msg) from error
    with inotify:
        yield inotify


class _Changes:
    """Where to look again: the places that inotify named since the last time, or everywhere."""

    def __init__(self, root: Path, inotify: Inotify, kinds: Sequence[str]) -> None:
        self._root = root
        self._inotify = inotify
        self._kinds = frozenset(kinds)
        self._directories = [layout.kind_directory(kind) for kind in kinds]
        self._slots: set[Slot] = set()
        self._everywhere = False
        self._wake = asyncio.Event()

    def arm(self) -> None:
        """Watch every directory there is now. Watching one again changes nothing."""
        try:
            self._inotify.add_watch(self._root, _MASK)
        except OSError as error:
            msg = f"{self._root}: {error.strerror}"
            raise DatastoreError(msg) from error
        for plural, namespaced in self._directories:
            top = self._root / plural
            for directory in [top, *(path for path in top.glob("*") if namespaced and path.is_dir())]:
                # Removed meanwhile: its parent's event says so.
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    self._inotify.add_watch(directory, _MASK)

    async def collect(self) -> None:
        """Empty the kernel's queue as it fills."""
        try:
            async for event in self._inotify:
                self._note(event)
        finally:
            self._wake.set()

    async def next(self, patience: float) -> set[Slot] | None:
        """Wait for changes, at most ``patience`` seconds; the places to look at, None for everywhere."""
        try:
            # Not wait_for: in Python 3.11 that swallows a cancellation which comes together with the event.
            async with asyncio.timeout(patience):
                await self._wake.wait()
        except TimeoutError:
            self._everywhere = True
        await asyncio.sleep(SETTLE_S)
        slots, everywhere = self._slots, self._everywhere
        self._slots, self._everywhere = set(), False
        self._wake.clear()
        if everywhere:
            self.arm()
            return None
        return slots

    def _note(self, event: Event) -> None:
        if event.path is None or event.mask & _NOWHERE_IN_PARTICULAR:
            if event.mask & Mask.Q_OVERFLOW:
                log.warning("inotify queue overflowed; comparing everything directory=%s", self._root)
            self._everywhere = True
        else:
            slot = layout.slot_at(event.path.relative_to(self._root))
            # A file that was only created is still being written, unless it is a link to a finished one.
            unfinished = event.mask & Mask.CREATE and _links(event.path) < 2
            if slot is None or slot.kind not in self._kinds or unfinished:
                return
            self._slots.add(slot)
        self._wake.set()


def _links(path: Path) -> int:
    try:
        return path.lstat().st_nlink
    except FileNotFoundError:
        return 0


class _Reported:
    """What a watch's reader has been told, and the events that bring it up to date."""

    def __init__(self, shelf: Shelf, kinds: Sequence[str]) -> None:
        self._shelf = shelf
        self._kinds = kinds
        self._known: dict[Slot, Stored] = {}
        self._strays: set[Path] = set()

    def compare_all(self) -> list[WatchEvent]:
        """Compare every place; also tells in the log of files that nobody reads."""
        slots = {slot for kind in self._kinds for slot in self._shelf.slots(kind)}
        self._shelf.sweep({slot for kind in self._kinds for slot in self._shelf.orphans(kind)})
        strays = {path for kind in self._kinds for path in self._shelf.strays(kind)}
        for path in sorted(strays - self._strays):
            log.warning("file ignored: its name does not end in %s file=%s", layout.SUFFIX, path)
        self._strays = strays
        return self.compare(slots | set(self._known))

    def compare(self, slots: set[Slot]) -> list[WatchEvent]:
        """Compare some places with what was reported of them."""
        try:
            return [event for slot in sorted(slots, key=_PLACE) for event in self._compare_one(slot)]
        except OSError as error:
            raise DatastoreError(str(error)) from error

    def _compare_one(self, slot: Slot) -> Iterator[WatchEvent]:
        stored, known = self._shelf.read(slot), self._known.get(slot)
        if stored is None:
            self._shelf.sweep({slot} & self._shelf.orphans(slot.kind))
            if self._known.pop(slot, None) is not None:
                yield _event(EventType.DELETED, slot, known)
            return
        self._known[slot] = stored
        before = known.resource if known else None
        if stored.resource is not None:
            if before is None:
                yield _event(EventType.ADDED, slot, stored)
            elif _uid(before) != _uid(stored.resource):
                yield _event(EventType.DELETED, slot, known)
                yield _event(EventType.ADDED, slot, stored)
            elif _version(before) != _version(stored.resource) or (
                known and known.problems and not stored.problems
            ):
                yield _event(EventType.MODIFIED, slot, stored)
        if stored.problems and (known is None or known.problems != stored.problems):
            yield _event(EventType.ERROR, slot, stored)


def _uid(resource: Resource) -> str:
    return resource.metadata.uid


def _version(resource: Resource) -> str:
    return resource.metadata.resource_version


def _event(type_: EventType, slot: Slot, stored: Stored | None) -> WatchEvent:
    resource = stored.resource if stored else None
    name = resource.name if resource else slot.name
    problems = stored.problems if stored and type_ is EventType.ERROR else ()
    return WatchEvent(type_, slot.kind, name, slot.namespace, resource, problems)
