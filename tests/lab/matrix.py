"""Makes the checks of a stage, all at the same time, and says which came out differently."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tests.lab.expectations import CHECKS, LASTING, Check, Stage
from tests.lab.lab import DENIED_AFTER, Lab
from tests.lab.probe import Connection, Outcome

#: Seconds to wait where an answer is due: long enough for one retransmission, to tell "lost" from "denied".
ANSWERED_WITHIN = 3.0


@dataclass(frozen=True, slots=True)
class Result:
    """What was expected of one thing, and what was seen. ``difference`` is empty when they agree."""

    what: str
    expected: str
    observed: str
    difference: str = ""


def make_checks(lab: Lab, stage: Stage) -> list[Result]:
    """Every check of a stage."""
    return asyncio.run(_make_checks(lab, stage))


async def _make_checks(lab: Lab, stage: Stage) -> list[Result]:
    attempts = [(check, family) for check in CHECKS if stage in check.made for family in check.families]
    return await asyncio.gather(*(_make(lab, stage, check, family) for check, family in attempts))


async def _make(lab: Lab, stage: Stage, check: Check, family: int) -> Result:
    expected = stage in check.opens
    outcome = await lab.try_connect(
        check.source,
        check.target,
        check.port,
        check.protocol,
        family=family,
        patience=ANSWERED_WITHIN if expected else DENIED_AFTER,
    )
    what = f"{check.what}: {check.source} -> {check.target}:{check.port}/{check.protocol} IPv{family}"
    return Result(
        what,
        "answered" if expected else "timeout",
        str(outcome),
        _difference(lab, check, family, expected, outcome),
    )


def _difference(lab: Lab, check: Check, family: int, expected: bool, outcome: Outcome) -> str:
    if not expected:
        # Denied means dropped: a refusal would come from a service that is not there.
        return "" if outcome.how == "timeout" else "should be denied"
    if not outcome.reached:
        return "should get through"
    peer = lab.address(check.seen_as or check.source, family)
    return "" if outcome.peer in ("", peer) else f"should be seen as {peer}"


class LastingConnections:
    """Connections opened while everything was allowed, asked for a sign of life at every stage."""

    def __init__(self, lab: Lab) -> None:
        self._connections: dict[str, Connection] = {
            f"{source} -> {target}:{port} IPv{family}": lab.open_connection(source, target, port, family)
            for source, target, port in LASTING
            for family in (4, 6)
        }

    def check(self) -> list[Result]:
        """Every one must answer."""
        results = []
        for name, connection in self._connections.items():
            outcome = connection.ask()
            difference = "" if outcome.reached else "should be alive"
            results.append(
                Result(f"connection opened at the start: {name}", "answered", str(outcome), difference)
            )
        return results

    def check_nothing_lost(self) -> list[Result]:
        """None may have had to send anything twice in its whole life."""
        results = []
        for name, connection in self._connections.items():
            again = connection.retransmissions()
            difference = "a packet of an open connection was lost" if again else ""
            results.append(
                Result(f"connection opened at the start: {name}", "0 sent twice", str(again), difference)
            )
        return results

    def close(self) -> None:
        """Close them."""
        for connection in self._connections.values():
            connection.close()
