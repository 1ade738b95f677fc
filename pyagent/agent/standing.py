"""How things stand on this node: what ``status.json`` says, and whether the agent is ready."""

from __future__ import annotations

import os
from typing import Any, Final

from pyagent import __version__
from pyagent.agent.enforce import Enforced
from pyagent.agent.mirror import Mirror
from pyagent.agent.options import AgentOptions

#: Seconds that the datastore may be away, and that a server may be silent, before the agent is not ready.
AWAY_S: Final = 30.0
_SILENT_S: Final = 180.0
#: How many interfaces a reason names.
_NAMED: Final = 5


def standing(options: AgentOptions, enforced: Enforced, observed: str, mirror: Mirror) -> dict[str, Any]:
    """What ``status.json`` says; ``observed`` is the digest that the last pass went by."""
    return {
        "node": options.node,
        "instance": options.instance,
        "version": __version__,
        "pid": os.getpid(),
        "ready": not enforced.problem and not enforced.restored,
        "protected": enforced.protected,
        "generation": enforced.generation,
        "observed": observed,
        "datastoreConnected": mirror.connected,
        "restored": enforced.restored,
        "drifts": enforced.drifts,
        "lastDrift": enforced.last_drift,
        "problem": enforced.problem,
        "broken": dict(mirror.broken),
        "interfaces": [
            {
                "name": report.interface,
                "direction": report.direction.name.lower(),
                "mode": report.mode,
                "error": report.error,
                "overtakenBy": list(report.overtaken_by),
            }
            for report in enforced.interfaces
        ],
        "xdp": [
            {
                "name": report.interface,
                "mode": report.mode,
                "heldBy": report.held_by,
                "error": report.error,
            }
            for report in enforced.xdp
        ],
        "excluded": enforced.excluded,
        "uncovered": list(enforced.uncovered),
        "unfiltered": enforced.unfiltered,
        "warnings": list(enforced.warnings),
    }


def why_not_ready(enforced: Enforced | None, mirror: Mirror) -> str:
    """Why nobody should count on the newest policy being in force here; empty: they may.

    What one invalid policy or a full flow table does is no reason: an agent that is not ready is not replaced
    in an update of all nodes either.
    """
    if enforced is None:
        return "the first pass is not done yet"
    overtaken = sorted({report.interface for report in enforced.interfaces if report.overtaken_by})
    away = mirror.away_for()
    for wrong, reason in (
        (enforced.restored, "restored: the policy of an earlier run is in force, for want of a datastore"),
        (enforced.problem, f"degraded: {enforced.problem}"),
        (not mirror.synced, "not synced: the datastore has not told everything yet"),
        (enforced.uncovered, f"uncovered: {_some(enforced.uncovered)}"),
        (overtaken, f"degraded: programs of others run before ours on {_some(overtaken)}"),
        (away > AWAY_S, f"datastore away for {away:.0f} s"),
        (mirror.staleness > _SILENT_S, f"datastore silent for {mirror.staleness:.0f} s"),
    ):
        if wrong:
            return reason
    return ""


def _some(names: tuple[str, ...] | list[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
