"""Equal rows and equal columns of a table become one, while the table is being painted piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import numpy as np

from pyagent.abi import PAGE_CELLS
from pyagent.compiler.canvas import Cells
from pyagent.compiler.intervals import Ints, distinct
from pyagent.compiler.pages import Pager, Pages, cells_of
from pyagent.errors import CapacityError

#: Cells of a column that are compared first; most columns differ there already.
SAMPLE = 64
#: Columns that are turned over at a time.
LINES = 256
#: Cells of distinct rows that are kept as they are; those of further rows are kept in pages.
WHOLE_CELLS = 4 << 20
#: As many cells have the bytes of a page's number.
_PAGE_NUMBER = 2


class Merger:
    """Takes a table's rows piece by piece and keeps each distinct one once; ``cells_max`` bounds what it
    keeps: cells, and numbers of pages for those beyond ``whole_max``."""

    def __init__(self, cells_max: int, whole_max: int = WHOLE_CELLS) -> None:
        self._cells_max, self._whole_max = cells_max, whole_max
        self._numbers: dict[bytes, int] = {}
        self._parts: list[Cells] = []
        self._paged: list[Pages] = []
        self._pager = Pager(cells_max)
        self._columns = self._whole = 0
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
        self._columns = cells.shape[1]
        if fresh:
            self._keep(cells[fresh])
        numbers = sum(each.size for each in self._paged)
        kept = self._whole + _PAGE_NUMBER * numbers + PAGE_CELLS * len(self._pager)
        if kept > self._cells_max:
            raise CapacityError("cells of a table while it is painted", kept, self._cells_max)

    def _keep(self, cells: Cells) -> None:
        if self._paged or self._whole + cells.size > self._whole_max:
            self._paged.append(self._pager.add(cells))
        else:
            self._whole += cells.size
            self._parts.append(cells)

    @property
    def rows(self) -> Ints:
        """The number of each row that was added, among the distinct ones."""
        return np.array(self._rows, dtype=np.int64)

    def columns(self) -> tuple[Ints, Ints]:
        """(number of each column among the distinct ones, first column of each number)."""
        of = np.zeros(self._columns, dtype=np.int64)
        for part in self.parts():
            # Columns that differ from all others already need no further look.
            open_ = np.flatnonzero(np.bincount(of)[of] > 1)
            of *= len(of)
            of[open_] += _equal_columns(part, open_)
            of = np.unique(of, return_inverse=True)[1]
        ids: dict[int, int] = {}
        of = np.fromiter((ids.setdefault(number, len(ids)) for number in of.tolist()), np.int64, len(of))
        return of, np.unique(of, return_index=True)[1]

    @property
    def distinct_rows(self) -> int:
        """How many rows there are, each counted once."""
        return len(self._numbers)

    def parts(self) -> Iterator[Cells]:
        """The distinct rows, piece by piece."""
        yield from self._parts
        if self._paged:
            runs = self._pager.runs()
            for pages in self._paged:
                yield cells_of(pages, runs, self._columns)


def _equal_columns(cells: Cells, columns: Ints) -> Ints:
    """A number below ``cells.shape[1]`` for each of the columns, the same for equal ones."""
    step = max(1, len(cells) // SAMPLE)
    of, _ = distinct(np.ascontiguousarray(cells[::step, columns].T).view(np.uint8))
    shared = np.flatnonzero(np.bincount(of)[of] > 1)
    keys: list[object] = of.tolist()
    for low in range(0, len(shared), LINES):
        part = shared[low : low + LINES]
        for index, line in zip(part.tolist(), np.ascontiguousarray(cells[:, columns[part]].T), strict=True):
            keys[index] = sha256(line).digest()
    ids: dict[object, int] = {}
    return np.fromiter((ids.setdefault(key, len(ids)) for key in keys), np.int64, len(keys))
