"""The controller's metrics."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from typing import Final

from pyagent.model.status import PolicyStatus
from pyagent.telemetry import Family, Histogram, Kind, process_families

_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: Results of writes.
WRITTEN: Final = "written"
FAILED: Final = "failed"


class Meters:
    """What is counted, from any thread, and what stands somewhere else and is only looked at."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writes: Counter[tuple[str, str]] = Counter()
        self.leading = False
        self.reconciled = Histogram(
            "autohep_controller_reconcile_duration_seconds",
            "Time of a pass over all nodes and host endpoints.",
            _BOUNDS,
        )
        self.judged = Histogram(
            "autohep_controller_status_duration_seconds",
            "Time of working out the statuses of all policies.",
            _BOUNDS,
        )
        self.events_dropped = 0
        #: Nodes that are protected, and nodes there are.
        self.protected = (0, 0)
        self._policies: tuple[PolicyStatus, ...] = ()

    def count_write(self, kind: str, result: str, times: int = 1) -> None:
        """Something was written, or could not be."""
        with self._lock:
            self._writes[kind, result] += times

    def note_policies(self, policies: Iterable[PolicyStatus]) -> None:
        """What stands on the policies now."""
        self._policies = tuple(policies)

    def families(self) -> Iterable[Family]:
        """Everything, as it is now."""
        whole, nodes = self.protected
        yield Family("autohep_controller_leader", Kind.GAUGE, "1 on the controller that works.").add(
            int(self.leading)
        )
        yield self.reconciled.family()
        yield self.judged.family()
        yield self._writes_family()
        yield Family(
            "autohep_controller_events_dropped_total", Kind.COUNTER, "Events left out in a storm of them."
        ).add(self.events_dropped)
        yield Family("autohep_nodes", Kind.GAUGE, "Nodes with host endpoints.").add(nodes)
        yield Family("autohep_nodes_protected", Kind.GAUGE, "Those whose agents report them protected.").add(
            whole
        )
        yield self._conditions_family()
        yield from process_families()

    def _writes_family(self) -> Family:
        family = Family(
            "autohep_controller_writes_total",
            Kind.COUNTER,
            "Objects and statuses written, by result.",
        )
        with self._lock:
            writes = sorted(self._writes.items())
        for (kind, result), times in writes:
            family.add(times, {"kind": kind, "result": result})
        return family

    def _conditions_family(self) -> Family:
        family = Family("autohep_policies", Kind.GAUGE, "Policies by condition.")
        found = Counter(
            (condition.type, condition.status.value)
            for status in self._policies
            for condition in status.conditions
        )
        for (condition, status), number in sorted(found.items()):
            family.add(number, {"condition": condition, "status": status})
        return family
