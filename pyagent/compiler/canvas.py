"""The cells of one table while rules are painted on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pyagent import abi
from pyagent.compiler.intervals import CHUNK, Bits, Ints, values_in
from pyagent.compiler.outcome import Outcome, Outcomes
from pyagent.errors import CapacityError

C = TypeVar("C", np.uint8, np.uint16)
Cells = npt.NDArray[np.uint16]
#: Index of one axis: a run, or scattered numbers.
Index = slice | npt.NDArray[np.intp]
#: Condition of the rows and condition of the columns.
Place = tuple[int, int]

#: Numbers that fit a cell.
NUMBERS = 65536
#: Up to so many runs are painted one by one, which is faster than scattered numbers.
RUNS = 6
#: Cells handled at a time where a step needs more than their own two bytes.
BLOCK = 1 << 20


def indices(holds: Bits) -> list[list[Index]]:
    """For every condition the rows (or columns) where it holds, given one packed row of conditions per
    row."""
    found: list[list[Index]] = []
    for low in range(0, 8 * holds.shape[1], CHUNK):
        part = holds[:, low // 8 : (low + CHUNK) // 8]
        bits = np.unpackbits(part, axis=1).T
        edges = np.zeros((len(bits), bits.shape[1] + 2), dtype=np.int8)
        edges[:, 1:-1] = bits
        places = np.flatnonzero(np.diff(edges, axis=1).reshape(-1))
        owner, place = np.divmod(places, bits.shape[1] + 1)
        spans = np.searchsorted(owner, np.arange(len(bits) + 1)).tolist()
        runs = place.tolist()
        for index, row in enumerate(bits):
            begin, end = spans[index], spans[index + 1]
            if end - begin <= 2 * RUNS:
                found.append([slice(runs[at], runs[at + 1]) for at in range(begin, end, 2)])
            else:
                found.append([np.flatnonzero(row)])
    return found


class Canvas:
    """The outcome numbers of some rows of a table.

    Rules are painted from the last to the first, so that the first match stays on top. ``rows`` and
    ``columns`` say where each condition holds; ``outcomes`` is shared by all pieces of a table.
    """

    def __init__(
        self, rows: list[list[Index]], columns: list[list[Index]], cells: Cells, outcomes: Outcomes
    ) -> None:
        self.cells = cells
        self.outcomes = outcomes
        self._rows, self._columns = rows, columns

    def clear(self, outcome: Outcome) -> None:
        """Every cell gets the outcome."""
        self.cells[:] = self.outcomes.number(outcome)

    def fill(self, places: Sequence[Place], outcome: Outcome) -> None:
        """The cells of ``places`` get the outcome."""
        number, cells = self.outcomes.number(outcome), self.cells
        # As _at does, but for most of the time that painting takes.
        for row_condition, column_condition in places:
            for rows in self._rows[row_condition]:
                for columns in self._columns[column_condition]:
                    if isinstance(rows, slice) or isinstance(columns, slice):
                        cells[rows, columns] = number
                    else:
                        cells[rows[:, None], columns] = number

    def copy(self, places: Sequence[Place], source: Cells) -> None:
        """The cells of ``places`` get what ``source`` has there."""
        for at in self._at(places):
            self.cells[at] = source[at]

    def change(self, places: Sequence[Place], change: Callable[[Outcome], Outcome]) -> None:
        """Each outcome in the cells of ``places`` is changed; doing so twice must be the same as once."""
        for at in self._at(places):
            part = self.cells[at]
            mapping = np.zeros(NUMBERS, dtype=np.uint16)
            for number in present(part):
                mapping[number] = self._checked(change(self.outcomes.all[number]))
            self.cells[at] = mapping[part]

    def stage(self, policy: str, rules: Sequence[tuple[Sequence[Place], str]]) -> None:
        """Note in every cell which action of a staged policy's rules matches there first, if any."""
        actions = ["", *sorted({action for _, action in rules})]
        layer = np.zeros(self.cells.shape, dtype=np.uint8)
        for places, action in reversed(rules):
            for at in self._at(places):
                layer[at] = actions.index(action)
        mapping = np.full(len(self.outcomes) * len(actions), NUMBERS, dtype=np.int64)
        for part, said in zip(blocks(self.cells), blocks(layer), strict=True):
            codes = part.astype(np.int64) * len(actions) + said
            for code in values_in(codes[mapping[codes] == NUMBERS]).tolist():
                number, action = divmod(code, len(actions))
                outcome = self.outcomes.all[number]
                mapping[code] = (
                    self._checked(outcome.with_staged(policy, actions[action])) if action else number
                )
            part[:] = mapping[codes]

    def _checked(self, outcome: Outcome) -> int:
        number = self.outcomes.number(outcome)
        if number >= NUMBERS:
            raise CapacityError("verdicts", number + 1, abi.VERDICTS_MAX)
        return number

    def _at(self, places: Sequence[Place]) -> Iterator[tuple[Index, Index]]:
        for row_condition, column_condition in places:
            for rows in self._rows[row_condition]:
                for columns in self._columns[column_condition]:
                    if isinstance(rows, slice) or isinstance(columns, slice):
                        yield rows, columns
                    else:
                        yield rows[:, None], columns

    def favourable(self, choices: Sequence[Ints], into: Cells) -> None:
        """Column ``i`` of ``into`` gets each row's most favourable outcome among the columns
        ``choices[i]``."""
        order = np.array(sorted(range(len(self.outcomes)), key=self.outcomes.favour), dtype=np.uint16)
        rank = np.empty(len(order), dtype=np.uint16)
        rank[order] = np.arange(len(order))
        sorted_already = np.array_equal(order, np.arange(len(order)))
        for index, columns in enumerate(choices):
            best = np.full(len(self.cells), NUMBERS - 1, dtype=np.uint16)
            for run in np.split(columns, np.flatnonzero(np.diff(columns) != 1) + 1):
                part = self.cells[:, run[0] : run[-1] + 1]
                np.minimum(best, (part if sorted_already else rank[part]).min(axis=1), out=best)
            into[:, index] = order[best]


def present(cells: Cells) -> list[int]:
    """The numbers that occur, ascending."""
    seen = np.zeros(NUMBERS, dtype=bool)
    for part in blocks(cells):
        seen[part.reshape(-1)] = True
    found: list[int] = np.flatnonzero(seen).tolist()
    return found


def blocks(cells: npt.NDArray[C]) -> Iterator[npt.NDArray[C]]:
    """The cells in pieces of whole rows, as views."""
    step = max(1, BLOCK // max(1, cells.shape[1])) if cells.ndim == 2 else BLOCK
    for low in range(0, len(cells), step):
        yield cells[low : low + step]
