"""The part of the controller that tells: it follows a Board, and writes statuses and events."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from pyagent.controller.board import Board, Due
from pyagent.controller.happenings import Happening, of_endpoint, of_status
from pyagent.controller.history import Key
from pyagent.controller.meters import FAILED, WRITTEN, Meters
from pyagent.controller.recorder import Recorder, wall_clock
from pyagent.datastore import EventType, WatchEvent
from pyagent.datastore.reports import NoStatusError, Reports
from pyagent.errors import AutohepError, ConflictError, NotFoundError
from pyagent.model import HostEndpoint
from pyagent.model.status import Status

log = logging.getLogger(__name__)

#: Changes within this time are answered at once; in seconds.
SETTLE_S: Final = 0.2
#: Statuses written in one go, before looking again whether they are still right.
MOST: Final = 25
#: The pause before a status that was refused is tried again; in seconds.
RETRY_S: Final = 10.0


class Reporter:
    """One watch's reports. ``take`` is told everything the watch says; ``run`` does the writing."""

    def __init__(self, reports: Reports, meters: Meters, board: Board | None = None) -> None:
        self._reports = reports
        self._meters = meters
        self._board = board or Board()
        self._recorder = Recorder(reports.record)
        self._changed = asyncio.Event()
        self._begun = False
        self._complained: set[str] = set()

    def take(self, event: WatchEvent) -> None:
        """What the watch says."""
        if event.type is EventType.SYNCED:
            self._board.begin()
            self._begun = True
            self._changed.set()
            return
        before = self._board.endpoint(event.name) if event.kind == HostEndpoint.KIND else None
        changed = self._board.take(event)
        if not self._begun:
            return
        if changed:
            self._changed.set()
        after = event.resource
        if isinstance(after, HostEndpoint) and event.type in (EventType.ADDED, EventType.MODIFIED):
            # What stood there before this process looked is no news.
            self.note(*of_endpoint(before, after))

    def note(self, *happenings: Happening) -> None:
        """Something is worth an event."""
        for happening in happenings:
            self._recorder.note(happening)
            self._changed.set()

    async def run(self) -> None:
        """Write what is due, until cancelled. What is not due yet, or was refused, is tried again later."""
        wake: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if wake is None else max(0.0, wake - time.monotonic())):
                    await self._changed.wait()
            await asyncio.sleep(SETTLE_S)
            self._changed.clear()
            if self._begun:
                wake = await self._pass()

    async def _pass(self) -> float | None:
        wakes = [await self._read_invalid()]
        began = time.monotonic()
        due, wake = self._board.due(began, MOST)
        self._meters.judged.observe(time.monotonic() - began)
        wakes.append(wake)
        wakes += [await self._write(each) for each in due]
        wakes.append(await asyncio.to_thread(self._recorder.flush))
        self._meters.events_dropped = self._recorder.dropped
        self._meters.note_policies(self._board.policies().values())
        self._meters.protected = self._board.protected()
        return min((each for each in wakes if each is not None), default=None)

    async def _read_invalid(self) -> float | None:
        """Look at invalid objects as they are stored: a watch does not say what stands on them."""
        for key in list(self._board.unread):
            try:
                stored: Mapping[str, Any] = await asyncio.to_thread(self._reports.read, *key)
            except NotFoundError:
                stored = {}
            except AutohepError as error:
                self._complain(f"invalid object not read kind={key[0]} name={key[1]} reason={str(error)!r}")
                return time.monotonic() + RETRY_S
            self._board.note_stored(key, stored)
        return None

    async def _write(self, due: Due) -> float | None:
        now = wall_clock()
        kind, name = due.key
        try:
            await asyncio.to_thread(self._reports.write_status, kind, name, due.uid, due.wire(now))
        except NoStatusError as error:
            log.warning("statuses not written kind=%s reason=%r", kind, str(error))
            self._board.mute(kind)
            return None
        except (NotFoundError, ConflictError):
            # It is another one by now; the watch will say so.
            return self._postpone(due)
        except AutohepError as error:
            self._meters.count_write(f"{kind}/status", FAILED)
            self._complain(f"status not written kind={kind} name={name} reason={str(error)!r}")
            return self._postpone(due)
        self._meters.count_write(f"{kind}/status", WRITTEN)
        status = due.timed(now)
        self._board.wrote(due, status, time.monotonic())
        self._tell(due, status)
        return None

    def _tell(self, due: Due, status: Status) -> None:
        for happening in of_status(due, status):
            self._recorder.note(happening)
            level = logging.WARNING if happening.warning else logging.INFO
            log.log(level, "%s kind=%s name=%s %s", *_words(happening, due.key))

    def _postpone(self, due: Due) -> float:
        retry_at = time.monotonic() + RETRY_S
        self._board.failed(due, retry_at)
        return retry_at

    def _complain(self, text: str) -> None:
        """Say it once."""
        if text not in self._complained:
            log.warning("%s", text)
            self._complained.add(text)


def _words(happening: Happening, key: Key) -> tuple[str, str, str, str]:
    return happening.reason, key[0], key[1], f"message={happening.message!r}"
