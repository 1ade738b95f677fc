"""Cells in pages: the form of a table that would be too large with every cell written out.

Each row is cut into runs of PAGE_CELLS cells, equal runs are stored once, and a row is the numbers of its
runs. Neighbouring columns mostly get the same verdict, so that few runs differ; and whatever the cells are,
one look-up more finds them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pyagent.abi import PAGE_CELLS
from pyagent.compiler.canvas import Cells
from pyagent.errors import CapacityError

#: Runs are numbered in u16.
RUNS_MAX: Final = 65536

Pages = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Paged:
    """``pages``: number of each run of each row; ``runs``: the cells of each number; ``columns``: how many
    cells of a row count, for the last run is filled up."""

    pages: Pages
    runs: Cells
    columns: int

    @classmethod
    def of(cls, parts: Iterable[Cells], columns: int) -> Paged:
        """The rows of ``parts``, one part after the other. CapacityError if they have too many runs."""
        pager = Pager(RUNS_MAX)
        pages = [pager.add(part) for part in parts]
        return cls(np.concatenate(pages), pager.runs(), columns)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.pages), self.columns

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.pages.nbytes + self.runs.nbytes


class Pager:
    """Numbers the distinct runs of rows that come part by part; CapacityError beyond ``runs_max``."""

    def __init__(self, runs_max: int) -> None:
        self._runs_max = runs_max
        self._numbers: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, cells: Cells) -> Pages:
        """The numbers of the runs of these rows."""
        rows, columns = cells.shape
        width = -(-columns // PAGE_CELLS)
        # What fills a row up is what stood there last: another value would make runs that are not needed.
        whole = np.pad(cells, ((0, 0), (0, width * PAGE_CELLS - columns)), mode="edge").tobytes()
        length, numbers = PAGE_CELLS * cells.itemsize, self._numbers
        keys = (whole[at : at + length] for at in range(0, len(whole), length))
        found = (numbers.setdefault(key, len(numbers)) for key in keys)
        pages = np.fromiter(found, np.uint32, rows * width).reshape(rows, width)
        if len(numbers) > self._runs_max:
            raise CapacityError("runs of a table's cells", len(numbers), self._runs_max)
        return pages

    def runs(self) -> Cells:
        """The cells of every number."""
        return np.frombuffer(b"".join(self._numbers), dtype=np.uint16).reshape(-1, PAGE_CELLS)


def cells_of(pages: Pages, runs: Cells, columns: int) -> Cells:
    """The cells of rows, written out."""
    cells: Cells = runs[pages].reshape(len(pages), -1)[:, :columns]
    return cells
