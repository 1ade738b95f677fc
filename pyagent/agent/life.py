"""The tasks of one agent: the mirror, the host's changes, the clock, the passes they ask for, and reports."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from msgspec.structs import replace as replaced

from pyagent.agent.conditions import Surroundings, status_of
from pyagent.agent.enforce import Enforced, Enforcer
from pyagent.agent.memory import give_back
from pyagent.agent.metering import Meter
from pyagent.agent.mirror import Mirror, Seen
from pyagent.agent.options import AgentOptions
from pyagent.agent.reporting import Reporter
from pyagent.agent.standing import standing, why_not_ready
from pyagent.agent.state import StateDirectory
from pyagent.attach.events import Changes
from pyagent.errors import AutohepError
from pyagent.telemetry import Telemetry, health, metrics

log = logging.getLogger(__name__)

#: Changes within this time are one pass; seconds.
_SETTLE_S: Final = 0.02
#: The same of interfaces: until its pass, nobody filters what has come.
_SETTLE_INTERFACES_S: Final = 0.005
#: Seconds between looks at how full maps are.
_PRESSURE_EVERY_S: Final = 60.0
#: Percent points that a map's fill must fall by to be told as less: one that moves around a step is not news.
_CALM: Final = 5


class Agent:
    """Everything that happens once the program is loaded; :meth:`live` until cancelled.

    ``following``: the task that keeps ``mirror`` up to date. ``reporter``: None where nobody takes statuses.
    """

    def __init__(  # noqa: PLR0917 - what an agent consists of
        self, mirror: Mirror, following: asyncio.Task[None], enforcer: Enforcer, meter: Meter,
        reporter: Reporter | None, state: StateDirectory, options: AgentOptions,
    ) -> None:  # fmt: skip
        self._enforcer, self._state, self._options = enforcer, state, options
        self._mirror, self._following = mirror, following
        self._meter, self._reporter = meter, reporter
        self._enforced: Enforced | None = None
        self._observed = ""
        #: Digest of the policies in force, as this process put them there.
        self._policies = ""
        #: Whether the host's interfaces changed since the last pass.
        self._heard = False
        self._pressure: dict[str, int] = {}
        self._pressure_at = -_PRESSURE_EVERY_S
        self._written: dict[str, Any] = {}
        self._begun = self._passed_at = time.monotonic()

    async def live(self) -> None:
        """Run all tasks; if one of them fails, so does this."""
        wanted: list[Awaitable[None]] = [self._following, self._hear(), self._pass_by_pass()]
        if self._options.metrics is not None:
            pages = {
                "/metrics": metrics(self._meter.families),
                "/livez": health(lambda: ""),
                "/readyz": health(lambda: why_not_ready(self._enforced, self._mirror)),
            }
            wanted.append(Telemetry(self._options.metrics, pages).serve())
        tasks = [asyncio.ensure_future(each) for each in wanted]
        reporting = asyncio.create_task(self._report_statuses())
        try:
            await _first_failure(tasks)
        finally:
            for task in (*tasks, reporting):
                task.cancel()
            await asyncio.gather(*tasks, reporting, return_exceptions=True)
            self._meter.close()

    async def _hear(self) -> None:
        async with Changes(_SETTLE_INTERFACES_S) as changes:
            async for _ in changes:
                self._heard = True
                self._mirror.changed.set()

    async def _report_statuses(self) -> None:
        """A defect in reporting ends reporting, not enforcement."""
        if self._reporter is not None:
            try:
                await self._reporter.follow()
            except Exception:
                log.exception("statuses are written no more")

    async def _pass_by_pass(self) -> None:
        while True:
            await self._wait()
            self._mirror.changed.clear()
            if self._mirror.synced:
                await self._pass(self._mirror.seen())
            elif time.monotonic() - self._begun >= self._options.restore_after:
                await self._restore()

    async def _wait(self) -> None:
        """Until something changed, or somebody meddled, or it is time for a pass anyway."""
        while True:
            try:
                async with asyncio.timeout(self._options.recheck):
                    await self._mirror.changed.wait()
            except TimeoutError:
                if not self._mirror.synced or await self._is_disturbed():
                    return
            else:
                if not self._heard:  # what netlink tells has settled by then
                    await asyncio.sleep(_SETTLE_S)
                return
            self._tell()

    async def _is_disturbed(self) -> bool:
        if time.monotonic() - self._passed_at >= self._options.full_recheck:
            return True
        return await asyncio.to_thread(self._enforcer.disturbed)

    async def _pass(self, seen: Seen) -> None:
        before, heard, self._heard = self._enforced, self._heard, False
        enforced = await self._done(lambda: self._enforcer.enforce(seen.world))
        if heard and enforced is before:
            # The image was edited in place, and nobody looked at the interfaces.
            enforced = await self._done(lambda: self._enforcer.enforce(seen.world))
        self._enforced = enforced
        self._passed_at = time.monotonic()
        self._observed = seen.digest
        if not enforced.problem:
            self._policies = seen.policies
            await asyncio.to_thread(self._mirror.keep_good, self._mirror.resources())
        # An image that was edited in place is the same pass' once more.
        if enforced.took and enforced is not before:
            await asyncio.to_thread(give_back)
        if time.monotonic() - self._pressure_at >= _PRESSURE_EVERY_S:
            self._pressure_at = time.monotonic()
            with suppress(AutohepError):  # how full maps are is not worth a pass
                self._note_pressure(await asyncio.to_thread(self._meter.pressure))
        self._meter.passed(enforced, anew=enforced is not before)
        self._tell()

    async def _restore(self) -> None:
        self._enforced = await self._done(self._enforcer.restore)
        self._observed = ""
        self._meter.passed(self._enforced, anew=True)
        self._tell()

    async def _done(self, work: Callable[[], Enforced]) -> Enforced:
        """Do a pass in a thread; what fails becomes its result, beside what is in force."""
        try:
            return await asyncio.to_thread(work)
        except AutohepError as error:
            log.error("pass failed reason=%r", str(error))
            return self._enforcer.as_it_was(str(error))

    def _note_pressure(self, now: dict[str, int]) -> None:
        known = self._pressure
        moved = {name: percent for name, percent in now.items() if abs(percent - known.get(name, 0)) > _CALM}
        self._pressure = {**known, **moved}

    def _tell(self) -> None:
        """Say how things stand, on disk and in the datastore, where that is news."""
        enforced = self._enforced
        if enforced is None:
            return
        self._mirror.away_for()  # notes since when
        now = standing(self._options, enforced, self._observed, self._mirror)
        if now != self._written and self._state.write_status({**now, "time": time.time()}):
            self._written = now
        if self._reporter is not None and self._mirror.synced:
            around = Surroundings("", tuple(self._mirror.broken), self._meter.rescue, self._pressure)
            self._reporter.want(
                {
                    name: replaced(status_of(name, enforced, around), observed=self._in_force(name))
                    for name in self._mirror.endpoints
                }
            )

    def _in_force(self, endpoint: str) -> str:
        """The digest of the policies in force; what an earlier run said, until this one knows."""
        if self._policies or self._reporter is None:
            return self._policies
        return self._reporter.stored(endpoint).observed


async def _first_failure(tasks: Sequence[asyncio.Future[None]]) -> None:
    """Wait for the first task that ends, and raise what it ended with."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
