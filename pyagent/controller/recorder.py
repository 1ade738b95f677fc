"""Events for people: the same again counts up, and a storm of happenings is no storm of requests."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pyagent.controller.happenings import Happening
from pyagent.datastore.reports import Event
from pyagent.errors import AutohepError

log = logging.getLogger(__name__)

#: How long the same again belongs to the event before, and how often that is told; in seconds.
WINDOW_S: Final = 600.0
REPEAT_S: Final = 30.0
#: Events at once, and then so many a second.
BURST: Final = 50.0
RATE: Final = 2.0
#: What waits to be told at most, and what is remembered at most.
PENDING: Final = 1000
REMEMBERED: Final = 5000
_LONGEST_NAME = 230


@dataclass(slots=True)
class _Series:
    """The same thing, again and again."""

    name: str
    uid: str
    first: str
    last: str
    seen_at: float
    count: int = 1
    sent_at: float = -1e9


def wall_clock() -> str:
    """The time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Recorder:
    """Turns happenings into events; ``record`` stores one, and may raise what an API server's refusal is."""

    def __init__(
        self,
        record: Callable[[Event], None],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], str] = wall_clock,
    ) -> None:
        self._record = record
        self._clock, self._wall = clock, wall
        self._series: dict[Happening, _Series] = {}
        self._pending: dict[Happening, None] = {}
        self._tokens, self._counted_at = BURST, clock()
        self._complained = ""
        #: Events that were not told because there were too many.
        self.dropped = 0

    def note(self, happening: Happening) -> None:
        """Something happened."""
        now, wall = self._clock(), self._wall()
        series = self._series.pop(happening, None)
        if series is None or now - series.seen_at > WINDOW_S:
            name = f"{happening.name[:_LONGEST_NAME]}.{secrets.token_hex(8)}"
            series = _Series(name, happening.uid, wall, wall, now)
        else:
            series.count += 1
            series.last, series.seen_at = wall, now
        self._series[happening] = series
        if happening not in self._pending and len(self._pending) >= PENDING:
            self.dropped += 1
            return
        self._pending[happening] = None
        while len(self._series) > REMEMBERED:
            oldest = next(iter(self._series))
            del self._series[oldest]
            self._pending.pop(oldest, None)

    def flush(self) -> float | None:
        """Tell what may be told now; returns when there is more to tell, by the clock, or None."""
        now = self._clock()
        self._tokens = min(BURST, self._tokens + (now - self._counted_at) * RATE)
        self._counted_at = now
        wake: list[float] = []
        for happening in list(self._pending):
            series = self._series[happening]
            if (at := series.sent_at + REPEAT_S) > now:
                wake.append(at)
            elif self._tokens < 1:
                wake.append(now + 1 / RATE)
                break
            else:
                self._tokens -= 1
                self._tell(happening, series, now)
        return min(wake, default=None)

    def _tell(self, happening: Happening, series: _Series, now: float) -> None:
        del self._pending[happening]
        event = Event(
            name=series.name,
            kind=happening.kind,
            regarding=happening.name,
            uid=happening.uid,
            reason=happening.reason,
            message=happening.message,
            warning=happening.warning,
            count=series.count,
            first=series.first,
            last=series.last,
        )
        series.sent_at = now
        try:
            self._record(event)
        except AutohepError as error:
            # An event is a courtesy: nothing waits for it, and the log has it anyway.
            if str(error) != self._complained:
                log.warning("event not recorded reason=%r", str(error))
            self._complained = str(error)
