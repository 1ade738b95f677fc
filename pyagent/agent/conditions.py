"""What a pass means for each host endpoint of this node, as the words of its status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pyagent import __version__
from pyagent.agent.enforce import NO_ENDPOINT, Enforced
from pyagent.model.status import DEGRADED, PROTECTED, Condition, HostEndpointStatus, Truth

#: How many interfaces or resources a message names; the rest are counted.
_NAMED: Final = 5
#: A status stays small: a host has hundreds of pods' interfaces.
_LISTED: Final = 32
#: Percent of a map's capacity from which it is reported.
_PRESSURE: Final = 50
_FULL: Final = 90


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a pass does not know. ``observed``: digest of the policies in force.

    ``broken``: ``kind/name`` of resources whose last valid form is in force. ``rescue``: everything passes.
    ``pressure``: map -> percent of its capacity in use.
    """

    observed: str = ""
    broken: tuple[str, ...] = ()
    rescue: bool = False
    pressure: Mapping[str, int] = field(default_factory=dict)


def status_of(endpoint: str, enforced: Enforced, around: Surroundings) -> HostEndpointStatus:
    """The status of one host endpoint after a pass; its conditions without times."""
    interfaces = enforced.covered.get(endpoint, ())
    failed = {
        report.interface: report.error or "not attached"
        for report in enforced.interfaces
        if not report.attached and report.interface in interfaces
    }
    return HostEndpointStatus(
        conditions=(_protected(enforced, around, interfaces, failed), _degraded(enforced, around)),
        agent_version=__version__,
        observed=around.observed,
        generation=enforced.generation,
        interfaces=tuple(interfaces[:_LISTED]),
        unprotected=dict(sorted(failed.items())[:_LISTED]),
        excluded=dict(sorted(_left_out(enforced).items())[:_LISTED]),
        pressure={
            name: _rounded(percent)
            for name, percent in sorted(around.pressure.items())
            if percent > _PRESSURE
        },
    )


def _left_out(enforced: Enforced) -> dict[str, str]:
    """Interfaces that are not filtered, with the reason. Workloads' come and go with every pod: not those."""
    alone = {name: why for name, why in enforced.unfiltered.items() if why == NO_ENDPOINT}
    return {**enforced.excluded, **alone}


def _protected(
    enforced: Enforced, around: Surroundings, interfaces: tuple[str, ...], failed: Mapping[str, str]
) -> Condition:
    unprotected = [f"{name}: {reason}" for name, reason in sorted(failed.items())]
    for wrong, reason, message in (
        (not enforced.generation, "NoImage", enforced.problem or "no policy has been put in force yet"),
        (enforced.problem, enforced.cause or "PassFailed", enforced.problem),
        (
            enforced.restored,
            "Restored",
            "no datastore since the start: the policy of an earlier run is in force",
        ),
        (failed, "InterfaceUnprotected", _some(unprotected)),
        (around.rescue, "Rescue", "hepctl rescue open: every packet passes for a while"),
        (not interfaces, "NoInterface", "no interface of this host is this endpoint's"),
    ):
        if wrong:
            return Condition(type=PROTECTED, status=Truth.FALSE, reason=reason, message=message)
    return Condition(type=PROTECTED, status=Truth.TRUE, reason="Covered")


def _degraded(enforced: Enforced, around: Surroundings) -> Condition:
    overtaken = sorted({report.interface for report in enforced.interfaces if report.overtaken_by})
    full = sorted(name for name, percent in around.pressure.items() if percent >= _FULL)
    for reason, found, words in (
        ("Overtaken", overtaken, "programs of others run before ours"),
        ("LastGoodKept", sorted(around.broken), "invalid, the last valid form is in force"),
        ("MapPressure", full, "almost full"),
    ):
        if found:
            return Condition(
                type=DEGRADED, status=Truth.TRUE, reason=reason, message=f"{_some(found)}: {words}"
            )
    return Condition(type=DEGRADED, status=Truth.FALSE, reason="AsExpected")


def _some(texts: Iterable[str]) -> str:
    named = list(texts)
    rest = len(named) - _NAMED
    return ", ".join(named[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _rounded(percent: int) -> int:
    """Up to the next ten: a value that moves all the time would be written all the time."""
    return -(-percent // 10) * 10
