"""The cells of one table while rules are painted on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pyagent import abi
from pyagent.compiler.intervals import CHUNK, Bits, Ints
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


def indices(holds: Bits, conditions: int) -> list[list[Index]]:
    """For every condition the rows (or columns) where it holds, given one packed row of conditions per
    row."""
    found: list[list[Index]] = []
    for low in range(0, conditions, CHUNK):
        part = holds[:, low // 8 : (low + CHUNK) // 8]
        bits = np.unpackbits(part, axis=1, count=min(CHUNK, conditions - low)).T
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
    """Cells of ``rows`` x ``columns`` outcome numbers and room for ``spare`` columns more.

    Rules are painted from the last to the first, so that the first match stays on top.
    """

    def __init__(
        self, rows: list[list[Index]], columns: list[list[Index]], shape: tuple[int, int], spare: int
    ) -> None:
        self.outcomes = Outcomes()
        self.cells: Cells = np.empty((shape[0], shape[1] + spare), dtype=np.uint16)
        self._rows, self._columns = rows, columns
        self._width = shape[1]

    def clear(self, outcome: Outcome) -> None:
        """Every cell gets the outcome."""
        self.cells[:] = self.outcomes.number(outcome)

    def fill(self, places: Sequence[Place], outcome: Outcome) -> None:
        """The cells of ``places`` get the outcome."""
        number = self.outcomes.number(outcome)
        for at in self._at(places):
            self.cells[at] = number

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

    def _checked(self, outcome: Outcome) -> int:
        number = self.outcomes.number(outcome)
        if number >= NUMBERS:
            raise CapacityError("verdicts", number + 1, abi.VERDICTS_MAX)
        return number

    def _at(self, places: Sequence[Place]) -> Iterator[tuple[Index, Index]]:
        for row_condition, column_condition in places:
            for columns in self._columns[column_condition]:
                for rows in self._rows[row_condition]:
                    if isinstance(rows, slice) or isinstance(columns, slice):
                        yield rows, columns
                    else:
                        yield rows[:, None], columns

    def stage(self, policy: str, rules: Sequence[tuple[Sequence[Place], str]]) -> None:
        """Note in every cell which action of a staged policy's rules matches there first, if any."""
        actions = ["", *sorted({action for _, action in rules})]
        layer = np.zeros((len(self.cells), self._width), dtype=np.uint8)
        for places, action in reversed(rules):
            for at in self._at(places):
                layer[at] = actions.index(action)
        old, self.outcomes = self.outcomes.all, Outcomes()
        mapping = np.full(len(old) * len(actions), NUMBERS, dtype=np.int64)
        for part, said in zip(blocks(self.cells[:, : self._width]), blocks(layer), strict=True):
            codes = part.astype(np.int64) * len(actions) + said
            for code in np.unique(codes[mapping[codes] == NUMBERS]).tolist():
                number, action = divmod(code, len(actions))
                outcome = old[number].with_staged(policy, actions[action]) if action else old[number]
                mapping[code] = self._checked(outcome)
            part[:] = mapping[codes]

    def sort(self) -> None:
        """Renumber the outcomes so that a smaller number is a more favourable one."""
        used = self.cells[:, : self._width]
        order = sorted(range(len(self.outcomes)), key=self.outcomes.favour)
        if order == list(range(len(order))):
            return
        mapping = np.empty(len(order), dtype=np.uint16)
        mapping[order] = np.arange(len(order))
        for part in blocks(used):
            part[:] = mapping[part]
        renumbered = Outcomes()
        for number in order:
            renumbered.number(self.outcomes.all[number])
        self.outcomes = renumbered

    def favourable(self, columns: Ints, spare: int) -> None:
        """Spare column ``spare`` gets each row's most favourable outcome among ``columns``; needs
        :meth:`sort`."""
        best = self.cells[:, self._width + spare]
        best[:] = NUMBERS - 1
        cuts = np.flatnonzero(np.diff(columns) != 1) + 1
        for run in np.split(columns, cuts):
            part = self.cells[:, run[0] : run[-1] + 1]
            np.minimum(best, part.min(axis=1), out=best)


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
