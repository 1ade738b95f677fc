"""Candidates for a lease, and a record of who worked when."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from pyagent.controller.leader import Election, Terms
from pyagent.datastore import Leases

TERMS = Terms(lease=1, deadline=0.6, retry=0.05)


class Shift:
    """Who works now, and every beginning and end in order. Two at once is a failure."""

    def __init__(self) -> None:
        self.working: list[str] = []
        self.log: list[str] = []
        self.most = 0

    async def work(self, name: str) -> None:
        self.working.append(name)
        self.log.append(f"{name} begins")
        self.most = max(self.most, len(self.working))
        try:
            await asyncio.Event().wait()
        finally:
            self.working.remove(name)
            self.log.append(f"{name} ends")

    async def until(self, *working: str, patience: float = 5.0) -> None:
        async with asyncio.timeout(patience):
            while self.working != list(working):  # noqa: ASYNC110 (a test's wait)
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def candidate(
    leases: Leases, name: str, shift: Shift, namespace: str = ""
) -> AsyncIterator[asyncio.Task[None]]:
    """A candidate that runs meanwhile, and gives the lease up at the end."""
    election = Election(leases, "test-lease", namespace=namespace, identity=name, terms=TERMS)
    task = asyncio.create_task(election.lead(lambda: shift.work(name)))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
