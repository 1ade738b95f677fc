"""Tables as the tools users come from print them, so that scripts which cut them keep working."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tabulate

#: The reference's table: columns at least this wide, and this many blanks after the widest cell.
MIN_WIDTH = 5
PADDING = 3


def _every_cell_padded(cells: Sequence[str], widths: Sequence[int], _aligns: Sequence[str]) -> str:
    return "".join(
        cell.ljust(max(MIN_WIDTH, width + PADDING)) for cell, width in zip(cells, widths, strict=True)
    )


def _last_cell_bare(cells: Sequence[str], widths: Sequence[int], _aligns: Sequence[str]) -> str:
    return "".join(cell.ljust(width + PADDING) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _format(row: Callable[[list[str], list[int], list[str]], str]) -> tabulate.TableFormat:
    return tabulate.TableFormat(
        lineabove=None,
        linebelowheader=None,
        linebetweenrows=None,
        linebelow=None,
        headerrow=row,
        datarow=row,
        padding=0,
        with_header_hide=None,
    )


def _render(rows: Sequence[Sequence[str]], style: tabulate.TableFormat) -> list[str]:
    # The headings go in as the first row: tabulate would widen real headers by blanks of its own.
    text = tabulate.tabulate(rows, tablefmt=style, disable_numparse=True, stralign="left")
    return text.split("\n")


def padded_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """calicoctl's form: every cell, the last one too, is followed by its padding."""
    return _render([headings, *rows], _format(_every_cell_padded))


def bare_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """kubectl's form: three blanks between columns, nothing after the last one."""
    return _render([headings, *rows], _format(_last_cell_bare))


class GrowingTable:
    """A table whose rows come one by one: a row is as wide as the widest cells seen so far."""

    def __init__(self, headings: Sequence[str]) -> None:
        self._widest = [len(heading) for heading in headings]

    def lines(self, rows: Sequence[Sequence[str]]) -> list[str]:
        """The lines for ``rows``, aligned with those before."""
        for row in rows:
            self._widest = [max(width, len(cell)) for width, cell in zip(self._widest, row, strict=True)]
        ruler = ["-" * width for width in self._widest]
        return padded_table(ruler, rows)[1:]
