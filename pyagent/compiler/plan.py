"""What a node's tables ask, numbered: address sets, sides, conditions; shared by all tables of one
generation."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Generic, TypeVar

from pyagent.calc.view import AddressSet, L4Match, NodeView, PolicyView, RuleView, Side, TableView
from pyagent.compiler.canvas import Place
from pyagent.compiler.layer4 import Spans, conditions
from pyagent.compiler.redirected import redirections

#: Sets that an address must be in, and sets that it must not be in, by number.
SideKey = tuple[tuple[int, ...], tuple[int, ...]]
#: Source side and destination side by number, IP version or None.
AddressCondition = tuple[int, int, int | None]
#: Cells and source ports by number.
L4Condition = tuple[int, int]

K = TypeVar("K", bound=Hashable)


class _Numbers(dict[K, int]):
    def __missing__(self, key: K) -> int:
        self[key] = number = len(self)
        return number


class Numbering(Generic[K]):
    """Numbers keys from 0 in the order they are first met; ``of`` gives the number of a key."""

    def __init__(self) -> None:
        self._numbers: _Numbers[K] = _Numbers()
        # The dictionary's own method: asked for several numbers of each rule, Python's calls would cost most.
        self.of: Callable[[K], int] = self._numbers.__getitem__

    def __len__(self) -> int:
        return len(self._numbers)

    def keys(self) -> list[K]:
        """All keys by number."""
        return list(self._numbers)


def policies(table: TableView) -> Iterator[PolicyView]:
    """All policies of a table in the order a packet meets them, staged ones and profiles too."""
    for tier in table.tiers:
        yield from tier.policies
    yield from table.profiles


class Plan:
    """Reads a view once. Equal parts are looked up by identity first: calc hands out one object for equal
    parts."""

    def __init__(self, view: NodeView) -> None:
        self.sets: list[AddressSet] = []
        self.sides: Numbering[SideKey] = Numbering()
        self.addresses: Numbering[AddressCondition] = Numbering()
        self.cells: Numbering[Spans] = Numbering()
        self.ports: Numbering[Spans] = Numbering()
        self.layer4: Numbering[L4Condition] = Numbering()
        #: Sets that may be equal, by some of their content.
        self._alike: dict[object, list[int]] = {}
        #: The place in ``sets`` of every address set of the view, by its identity.
        self.known_sets: dict[int, int] = {}
        self._known_sides: dict[int, int] = {}
        self._known_l4: dict[int, list[int]] = {}
        self._places: dict[int, list[Place]] = {}
        # The view outlives the plan, or an identity could be reused.
        self.view = view
        self.host, self.nodes = self.set_number(view.host), self.set_number(view.nodes)
        self.redirections = redirections(view)
        for table in self._tables():
            for policy in policies(table):
                for rule in policy.rules:
                    self.places(rule)

    def _tables(self) -> Iterator[TableView]:
        for endpoint in self.view.endpoints:
            yield from endpoint.tables.values()
        if self.redirections is not None:
            yield self.redirections

    def places(self, rule: RuleView) -> list[Place]:
        """The (address condition, layer 4 condition) pairs that make the rule match."""
        known = self._places.get(id(rule))
        if known is None:
            known = self._places[id(rule)] = []
            for match in rule.matches:
                address = self.addresses.of(
                    (self._side(match.source), self._side(match.destination), match.version)
                )
                layer4 = self._known_l4.get(id(match.l4)) or self._layer4(match.l4)
                known += [(address, l4) for l4 in layer4]
        return known

    def set_number(self, addresses: AddressSet) -> int:
        """The set's place in ``sets``; sets of equal content share one."""
        known = self.known_sets.get(id(addresses))
        if known is None:
            known = self.known_sets[id(addresses)] = self._number_of(addresses)
        return known

    def _number_of(self, addresses: AddressSet) -> int:
        """By content; to compare few is cheaper than to hash thousands of networks."""
        v4, v6 = addresses.v4, addresses.v6
        alike = self._alike.setdefault((len(v4), len(v6), v4[:1], v4[-1:], v6[:1], v6[-1:]), [])
        for number in alike:
            if self.sets[number].v4 == v4 and self.sets[number].v6 == v6:
                return number
        alike.append(len(self.sets))
        self.sets.append(addresses)
        return alike[-1]

    def _side(self, side: Side) -> int:
        known = self._known_sides.get(id(side))
        if known is None:
            key = tuple(map(self.set_number, side.all_of)), tuple(map(self.set_number, side.none_of))
            known = self._known_sides[id(side)] = self.sides.of(key)
        return known

    def _layer4(self, l4: L4Match) -> list[int]:
        known = self._known_l4.get(id(l4))
        if known is None:
            pairs = [(self.cells.of(cells), self.ports.of(ports)) for cells, ports in conditions(l4)]
            known = self._known_l4[id(l4)] = [self.layer4.of(pair) for pair in pairs]
        return known

    def costliest(self, networks: bool) -> str:
        """The policy with the most pairs of address and layer 4 conditions; ``networks``: where room for
        addresses counts too, of those and the networks that it names."""
        costs: dict[str, int] = {}
        for table in self._tables():
            for policy in policies(table):
                costs[policy.name] = max(costs.get(policy.name, 0), self._cost(policy.rules, networks))
        return max(costs, key=lambda name: costs[name], default="")

    def _cost(self, rules: Sequence[RuleView], networks: bool) -> int:
        places = [place for rule in rules for place in self.places(rule)]
        addresses = {address for address, _ in places}
        pairs = len(addresses) * len({l4 for _, l4 in places})
        return pairs + self._networks(addresses) if networks else pairs

    def _networks(self, addresses: set[int]) -> int:
        """How many networks the sets of these address conditions have."""
        conditions_by_number, sides = self.addresses.keys(), self.sides.keys()
        asked = {side for number in addresses for side in conditions_by_number[number][:2]}
        sets = {number for side in asked for part in sides[side] for number in part}
        return sum(len(self.sets[number].v4) + len(self.sets[number].v6) for number in sets)
