"""One policy table of the image: index arrays, combine tables and cells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pyagent.calc.view import TableView
from pyagent.compiler.addresses import Family
from pyagent.compiler.canvas import Canvas, Cells, Place, indices
from pyagent.compiler.intervals import Bits, Classes, Ints, distinct, values_in
from pyagent.compiler.layer4 import DETAILED, PORT_BASES
from pyagent.compiler.merge import Merger
from pyagent.compiler.outcome import Outcome, Outcomes
from pyagent.compiler.pages import Paged
from pyagent.compiler.paint import number_in_order, paint
from pyagent.compiler.painted import Painted, Paintings, Recipe
from pyagent.compiler.plan import Numbering, Plan, SideKey, policies
from pyagent.compiler.product import NUMBERS_MAX, Product, product
from pyagent.errors import CapacityError

#: Cells painted at a time: few enough for the cache, many enough that Python's share does not matter.
PIECE_CELLS: Final = 8 << 20
#: Bytes of a table's cells up to which each is written out; beyond, they are in pages.
DENSE_BYTES: Final = 2 << 20
#: Cells kept until equal columns are merged; two bytes each.
KEEP_CELLS: Final = 32 << 20
#: Cells painted in all; bounds the time that a policy beyond the limits can cost.
PAINT_CELLS: Final = 512 << 20

Words = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Fields:
    """The classes of all fields, shared by the tables of one generation."""

    families: tuple[Family, Family]
    sides: tuple[Bits, Bits]
    cells: Classes
    #: For each protocol with detail, the classes that a later fragment may belong to.
    fragments: list[Ints]
    ports: Classes


@dataclass(frozen=True, slots=True)
class Table:
    """Sections of a table as the image has them, but for ``cells``, whose numbers count ``outcomes``.

    ``painted``: rows and columns before equal ones were merged.
    """

    by_source: Words
    by_destination: Words
    combine_addresses: npt.NDArray[np.uint16]
    by_l4: Words
    by_source_port: Words
    combine_l4: npt.NDArray[np.uint16]
    cells: Cells | Paged
    outcomes: list[Outcome]
    painted: tuple[int, int]


def side_bits(sides: Iterable[SideKey], classes: Classes) -> Bits:
    """One packed row of classes per side."""
    sides = list(sides)
    rows = np.full((len(sides), classes.members.shape[1]), 255, dtype=np.uint8)
    for index, (all_of, none_of) in enumerate(sides):
        for number in all_of:
            rows[index] &= classes.members[number]
        for number in none_of:
            rows[index] &= ~classes.members[number]
    return rows


@dataclass(frozen=True, slots=True)
class Budget:
    """``limit``: bytes that any section of a table may take. ``dense``: bytes of its cells beyond which they
    are in pages."""

    limit: int
    dense: int


def compile_table(view: TableView, plan: Plan, fields: Fields, budget: Budget, kept: Paintings) -> Table:
    """Compile one table within ``budget``. ``kept``: see there."""
    addresses: Numbering[int] = Numbering()
    layer4: Numbering[int] = Numbering()
    address_of, layer4_of = addresses.of, layer4.of
    places: dict[int, list[Place]] = {
        id(rule): [(address_of(address), layer4_of(l4)) for address, l4 in plan.places(rule)]
        for policy in policies(view)
        for rule in policy.rules
    }
    columns = _columns(layer4.keys(), plan, fields, budget.limit)
    rows = _Rows(addresses.keys(), plan, fields, budget.limit)
    choices = [
        _fragment_columns(protocol, columns, classes)
        for protocol, classes in zip(DETAILED, fields.fragments, strict=True)
    ]
    recipe = Recipe.of(view, list(places.values()), (rows.holds, columns.holds), choices, budget.dense)
    painted = kept.find(recipe)
    if painted is None:
        merger, outcomes = _paint(view, rows.holds, columns, places, choices)
        of_columns, chosen = merger.columns()
        painted = Painted(merger.rows, of_columns, _gather(merger, chosen, budget), outcomes)
    kept.keep(recipe, painted)
    by_l4, combine_l4 = _layer4_index(columns, painted.of_columns)
    return Table(
        by_source=rows.by_source,
        by_destination=rows.by_destination,
        combine_addresses=painted.of_rows[rows.combine].astype(np.uint16),
        by_l4=by_l4,
        by_source_port=columns.right.astype(np.uint32),
        combine_l4=combine_l4,
        cells=painted.cells,
        outcomes=painted.outcomes,
        painted=(len(rows.holds), len(painted.of_columns)),
    )


def _paint(
    view: TableView, holds: Bits, columns: Product, places: dict[int, list[Place]], choices: list[Ints]
) -> tuple[Merger, list[Outcome]]:
    """Paint so many rows at a time that they stay in the processor's cache, and keep the distinct ones."""
    outcomes = Outcomes()
    number_in_order(view, outcomes)
    width = len(columns.holds)
    if len(holds) * width > PAINT_CELLS:
        raise CapacityError("cells of a table", len(holds) * width, PAINT_CELLS)
    column_places = indices(columns.holds)
    merger = Merger(KEEP_CELLS)
    step = max(1, PIECE_CELLS // width)
    room = np.empty((min(step, len(holds)), width + len(choices)), dtype=np.uint16)
    for low in range(0, len(holds), step):
        piece = holds[low : low + step]
        cells = room[: len(piece)]
        canvas = Canvas(indices(piece), column_places, cells[:, :width], outcomes)
        paint(view, canvas, lambda rule: places[id(rule)])
        canvas.favourable(choices, cells[:, width:])
        merger.add(cells)
    return merger, outcomes.all


def _gather(merger: Merger, columns: Ints, budget: Budget) -> Cells | Paged:
    """The distinct rows with the given columns; written out, if that is within the budget, or if not even
    pages have room for so many runs."""
    size = 2 * merger.distinct_rows * len(columns)
    if size > budget.dense:
        try:
            return Paged.of((part[:, columns] for part in merger.parts()), len(columns))
        except CapacityError:
            if size > budget.limit:
                raise
    cells = np.empty((merger.distinct_rows, len(columns)), dtype=np.uint16)
    low = 0
    for part in merger.parts():
        np.take(part, columns, axis=1, out=cells[low : low + len(part)], mode="clip")
        low += len(part)
    return cells


class _Rows:
    """Rows of a table: pairs of a source and a destination class; each family has its part of the combine
    table."""

    def __init__(self, numbers: list[int], plan: Plan, fields: Fields, limit: int) -> None:
        keys = plan.addresses.keys()
        conditions = [keys[number] for number in numbers]
        parts: list[Product] = []
        for family, sides in zip(fields.families, fields.sides, strict=True):
            here = np.array([version in {None, family.version} for _, _, version in conditions], dtype=bool)
            source = _rows_of(sides, [condition[0] for condition in conditions])
            source[: len(here)][~here] = 0
            destination = _rows_of(sides, [condition[1] for condition in conditions])
            count = family.classes.count
            parts.append(
                product(source, count, destination, count, ("rows of a table", limit // 2, NUMBERS_MAX))
            )
        of, first = distinct(np.concatenate([part.holds for part in parts]))
        self.holds: Bits = np.concatenate([part.holds for part in parts])[first]
        four, six = parts
        self.combine = of[np.concatenate([four.pairs.reshape(-1), six.pairs.reshape(-1) + len(four.holds)])]
        self.by_source: Words = np.concatenate(
            [four.left * four.pairs.shape[1], six.left * six.pairs.shape[1] + four.pairs.size]
        ).astype(np.uint32)
        self.by_destination: Words = np.concatenate([four.right, six.right]).astype(np.uint32)
        if len(self.holds) > NUMBERS_MAX:
            raise CapacityError("rows of a table", len(self.holds), NUMBERS_MAX)


def _rows_of(bits: Bits, numbers: list[int]) -> Bits:
    """The numbered rows; one empty row if there are none, for a table without rules has one group all the
    same."""
    if not numbers:
        return np.zeros((1, bits.shape[1]), dtype=np.uint8)
    return bits[numbers]


def _columns(numbers: list[int], plan: Plan, fields: Fields, limit: int) -> Product:
    keys = plan.layer4.keys()
    conditions = [keys[number] for number in numbers]
    return product(
        _rows_of(fields.cells.members, [cells for cells, _ in conditions]),
        fields.cells.count,
        _rows_of(fields.ports.members, [ports for _, ports in conditions]),
        fields.ports.count,
        ("columns of a table", limit // 2, NUMBERS_MAX - len(DETAILED)),
    )


def _fragment_columns(protocol: int, columns: Product, classes: Ints) -> Ints:
    """Columns that a later fragment of one of ``classes`` may belong to, had it shown its ports."""
    groups = values_in(columns.left[classes])
    pairs = columns.pairs[groups]
    # Protocols without ports have the source-port class of port 0, which is number 0.
    return values_in(pairs if protocol in PORT_BASES else pairs[:, columns.right[0]])


def _layer4_index(columns: Product, renumbered: Ints) -> tuple[Words, npt.NDArray[np.uint16]]:
    """(by_l4, combine_l4): a group more for each protocol whose later fragments have a column of their
    own."""
    groups, width = columns.pairs.shape
    painted = len(columns.holds)
    fragments = np.arange(len(DETAILED))
    by_l4 = np.concatenate([columns.left, groups + fragments]) * width
    pairs = np.concatenate([columns.pairs.reshape(-1), np.repeat(painted + fragments, width)])
    return by_l4.astype(np.uint32), renumbered[pairs].astype(np.uint16)
