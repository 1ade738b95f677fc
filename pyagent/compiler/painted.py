"""Cells of tables kept from one compilation to the next: painted by the same rules in the same way, they are
the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy.typing as npt

from pyagent.calc.view import TableView
from pyagent.compiler.canvas import Cells, Place
from pyagent.compiler.intervals import Bits, Ints
from pyagent.compiler.outcome import Outcome
from pyagent.compiler.pages import Paged

#: Bytes of cells beyond which they are painted anew: the agent's memory counts more.
KEPT_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that the cells of a table depend on. ``view`` is held, or the identities in ``key`` could come
    again."""

    view: TableView
    key: tuple[object, ...]
    places: list[list[Place]]
    digest: bytes
    #: Bytes of cells up to which each is written out.
    dense: int

    @classmethod
    def of(
        cls,
        view: TableView,
        places: list[list[Place]],
        bits: Sequence[Bits],
        choices: Sequence[Ints],
        dense: int,
    ) -> Recipe:
        """The recipe for rows and columns that satisfy conditions as ``bits`` say; ``choices``: the columns
        of later fragments; ``dense``: bytes of cells beyond which they are in pages."""
        found = blake2b(digest_size=16)
        arrays: list[npt.NDArray[Any]] = [*bits, *choices]
        for array in arrays:
            found.update(repr(array.shape).encode())
            found.update(array.tobytes())
        return cls(view, table_key(view), places, found.digest(), dense)

    def is_same(self, other: Recipe) -> bool:
        """Whether both give the same cells."""
        return (self.key, self.digest, self.dense, self.places) == (
            other.key, other.digest, other.dense, other.places,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Painted:
    """Merged cells: the number of each painted row and column among the distinct ones."""

    of_rows: Ints
    of_columns: Ints
    cells: Cells | Paged
    outcomes: list[Outcome]


class Paintings:
    """The painted tables of the last compilation and of this one."""

    def __init__(self) -> None:
        self._before: dict[tuple[object, ...], tuple[Recipe, Painted]] = {}
        self._now: dict[tuple[object, ...], tuple[Recipe, Painted]] = {}

    def find(self, recipe: Recipe) -> Painted | None:
        """What was painted by the same recipe."""
        known = self._before.get(recipe.key)
        return known[1] if known is not None and known[0].is_same(recipe) else None

    def keep(self, recipe: Recipe, painted: Painted) -> None:
        """Have it for the next compilation, unless it is large."""
        if painted.cells.nbytes <= KEPT_BYTES:
            self._now[recipe.key] = recipe, painted

    def turn(self) -> None:
        """A compilation is over: what it did not use is let go of."""
        self._before, self._now = self._now, {}


def table_key(view: TableView) -> tuple[object, ...]:
    """Equal for tables of the very same policies, as long as these are not let go of."""
    return (
        tuple((tuple(map(id, tier.policies)), tier.end, tier.end_ref) for tier in view.tiers),
        tuple(map(id, view.profiles)),
        view.end,
        view.end_ref,
    )
