"""The agent's metrics: what the kernel counted, what passes came to, how the datastore is."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pyagent import __version__, abi
from pyagent.abi import Direction, Reason
from pyagent.agent.enforce import Enforced
from pyagent.agent.mirror import Mirror
from pyagent.agent.state import StateDirectory
from pyagent.bpf.maps import Map, possible_cpus
from pyagent.compiler.saved import load_metadata
from pyagent.dataplane import Dataplane
from pyagent.dataplane.control import Control
from pyagent.dataplane.hits import HITS, HitTotals
from pyagent.errors import AutohepError
from pyagent.telemetry import Family, Histogram, Kind, process_families

#: Upper bounds of the time that a new generation takes to be in force; seconds.
_APPLY_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: Interfaces that are named each; a host of many pods must not make as many series.
_NAMED_MAX: Final = 64
#: Maps whose elements are counted. Large ones are estimated, see Map.estimate.
_COUNTED: Final = ("flows4", "flows6", "fragments", "ifstate_more", "failsafe_nets")
_LOST_AT: Final = 2  # struct event_budget as u64: window, used with pad, lost
_REASONS: Final = {int(reason): reason.name.lower() for reason in Reason if reason is not Reason.NONE}

Counts = npt.NDArray[np.uint64]


class Meter:
    """Collects what is exposed. ``rules_max``: how many rules' hits at most; 0: none.

    :meth:`families` blocks for milliseconds and may be called from any thread, one at a time; the other
    methods are the agent's own. Close it.
    """

    def __init__(
        self, dataplane: Dataplane, state: StateDirectory, mirror: Mirror, rules_max: int = 0
    ) -> None:
        self._dataplane, self._state, self._mirror = dataplane, state, mirror
        self._rules_max = rules_max
        self._packets = PacketCounts(dataplane.map("counters"), dataplane.map("ifstate"))
        self._control = Control(Map.open(dataplane.pins.map("control")))
        self._applied = Histogram(
            "autohep_apply_duration_seconds",
            "Time from a change to the generation in force that follows from it.",
            _APPLY_BOUNDS,
        )
        self._enforced = Enforced()
        self._passes = {"done": 0, "failed": 0}
        self._lock = threading.Lock()
        self._metadata: Mapping[str, Any] = {}

    def close(self) -> None:
        """Let go of the maps."""
        self._control.close()

    def passed(self, enforced: Enforced, *, anew: bool) -> None:
        """A pass came to this; not ``anew``: to the same as the one before it."""
        with self._lock:
            self._enforced = enforced
            self._passes["failed" if enforced.problem else "done"] += 1
        if anew and enforced.took:
            self._applied.observe(enforced.took)

    @property
    def rescue(self) -> bool:
        """Whether everything passes for a while."""
        return self._control.rescue_left() > 0

    def pressure(self) -> dict[str, int]:
        """Percent of their capacity that maps are full by. Blocks for milliseconds."""
        return {
            name: min(100, -(-100 * entries // capacity))
            for name, (entries, capacity) in self._sizes().items()
        }

    def families(self) -> list[Family]:
        """Everything, as it is now."""
        with self._lock:
            enforced, passes = self._enforced, dict(self._passes)
        return [
            *self._state_of(enforced, passes),
            *self._datastore(),
            self._applied.family(),
            self._judged(),
            *self._maps(),
            *self._rules(),
            *process_families(),
        ]

    def _state_of(self, enforced: Enforced, passes: Mapping[str, int]) -> Iterator[Family]:
        yield _gauge("build_info", "Version of the agent and of its layouts; always 1.").add(
            1, {"version": __version__, "abi": str(abi.ABI_VERSION)}
        )
        yield _gauge("policy_generation", "Generation of the image in force; 0: none.").add(
            enforced.generation
        )
        yield _gauge("protected", "1: every covered interface has the programs, with the newest policy.").add(
            enforced.protected and not enforced.restored
        )
        yield _gauge("restored", "1: the policy of an earlier run is in force, for want of a datastore.").add(
            enforced.restored
        )
        yield _gauge("rescue_open", "1: every packet passes, by hepctl rescue.").add(self.rescue)
        total = _counter("passes_total", "Passes by outcome; a failed one leaves what was in force.")
        for outcome, count in passes.items():
            total.add(count, {"outcome": outcome})
        yield total
        yield _counter(
            "selfcheck_failures_total", "Times that the kernel held something else than was put."
        ).add(enforced.drifts)
        yield from _interfaces(enforced)

    def _datastore(self) -> Iterator[Family]:
        mirror = self._mirror
        yield _gauge("api_connected", "1: what is known of the datastore is up to date.").add(
            mirror.connected
        )
        yield _gauge(
            "api_staleness_seconds", "Since the API server was last heard of; a minute is normal."
        ).add(mirror.staleness)
        yield _gauge("resources_broken", "Invalid resources; their last valid form is in force.").add(
            len(mirror.broken)
        )

    def _judged(self) -> Family:
        family = _counter("packets_total", "Packets at covered interfaces by verdict and reason.")
        counts = self._packets.read()
        for direction in Direction:
            for number, reason in _REASONS.items():
                if count := int(counts[direction, number]):
                    verdict = "deny" if number >= abi.REASON_DROPPED else "allow"
                    labels = {"direction": direction.name.lower(), "verdict": verdict, "reason": reason}
                    family.add(count, labels)
        return family

    def _sizes(self) -> dict[str, tuple[int, int]]:
        """Entries and capacity by map."""
        found = {}
        for name in _COUNTED:
            counted = self._dataplane.map(name)
            found[name] = counted.estimate()[0], counted.info.max_entries
        found["ifstate"] = self._packets.interfaces, self._dataplane.map("ifstate").info.max_entries
        found["images"] = len(self._dataplane.image_in_force()), self._dataplane.image_bytes
        return found

    def _maps(self) -> Iterator[Family]:
        entries = _gauge(
            "map_entries", "Elements of a map (images: bytes of the one in force); large: estimated."
        )
        capacity = _gauge("map_capacity", "What the map has room for, in the same units.")
        sizes = self._sizes()
        for name, (have, room) in sizes.items():
            entries.add(have, {"map": name})
            capacity.add(room, {"map": name})
        yield entries
        yield capacity
        flows = _gauge(
            "flow_table_entries", "Flows known, stale ones included; estimated where there are many."
        )
        for family, name in (("ipv4", "flows4"), ("ipv6", "flows6")):
            flows.add(sizes[name][0], {"family": family})
        yield flows
        values = self._dataplane.map("event_budget").sum_per_cpu(struct.pack("=I", 0))
        yield _counter(
            "events_lost_total", "Events of packets that found no room, or were more than 500/s and CPU."
        ).add(values[_LOST_AT] if values else 0)

    def _rules(self) -> Iterator[Family]:
        if not self._rules_max:
            return
        family = _counter("rule_hits_total", "Packets that a rule decided on, or that a Log rule matched.")
        for rule, packets in self._hits():
            policy, _, rest = rule["place"].rpartition("/")
            direction, _, number = rest.partition("[")
            labels = {
                "policy": policy,
                "rule": number.rstrip("]"),
                "direction": direction,
                "action": rule["action"],
            }
            family.add(packets, labels)
        yield family

    def _hits(self) -> Iterator[tuple[Mapping[str, Any], int]]:
        """The rules with the most hits, and their packets."""
        try:
            generation = self._dataplane.generation
            if self._metadata.get("generation") != generation:
                self._metadata = load_metadata(self._state.path)
            hits = HitTotals(self._dataplane.map("hits"), self._state.path / HITS)
            totals = hits.current(generation, self._metadata.get("verdicts", ())).rules
        except AutohepError:
            return  # no generation yet, or its names are not saved
        rules = {
            rule["key"]: rule
            for policy in self._metadata.get("policies", ())
            if not policy["staged"]
            for rule in policy["rules"]
        }
        known = [(totals[key].packets, key) for key in rules if key in totals]
        for packets, key in sorted(known, reverse=True)[: self._rules_max]:
            yield rules[key], packets


class PacketCounts:
    """Packets by direction and reason over all interfaces, which never become fewer when interfaces go."""

    def __init__(self, counters: Map, ifstate: Map) -> None:
        self._counters, self._ifstate = counters, ifstate
        self._total: Counts = np.zeros((2, abi.REASON_MAX), np.uint64)
        self._last: dict[tuple[int, int], Counts] = {}
        self._lock = threading.Lock()
        #: How many interfaces have a place of their own.
        self.interfaces = 0

    def read(self) -> Counts:
        """Packets by direction and reason so far."""
        with self._lock:
            places = self._places()
            self.interfaces = len(places) - 1
            seen = {place: self._one(place[1]) for place in places}
            for place, now in seen.items():
                before = self._last.get(place)
                # Fewer than before: counted anew, for the interface's place was given to another in between.
                begun_anew = before is None or bool((now < before).any())
                self._total += now if begun_anew or before is None else now - before
            self._last = seen
            return self._total.copy()

    def _places(self) -> list[tuple[int, int]]:
        """(ifindex, element of the counters) of each interface, and of those that share one."""
        entries = (abi.IFSTATE.unpack(value) for _, value in self._ifstate.items())
        return [(0, 0), *((entry[0], entry[6]) for entry in entries if entry[0] and entry[6])]

    def _one(self, counter: int) -> Counts:
        value = self._counters.get(struct.pack("=I", counter)) or bytes(self._counters.value_bytes)
        cells = np.frombuffer(value, np.uint64).reshape(possible_cpus(), 2, abi.REASON_MAX)
        counts: Counts = cells.sum(axis=0, dtype=np.uint64)
        return counts


def _interfaces(enforced: Enforced) -> Iterator[Family]:
    names = {report.interface for report in enforced.interfaces}
    failed = {report.interface: report for report in enforced.interfaces if not report.attached}
    overtaken = {report.interface for report in enforced.interfaces if report.overtaken_by}
    family = _gauge("interfaces", "Interfaces by what becomes of their packets.")
    for state, count in (
        ("covered", len(names) - len(failed)),
        ("unprotected", len(failed)),
        ("excluded", len(enforced.excluded)),
        ("no_endpoint", len(enforced.unfiltered)),
        ("overtaken", len(overtaken)),
    ):
        family.add(count, {"state": state})
    yield family
    each = _gauge("interface_unprotected", "1 for an interface that should have the programs and has not.")
    for name in sorted(failed)[:_NAMED_MAX]:
        each.add(1, {"interface": name, "direction": failed[name].direction.name.lower()})
    yield each


def _gauge(name: str, help: str) -> Family:  # noqa: A002 (as Family has it)
    return Family(f"autohep_{name}", Kind.GAUGE, help)


def _counter(name: str, help: str) -> Family:  # noqa: A002
    return Family(f"autohep_{name}", Kind.COUNTER, help)
