"""What a node does just now: rates by reason and by rule, who is denied most, how full the tables are."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pyagent.abi import Direction
from pyagent.bpf.pins import Pins
from pyagent.errors import AutohepError
from pyagent.inspection.flows import MAPS
from pyagent.inspection.held import Held
from pyagent.inspection.interfaces import counters
from pyagent.inspection.observe import Observer
from pyagent.inspection.pinned import Pinned
from pyagent.inspection.policy import live_hits

#: Seconds between counts of the flow tables: that reads them whole.
_FLOWS_EVERY_S: Final = 10.0


class Top:
    """Takes one look after the other; each tells what happened since the one before.

    Use it as a context manager: while it is open dropped packets are reported, so that it can tell whose they
    are. ``note`` says why it cannot, where another observer has them.
    """

    def __init__(self, pins: Pins, state_directory: Path) -> None:
        """Raises AutohepError if no firewall is loaded, or has no policy in force."""
        self._pins, self._state_directory = pins, state_directory
        self._pinned = Pinned(pins)
        self._observer: Observer | None = None
        self._denied: Counter[str] = Counter()
        self._opened = ExitStack()
        self._flows: tuple[float, list[dict[str, Any]]] = (float("-inf"), [])
        self._before = self._totals()
        self.note = ""

    def __enter__(self) -> Self:
        try:
            observer = Observer(self._pins, self._state_directory, drops=True)
            self._observer = self._opened.enter_context(observer)
            self._observer.read()  # what waits in the ring is older than this look
        except AutohepError as error:
            self.note = f"peers are not known: {error}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def look(self) -> dict[str, Any]:
        """What happened since the last look, in packets a second; the busiest first."""
        begun, reasons, rules, _ = self._before
        now, reasons_now, rules_now, generation = self._before = self._totals()
        seconds = max(now - begun, 1e-3)
        return {
            "generation": generation,
            "seconds": round(seconds, 3),
            "verdicts": _rates(reasons, reasons_now, seconds, ("direction", "verdict", "reason")),
            "rules": _rates(rules, rules_now, seconds, ("rule",)),
            "deniedPeers": self._peers(),
            "flows": self._flow_tables(now),
            "note": self.note,
        }

    def _totals(self) -> tuple[float, Counter[tuple[str, ...]], Counter[tuple[str, ...]], int]:
        held = Held.live(self._pins, self._state_directory)
        reasons: Counter[tuple[str, ...]] = Counter()
        for row in counters(self._pinned):
            reasons[row["direction"], row["verdict"], row["reason"]] += row["packets"]
        rules: Counter[tuple[str, ...]] = Counter()
        totals = live_hits(self._pins, held, self._state_directory)
        for key, total in totals.rules.items():
            rules[(held.names.rule(key),)] += total.packets
        for place, total in totals.staged.items():
            rules[(f"{place} (staged)",)] += total.packets
        return time.monotonic(), reasons, rules, held.generation

    def _peers(self) -> list[dict[str, Any]]:
        """Addresses whose packets were dropped since this was opened."""
        if self._observer is not None:
            self._observer.refresh()
            for event in self._observer.read():
                if event.dropped:
                    inward = event.direction is Direction.INGRESS
                    self._denied[event.source if inward else event.destination] += 1
        return [{"peer": peer, "packets": count} for peer, count in self._denied.most_common(100)]

    def _flow_tables(self, now: float) -> list[dict[str, Any]]:
        counted, found = self._flows
        if now - counted >= _FLOWS_EVERY_S:
            found = []
            for name in MAPS:
                with self._pinned.open(name) as table:
                    entries, size = len(table), table.info.max_entries
                found.append({"table": name, "entries": entries, "size": size})
            self._flows = now, found
        return found


def _rates(
    before: Counter[tuple[str, ...]], after: Counter[tuple[str, ...]], seconds: float, names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Rows of ``names``, ``perSecond`` and the total ``packets``, for what grew; the busiest first.

    What shrank was set to 0 meanwhile, and counts from there.
    """
    grown = {key: count - before[key] if count >= before[key] else count for key, count in after.items()}
    busiest = sorted((each for each in grown if grown[each]), key=lambda each: (-grown[each], each))
    return [
        {
            **dict(zip(names, each, strict=True)),
            "perSecond": round(grown[each] / seconds, 1),
            "packets": after[each],
        }
        for each in busiest
    ]
