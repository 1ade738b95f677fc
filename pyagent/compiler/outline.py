"""What an image was made of, for people: policies as they are asked, and the classes in each address set.

Kept beside the image, never in it. Classes are stored instead of networks: the image's own tries say which
addresses a class has, however many networks a set was written with.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from pyagent.calc.view import AddressSet, L4Match, Match, NodeView, PolicyView, RuleView, Side, TableView
from pyagent.compiler.addresses import Family

T = TypeVar("T")


def outline(
    view: NodeView, families: tuple[Family, Family], set_number: Callable[[AddressSet], int]
) -> dict[str, Any]:
    """The metadata ``policies``, ``sides``, ``layer4``, ``endpoints`` and ``members``, as plain builtins.

    ``set_number``: an address set's place among the metadata's ``sets``. Everything else refers to each other
    by place too.
    """
    return {**_Outline(view, set_number).build(), "members": [_members(family) for family in families]}


def unpack_members(packed: dict[str, Any]) -> bytes:
    """Rows of packed bits, one per set, as long as ``packed`` says: bit ``c`` (the top one of a byte first)
    tells whether the family's class ``c`` lies in the set."""
    return zlib.decompress(base64.b64decode(packed["bits"]))


def _members(family: Family) -> dict[str, Any]:
    rows = family.classes.members
    bits = base64.b64encode(zlib.compress(rows.tobytes(), 1)).decode()
    return {"version": family.version, "base": family.base, "row": rows.shape[1], "bits": bits}


class _Interned(Generic[T]):
    """Describes each object once; the same object has the same place."""

    def __init__(self, describe: Callable[[T], Any]) -> None:
        self.all: list[Any] = []
        self._describe = describe
        self._places: dict[Hashable, int] = {}

    def __call__(self, thing: T) -> int:
        place = self._places.get(id(thing))
        if place is None:
            described = self._describe(thing)
            place = self._places[id(thing)] = len(self.all)
            self.all.append(described)
        return place


class _Outline:
    def __init__(self, view: NodeView, set_number: Callable[[AddressSet], int]) -> None:
        self._view, self._set_number = view, set_number
        self._sides: _Interned[Side] = _Interned(self._side)
        self._layer4: _Interned[L4Match] = _Interned(_l4)
        self._policies: _Interned[PolicyView] = _Interned(self._policy)

    def build(self) -> dict[str, Any]:
        endpoints = [
            {
                "name": endpoint.name,
                "tables": {kind.name.lower(): self._table(table) for kind, table in endpoint.tables.items()},
            }
            for endpoint in sorted(self._view.endpoints, key=lambda endpoint: endpoint.slot)
        ]
        return {
            "endpoints": endpoints,
            "policies": self._policies.all,
            "sides": self._sides.all,
            "layer4": self._layer4.all,
        }

    def _table(self, table: TableView) -> dict[str, Any]:
        tiers = [
            {
                "name": tier.name,
                "policies": [self._policies(policy) for policy in tier.policies],
                "end": str(tier.end),
                "end_key": tier.end_ref.key,
            }
            for tier in table.tiers
        ]
        return {
            "tiers": tiers,
            "profiles": [self._policies(profile) for profile in table.profiles],
            "end": table.end.name.capitalize(),
            "end_key": table.end_ref.key,
        }

    def _policy(self, policy: PolicyView) -> dict[str, Any]:
        return {
            "name": policy.name,
            "staged": policy.staged,
            "rules": [self._rule(rule) for rule in policy.rules],
        }

    def _rule(self, rule: RuleView) -> dict[str, Any]:
        return {
            "key": rule.ref.key,
            "place": str(rule.ref),
            "action": str(rule.action),
            "matches": [self._match(match) for match in rule.matches],
        }

    def _match(self, match: Match) -> list[int]:
        """Source, destination, layer 4 by place, and the IP version, 0 for both."""
        sides = self._sides(match.source), self._sides(match.destination)
        return [*sides, self._layer4(match.l4), match.version or 0]

    def _side(self, side: Side) -> dict[str, Any]:
        """Names as written, and the set's place: sets of equal content share one."""
        return {
            "all_of": [[each.name, self._set_number(each)] for each in side.all_of],
            "none_of": [[each.name, self._set_number(each)] for each in side.none_of],
        }


def _l4(match: L4Match) -> dict[str, Any]:
    """The conditions that there are."""
    found: dict[str, Any] = {}
    if match.protocols is not None:
        found["protocols"] = sorted(match.protocols)
    if match.not_protocols:
        found["not_protocols"] = sorted(match.not_protocols)
    for name in ("ports", "source_ports"):
        ranges = getattr(match, name)
        if ranges is not None:
            found[name] = [list(each) for each in ranges]
        if unwanted := getattr(match, f"not_{name}"):
            found[f"not_{name}"] = [list(each) for each in unwanted]
    for name in ("icmp", "not_icmp"):
        if (wanted := getattr(match, name)) is not None:
            found[name] = list(wanted)
    return found
