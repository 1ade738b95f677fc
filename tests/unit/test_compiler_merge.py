"""Merging equal rows and columns piece by piece loses nothing and leaves no two equal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pyagent.compiler.canvas import Cells
from pyagent.compiler.merge import Merger
from pyagent.errors import CapacityError

TABLES = hnp.arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2))


def merged(cells: Cells, piece: int) -> tuple[Cells, Merger, tuple]:
    merger = Merger(1 << 20)
    for low in range(0, len(cells), piece):
        merger.add(cells[low : low + piece].copy())
    columns, kept = merger.columns()
    return np.concatenate([part[:, kept] for part in merger.take()]), merger, (columns, kept)


@given(TABLES, st.integers(1, 9))
def test_every_cell_is_found_again_by_the_new_numbers(cells: Cells, piece: int) -> None:
    small, merger, (columns, _) = merged(cells, piece)
    assert (small[merger.rows[:, None], columns] == cells).all()


@given(TABLES, st.integers(1, 9))
def test_no_two_rows_and_no_two_columns_stay_equal(cells: Cells, piece: int) -> None:
    small, _, _ = merged(cells, piece)
    assert len({row.tobytes() for row in small}) == len(small)
    assert len({column.tobytes() for column in small.T}) == small.shape[1]


def test_columns_that_differ_only_outside_the_sample_are_told_apart() -> None:
    cells = np.zeros((1000, 4), dtype=np.uint16)
    cells[501, 2] = 1
    small, merger, (columns, _) = merged(cells, 1000)
    assert small.shape == (2, 2)
    assert columns.tolist() == [0, 0, 1, 0]
    assert merger.rows[501] == 1


def test_more_distinct_cells_than_may_be_kept_are_refused() -> None:
    merger = Merger(100)
    merger.add(np.arange(100, dtype=np.uint16).reshape(10, 10))
    merger.add(np.arange(100, dtype=np.uint16).reshape(10, 10))
    with pytest.raises(CapacityError, match="needs 110, have 100"):
        merger.add(np.arange(7, 17, dtype=np.uint16).reshape(1, 10))
