"""The packets that each rule of a table matches, as cells that no rule tells apart.

Rows are pairs of addresses, columns are protocols with ports or types: the fields that the compiler makes
its tables from, so that what lint says of a rule is what the compiled table does with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pyagent.calc.view import NodeView, RuleView, TableView
from pyagent.compiler.addresses import classify_addresses
from pyagent.compiler.layer4 import CELLS, PORTS, classify_field
from pyagent.compiler.plan import Plan, policies
from pyagent.compiler.product import NUMBERS_MAX, Product, product
from pyagent.compiler.table import side_bits

Mask = npt.NDArray[np.bool_]
Bits = npt.NDArray[np.uint8]

#: Pairs of classes that are looked at, at most; a table beyond it is not compared.
PAIRS_MAX: Final = 1 << 22
EVERYTHING: Final = slice(None)


class Fields:
    """The classes of all fields of one node's tables."""

    def __init__(self, view: NodeView) -> None:
        self.plan = Plan(view)
        self.families = classify_addresses(self.plan.sets)
        self.sides = tuple(side_bits(self.plan.sides.keys(), family.classes) for family in self.families)
        self.cells = classify_field(self.plan.cells.keys(), CELLS, "layer 4 classes").classes
        self.ports = classify_field(self.plan.ports.keys(), PORTS, "source-port classes").classes


@dataclass(frozen=True, slots=True)
class Region:
    """Some cells of a piece: the rows that have any, and which cells of those rows."""

    rows: npt.NDArray[np.intp]
    cells: Mask


class Regions:
    """The cells of one table. Raises CapacityError if there are too many to compare."""

    def __init__(self, table: TableView, fields: Fields) -> None:
        plan = fields.plan
        rules = [rule for policy in policies(table) for rule in policy.rules]
        places = {id(rule): plan.places(rule) for rule in rules}
        addresses = sorted({address for pairs in places.values() for address, _ in pairs})
        layer4 = sorted({l4 for pairs in places.values() for _, l4 in pairs})
        self._rows = _unpacked(_rows(addresses, fields), len(addresses))
        self._columns = _unpacked(_columns(layer4, fields).holds, len(layer4))
        row_of, column_of = _numbers(addresses), _numbers(layer4)
        self._places = {
            rule: [(row_of[address], column_of[l4]) for address, l4 in pairs]
            for rule, pairs in places.items()
        }

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return len(self._rows) * len(self._columns)

    def size(self, rules: Iterable[RuleView]) -> int:
        """How many cells the regions of some rules have together, all cells of their rows."""
        return sum(int(self._chosen(rule).sum()) for rule in rules) * len(self._columns)

    def pieces(self, count: int) -> Iterator[slice]:
        """The rows in about so many pieces."""
        step = max(1, -(-len(self._rows) // count))
        for low in range(0, len(self._rows), step):
            yield slice(low, low + step)

    def _chosen(self, rule: RuleView, piece: slice = EVERYTHING) -> Mask:
        """The rows of a piece that have cells of a rule."""
        conditions = sorted({row for row, _ in self._places[id(rule)]})
        chosen: Mask = np.logical_or.reduce(self._rows[piece][:, conditions], axis=1, initial=False)
        return chosen

    def shape(self, piece: slice) -> tuple[int, int]:
        """Rows and columns of a piece."""
        return len(self._rows[piece]), len(self._columns)

    def of(self, rule: RuleView, piece: slice) -> Region:
        """The cells of a piece that a rule matches."""
        rows = self._rows[piece]
        chosen = np.flatnonzero(self._chosen(rule, piece))
        cells = np.zeros((len(chosen), len(self._columns)), dtype=np.bool_)
        for row, column in self._places[id(rule)]:
            cells |= rows[chosen, row, None] & self._columns[None, :, column]
        return Region(chosen, cells)


def _numbers(keys: Sequence[int]) -> dict[int, int]:
    return {key: number for number, key in enumerate(keys)}


def _rows(numbers: Sequence[int], fields: Fields) -> Bits:
    """Distinct pairs of source and destination, of both families, one packed row of conditions each."""
    keys = fields.plan.addresses.keys()
    conditions = [keys[number] for number in numbers]
    parts = []
    for family, sides in zip(fields.families, fields.sides, strict=True):
        source = _picked(sides, [source for source, _, _ in conditions])
        for index, (_, _, version) in enumerate(conditions):
            if version not in {None, family.version}:
                source[index] = 0
        destination = _picked(sides, [destination for _, destination, _ in conditions])
        count = family.classes.count
        parts.append(product(source, count, destination, count, ("rows", PAIRS_MAX, NUMBERS_MAX)).holds)
    return np.unique(np.concatenate(parts), axis=0)


def _columns(numbers: Sequence[int], fields: Fields) -> Product:
    keys = fields.plan.layer4.keys()
    cells = _picked(fields.cells.members, [keys[number][0] for number in numbers])
    ports = _picked(fields.ports.members, [keys[number][1] for number in numbers])
    limits = ("columns", PAIRS_MAX, NUMBERS_MAX)
    return product(cells, fields.cells.count, ports, fields.ports.count, limits)


def _picked(bits: Bits, numbers: Sequence[int]) -> Bits:
    """Some rows; an empty one where there are none, for a table without rules has a cell, too."""
    return bits[list(numbers)] if numbers else np.zeros((1, bits.shape[1]), dtype=np.uint8)


def _unpacked(holds: Bits, count: int) -> Mask:
    return np.unpackbits(holds, axis=1, count=count).astype(np.bool_) if count else np.zeros((1, 0), np.bool_)
