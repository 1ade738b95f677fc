"""One of several controllers leads: whoever keeps renewing a lease.

Clocks are never compared. Another's lease counts as abandoned when nobody has changed it for as long as it
says, by this process' own steady clock, beginning when it was first seen so. And a leader stops working well
before others may think it gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec.structs import replace

from pyagent.datastore import Lease, Leases
from pyagent.errors import AlreadyExistsError, ConflictError, DatastoreError, NotFoundError

log = logging.getLogger(__name__)

LEASE = "autohep-controller"


def steady() -> float:
    """Seconds that never jump, and go on while the machine sleeps: others' patience does, too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Terms:
    """Times in seconds.

    ``lease``: how long others wait after the last renewal. ``deadline``: how long a leader tries to renew
    before it stops working. ``retry``: between attempts.
    """

    lease: int = 15
    deadline: float = 10.0
    retry: float = 2.0


class Election:
    """One candidate for the lease ``name``."""

    def __init__(
        self,
        leases: Leases,
        name: str = LEASE,
        *,
        namespace: str = "",
        identity: str = "",
        terms: Terms | None = None,
        clock: Callable[[], float] = steady,
    ) -> None:
        self._leases = leases
        self._namespace = namespace or leases.namespace
        self._name = name
        self._terms = terms or Terms()
        self._clock = clock
        self.identity = identity or f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"
        #: Whether this candidate leads now.
        self.leading = False
        self._seen: Lease | None = None
        self._seen_at = 0.0

    async def lead(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do ``work`` whenever elected, until cancelled; if ``work`` ends by itself, that is the end.

        ``work`` is cancelled when the lease could not be kept. At the end the lease is given up, so that
        another candidate need not wait.
        """
        while True:
            await self._acquire()
            try:
                if await self._hold(work):
                    return
            finally:
                self.leading = False
                await asyncio.shield(asyncio.to_thread(self._release))

    async def _acquire(self) -> None:
        log.info("waiting to lead lease=%s/%s identity=%s", self._namespace, self._name, self.identity)
        while True:
            if await asyncio.to_thread(self._try):
                break
            await asyncio.sleep(self._terms.retry)
        log.info("leading lease=%s/%s identity=%s", self._namespace, self._name, self.identity)

    async def _hold(self, work: Callable[[], Coroutine[None, None, None]]) -> bool:
        """Work and renew; True when the work ended, False when the lease is lost."""
        self.leading = True
        working, renewing = asyncio.create_task(work()), asyncio.create_task(self._renew())
        try:
            done, _ = await asyncio.wait((working, renewing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (working, renewing):
                task.cancel()
            await asyncio.gather(working, renewing, return_exceptions=True)
        for task in done:
            task.result()
        return working in done

    async def _renew(self) -> None:
        """Renew until that fails for too long."""
        renewed_at = self._clock()
        while self._clock() - renewed_at < self._terms.deadline:
            await asyncio.sleep(self._terms.retry)
            attempted_at = self._clock()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, renewed_at + self._terms.deadline - attempted_at)):
                    if await asyncio.to_thread(self._try):
                        # From before the request: that is the latest moment the others may count from.
                        renewed_at = attempted_at
                    elif self._seen is not None and self._seen.holder not in ("", self.identity):
                        break
        log.error("no longer leading lease=%s/%s identity=%s", self._namespace, self._name, self.identity)

    def _try(self) -> bool:
        """Take or renew the lease; False if another has it or the store is away."""
        try:
            return self._write(self._read())
        except (AlreadyExistsError, ConflictError):
            return False
        except DatastoreError as error:
            log.warning("lease not available lease=%s/%s reason=%r", self._namespace, self._name, str(error))
            return False

    def _read(self) -> Lease | None:
        try:
            lease = self._leases.get(self._namespace, self._name)
        except NotFoundError:
            return None
        if self._seen is None or lease.version != self._seen.version:
            self._seen, self._seen_at = lease, self._clock()
        return lease

    def _write(self, lease: Lease | None) -> bool:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = Lease(
            namespace=self._namespace,
            name=self._name,
            holder=self.identity,
            seconds=self._terms.lease,
            acquired=now,
            renewed=now,
        )
        if lease is None:
            self._note(self._leases.create(ours))
            return True
        if lease.holder == self.identity:
            self._note(self._leases.update(replace(lease, renewed=now, seconds=self._terms.lease)))
            return True
        if lease.holder and self._clock() - self._seen_at < lease.seconds:
            return False
        if lease.holder:
            log.warning("taking over an abandoned lease from=%s", lease.holder)
        self._note(
            self._leases.update(replace(ours, transitions=lease.transitions + 1, version=lease.version))
        )
        return True

    def _note(self, lease: Lease) -> None:
        self._seen, self._seen_at = lease, self._clock()

    def _release(self) -> None:
        """Give the lease up if it is ours; whatever fails, it runs out by itself."""
        with contextlib.suppress(DatastoreError):
            lease = self._leases.get(self._namespace, self._name)
            if lease.holder == self.identity:
                self._leases.update(replace(lease, holder="", seconds=1))
