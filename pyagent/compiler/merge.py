"""Equal rows and equal columns of a table become one, while the table is being painted piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import numpy as np

from pyagent.compiler.canvas import Cells
from pyagent.compiler.intervals import Ints, distinct
from pyagent.errors import CapacityError

#: Cells of a column that are compared first; most columns differ there already.
SAMPLE = 64
#: Columns that are turned over at a time.
LINES = 256


class Merger:
    """Takes a table's rows piece by piece and keeps each distinct one once; ``cells_max`` bounds what it
    keeps."""

    def __init__(self, cells_max: int) -> None:
        self._cells_max = cells_max
        self._numbers: dict[bytes, int] = {}
        self._parts: list[Cells] = []
        self._rows: list[int] = []

    def add(self, cells: Cells) -> None:
        """The next rows of the table; ``cells`` may be reused afterwards."""
        fresh: list[int] = []
        for index, row in enumerate(cells):
            known = len(self._numbers)
            number = self._numbers.setdefault(sha256(row).digest(), known)
            if number == known:
                fresh.append(index)
            self._rows.append(number)
        if fresh:
            self._parts.append(cells[fresh])
        kept = len(self._numbers) * cells.shape[1]
        if kept > self._cells_max:
            raise CapacityError("cells of a table while it is painted", kept, self._cells_max)

    @property
    def rows(self) -> Ints:
        """The number of each row that was added, among the distinct ones."""
        return np.array(self._rows, dtype=np.int64)

    def columns(self) -> tuple[Ints, Ints]:
        """(number of each column among the distinct ones, first column of each number)."""
        of = np.zeros(self._parts[0].shape[1], dtype=np.int64)
        first = of[:1]
        for part in self._parts:
            of, first = _refine(of, _equal_columns(part))
        return of, first

    def take(self) -> Iterator[Cells]:
        """The distinct rows, piece by piece; each piece is let go of."""
        while self._parts:
            yield self._parts.pop(0)


def _refine(of: Ints, by: Ints) -> tuple[Ints, Ints]:
    """Columns that are equal under both numberings: (number of each, first of each number)."""
    ids: dict[int, int] = {}
    keys = (of * (int(by.max()) + 1) + by).tolist()
    both = np.fromiter((ids.setdefault(key, len(ids)) for key in keys), np.int64, len(keys))
    return both, np.unique(both, return_index=True)[1]


def _equal_columns(cells: Cells) -> Ints:
    """A number for each column, the same for equal ones."""
    step = max(1, len(cells) // SAMPLE)
    of, _ = distinct(np.ascontiguousarray(cells[::step].T).view(np.uint8))
    shared = np.flatnonzero(np.bincount(of)[of] > 1)
    ids: dict[bytes, int] = {}
    unique = int(of.max()) + 1
    for low in range(0, len(shared), LINES):
        part = shared[low : low + LINES]
        for index, line in zip(part.tolist(), np.ascontiguousarray(cells[:, part].T), strict=True):
            of[index] = ids.setdefault(sha256(line).digest(), unique + len(ids))
    return of
