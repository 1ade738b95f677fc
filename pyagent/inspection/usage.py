"""Which rules of the policy in force were hit, how often and when last; and which were not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyagent.bpf.pins import Pins
from pyagent.dataplane.hits import Total, Totals
from pyagent.inspection.held import Held
from pyagent.inspection.policy import live_hits


def hits(pins: Pins, state_directory: Path) -> list[dict[str, Any]]:
    """Every rule of the policy in force, in its order, with its totals. AutohepError without names."""
    held = Held.live(pins, state_directory)
    totals = live_hits(pins, held, state_directory)
    return [_row(rule, totals) for rule in _rules(held)]


def unused(pins: Pins, state_directory: Path, since: float) -> list[dict[str, Any]]:
    """Rules of the policy in force without a hit since a time (seconds of the wall clock).

    ``countedSince`` later than that means: the rule is younger, or it was not counted before.
    """
    return [row for row in hits(pins, state_directory) if not row["lastHit"] or row["lastHit"] < since]


def _rules(held: Held) -> Iterator[dict[str, Any]]:
    """Rules that can be hit: those of staged policies are counted by policy, see bpf policy dump."""
    seen: set[int] = set()
    for policy in held.known()["policies"]:
        for rule in () if policy["staged"] else policy["rules"]:
            if rule["key"] not in seen:
                seen.add(rule["key"])
                yield rule


def _row(rule: dict[str, Any], totals: Totals) -> dict[str, Any]:
    total = totals.rules.get(rule["key"], Total())
    return {
        "rule": rule["place"],
        "action": rule["action"],
        "key": f"{rule['key']:08x}",
        "packets": total.packets,
        "bytes": total.bytes,
        "lastHit": total.last,
        "countedSince": total.since,
    }
