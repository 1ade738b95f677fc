"""Makes the faults one after another and tells in a table what became of the traffic."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.resilience.faults import Fault
from tests.resilience.load import Counted, Load
from tests.resilience.site import Site

_COLUMNS = ("FAULT", "SECONDS", "PACKETS SENT", "WRONGLY PASSED", "WRONGLY DROPPED", "CONNECTIONS LOST")
_FORMAT = "{:<54}{:>9}{:>14}{:>16}{:>17}{:>18}"
_LEAD_S = 0.2  # seconds of traffic before and after a fault


@dataclass(frozen=True)
class Row:
    """A fault and what became of the traffic."""

    fault: Fault
    seconds: float
    counted: Counted

    def __str__(self) -> str:
        counted = self.counted
        lost = f"{counted.connections_lost} of {counted.connections}"
        return _FORMAT.format(
            self.fault.name,
            f"{self.seconds:.1f}",
            counted.sent,
            counted.wrongly_passed,
            counted.wrongly_dropped,
            lost,
        )


def heading() -> str:
    """The table's first line."""
    return _FORMAT.format(*_COLUMNS)


def suffer(
    site: Site, faults: Iterable[Fault], say: Callable[[str], None], active: int | None = None
) -> list[Row]:
    """Make each fault under traffic, and mend it before the next; ``active``: see :class:`Load`."""
    rows = []
    say(heading())
    for fault in faults:
        fault.before(site)
        begun = time.monotonic()
        with Load(site.peer, site.connections, active=active) as load:
            time.sleep(_LEAD_S)
            fault.make(site)
            time.sleep(_LEAD_S)
        seconds = time.monotonic() - begun
        rows.append(Row(fault, seconds, load.counted()))
        say(str(rows[-1]))
        fault.mend(site)
    return rows
