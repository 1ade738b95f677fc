"""Equal rows and equal columns of a table become one."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from pyagent.compiler.canvas import Cells
from pyagent.compiler.intervals import Ints, distinct

#: Cells of a row or column that are compared first; most differ there already.
SAMPLE = 64
#: Lines that are turned over at a time.
LINES = 256


def merge(cells: Cells) -> tuple[Cells, Ints, Ints]:
    """(merged cells, new row of each row, new column of each column); works in the memory of ``cells``."""
    columns, keep_columns = _equal(cells.T)
    if len(keep_columns) < cells.shape[1]:
        for index in range(len(cells)):
            cells[index, : len(keep_columns)] = cells[index, keep_columns]
        cells = cells[:, : len(keep_columns)]
    rows, keep_rows = _equal(cells)
    for to, old in enumerate(keep_rows.tolist()):
        if to != old:
            cells[to] = cells[old]
    return cells[: len(keep_rows)], rows, columns


def _equal(lines: Cells) -> tuple[Ints, Ints]:
    """(number of each line, first line of each number); numbers ascend with their first lines."""
    step = max(1, lines.shape[1] // SAMPLE)
    sample = np.ascontiguousarray(lines[:, ::step])
    of, first = distinct(sample.view(np.uint8))
    shared = np.flatnonzero(np.bincount(of)[of] > 1)
    if not len(shared):
        return of, first
    keys: list[object] = of.tolist()
    for low in range(0, len(shared), LINES):
        part = shared[low : low + LINES]
        for index, line in zip(part.tolist(), np.ascontiguousarray(lines[part]), strict=True):
            keys[index] = blake2b(line, digest_size=16).digest()
    ids: dict[object, int] = {}
    of = np.fromiter((ids.setdefault(key, len(ids)) for key in keys), np.int64, len(keys))
    return of, np.unique(of, return_index=True)[1]
