"""Merging equal rows and columns piece by piece loses nothing and leaves no two equal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pyagent.abi import PAGE_CELLS
from pyagent.compiler.canvas import Cells
from pyagent.compiler.merge import WHOLE_CELLS, Merger
from pyagent.errors import CapacityError

TABLES = hnp.arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2))


def merged(cells: Cells, piece: int, whole: int = WHOLE_CELLS) -> tuple[Cells, Merger, tuple]:
    merger = Merger(1 << 20, whole)
    for low in range(0, len(cells), piece):
        merger.add(cells[low : low + piece].copy())
    columns, kept = merger.columns()
    return np.concatenate([part[:, kept] for part in merger.parts()]), merger, (columns, kept)


@given(TABLES, st.integers(1, 9), st.sampled_from([0, 9, WHOLE_CELLS]))
def test_every_cell_is_found_again_by_the_new_numbers(cells: Cells, piece: int, whole: int) -> None:
    small, merger, (columns, _) = merged(cells, piece, whole)
    assert (small[merger.rows[:, None], columns] == cells).all()


@given(TABLES, st.integers(1, 9), st.sampled_from([0, 9, WHOLE_CELLS]))
def test_no_two_rows_and_no_two_columns_stay_equal(cells: Cells, piece: int, whole: int) -> None:
    small, _, _ = merged(cells, piece, whole)
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


def test_rows_kept_in_pages_count_by_their_distinct_runs_only() -> None:
    wide = np.zeros((40, 2048), dtype=np.uint16)
    wide[np.arange(40), np.arange(40)] = 1
    pages, runs = 40 * 2048 // PAGE_CELLS, 40 + 1
    enough = 2 * pages + runs * PAGE_CELLS
    with pytest.raises(CapacityError, match=f"needs {wide.size}, have {enough}"):
        Merger(enough).add(wide)
    Merger(enough, 0).add(wide)
    with pytest.raises(CapacityError, match=f"needs {enough}, have {enough - 1}"):
        Merger(enough - 1, 0).add(wide)
