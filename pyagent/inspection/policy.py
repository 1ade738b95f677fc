"""The policy in force at one interface: tiers, policies and rules in their order, with hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyagent.bpf.pins import Pins
from pyagent.dataplane.hits import HITS, HitTotals, Total, Totals, verdicts_of
from pyagent.errors import AutohepError
from pyagent.inspection.held import Held
from pyagent.inspection.interfaces import find_interface
from pyagent.inspection.pinned import Pinned
from pyagent.inspection.words import match_words

#: What ``hepctl bpf policy dump`` takes for a direction, and the tables that are asked there, in their order.
DIRECTIONS: Final = {
    "ingress": ("untracked_ingress", "prednat", "forward_ingress", "local_ingress"),
    "egress": ("untracked_egress", "forward_egress", "local_egress"),
    "xdp": ("untracked_ingress",),
}
DIRECTIONS_ALL: Final = "all"
_NONE: Final = Total()


@dataclass(frozen=True, slots=True)
class Hits:
    """Totals, if they are known: policies are told without them too."""

    totals: Totals | None

    def rule(self, key: int) -> dict[str, Any]:
        """Packets and bytes that a rule or an end judged."""
        return self._shown(None if self.totals is None else self.totals.rules.get(key, _NONE))

    def staged(self, policy: str) -> dict[str, Any]:
        """Packets by the action that a staged policy would have taken."""
        if self.totals is None:
            return {}
        found = {name.rpartition("/"): total for name, total in self.totals.staged.items()}
        return {action: total.packets for (owner, _, action), total in found.items() if owner == policy}

    @staticmethod
    def _shown(total: Total | None) -> dict[str, Any]:
        return {} if total is None else {"packets": total.packets, "bytes": total.bytes}


def live_hits(pins: Pins, held: Held, state_directory: Path) -> Totals:
    """All totals as they are now, for the image in force. Raises AutohepError if the pins are not there."""
    with Pinned(pins).open("hits") as hits:
        verdicts: Sequence[Mapping[str, Any]]
        verdicts = held.metadata["verdicts"] if held.metadata else verdicts_of(bytes(held.walker.whole))
        return HitTotals(hits, state_directory / HITS).current(held.generation, list(map(dict, verdicts)))


def dump_live(pins: Pins, state_directory: Path, interface: str, direction: str) -> dict[str, Any]:
    """The policy in force at an interface of this host. Raises AutohepError if the interface is unknown."""
    held = Held.live(pins, state_directory)
    entry = find_interface(Pinned(pins), interface)
    slot = entry.slot(held.generation & 1)
    if entry.excluded:
        raise AutohepError(f"interface {interface} is excluded by configuration: nothing is judged there")
    if slot is None:
        raise AutohepError(f"no host endpoint applies to interface {interface}: everything passes there")
    hits = Hits(live_hits(pins, held, state_directory))
    return {"interface": interface, **dump(held, slot, direction, hits)}


def dump(held: Held, slot: int, direction: str, hits: Hits) -> dict[str, Any]:
    """The policy of one endpoint of an image."""
    known = held.known()
    if not 0 <= slot < len(known["endpoints"]):
        raise AutohepError(f"{held.place} has no endpoint in slot {slot}")
    endpoint = known["endpoints"][slot]
    wanted = [
        (way, name)
        for way, names in DIRECTIONS.items()
        for name in names
        if direction == way or (direction == DIRECTIONS_ALL and way != "xdp")
    ]
    tables = [
        {"table": name, "direction": way, **_table(held, endpoint["tables"][name], hits)}
        for way, name in wanted
        if name in endpoint["tables"]
    ]
    return {
        "endpoint": endpoint["name"],
        "slot": slot,
        "generation": held.generation,
        "tables": tables,
    }


def slot_of(held: Held, endpoint: str) -> int:
    """The slot of an endpoint of an image by its name."""
    names = [each["name"] for each in held.known()["endpoints"]]
    if endpoint not in names:
        raise AutohepError(f"{held.place} has no endpoint {endpoint} (it has: {', '.join(names) or 'none'})")
    return names.index(endpoint)


def _table(held: Held, table: dict[str, Any], hits: Hits) -> dict[str, Any]:
    tiers = [
        {
            "name": tier["name"],
            "policies": [_policy(held, number, hits) for number in tier["policies"]],
            "end": {"action": tier["end"], **hits.rule(tier["end_key"])},
        }
        for tier in table["tiers"]
    ]
    return {
        "tiers": tiers,
        "profiles": [_policy(held, number, hits) for number in table["profiles"]],
        "end": {"action": table["end"], **hits.rule(table["end_key"])},
    }


def _policy(held: Held, number: int, hits: Hits) -> dict[str, Any]:
    policy = held.known()["policies"][number]
    found = {
        "name": policy["name"],
        "staged": policy["staged"],
        "rules": [_rule(held, rule, hits, counted=not policy["staged"]) for rule in policy["rules"]],
    }
    return {**found, "stagedHits": hits.staged(policy["name"])} if policy["staged"] else found


def _rule(held: Held, rule: dict[str, Any], hits: Hits, *, counted: bool) -> dict[str, Any]:
    known = held.known()
    numbers = dict.fromkeys(
        number
        for match in rule["matches"]
        for side in match[:2]
        for _, number in (*known["sides"][side]["all_of"], *known["sides"][side]["none_of"])
    )
    sets = [
        {
            "name": held.members.name(number),
            "classes": held.members.classes(number),
            "networks": held.members.networks(number),
        }
        for number in numbers
    ]
    return {
        "place": rule["place"],
        "key": f"{rule['key']:08x}",
        "action": rule["action"],
        "conditions": [match_words(known, match) for match in rule["matches"]],
        "sets": sets,
        **(hits.rule(rule["key"]) if counted else {}),
    }
