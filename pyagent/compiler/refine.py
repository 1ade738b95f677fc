"""Address classes from one compilation to the next: only sets that are new are looked at anew.

The classes that come out are those of :func:`pyagent.compiler.addresses.classify_addresses`, number for
number.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress

import numpy as np

from pyagent.calc.view import AddressSet, Net
from pyagent.compiler.addresses import CLASSES_MAX, WIDTH, Family, classify_members
from pyagent.compiler.intervals import Bits, Classes, Ints, disjoint, distinct, members_of, transpose
from pyagent.errors import CapacityError

Nets = tuple[Net, ...]


class AddressClasses:
    """The address classes of the last view, and of the next."""

    def __init__(self) -> None:
        self._four, self._six = _Refined(4), _Refined(6)

    def classify(self, sets: Sequence[AddressSet]) -> tuple[Family, Family]:
        """The address classes of both families under ``sets``."""
        four_points, four = self._four.classify([addresses.v4 for addresses in sets])
        six_points, six = self._six.classify([addresses.v6 for addresses in sets])
        return Family(4, four_points, four, 0), Family(6, six_points, six, four.count)


class _Refined:
    """One family. ``_rows``: the place of each known set among the members, by its identity."""

    def __init__(self, version: int) -> None:
        self._version = version
        self._known: list[Nets] = []
        self._rows: dict[int, int] = {}
        self._points: list[int] = []
        self._rank: dict[int, int] = {}
        self._classes: Classes | None = None

    def classify(self, sets: Sequence[Nets]) -> tuple[list[int], Classes]:
        fresh = list({id(nets): nets for nets in sets if id(nets) not in self._rows}.values())
        if self._classes is not None and not fresh and self._rows.keys() == set(map(id, sets)):
            members = self._classes.members[[self._rows[id(nets)] for nets in sets]]
            points, classes = self._points, Classes(self._classes.of, self._classes.count, members)
        elif self._classes is None or 2 * sum(map(len, fresh)) > sum(map(len, sets)):
            points, classes = classify_members(sets, self._version)
        else:
            points, classes = self._project(sets, *self._refine(self._classes, fresh))
        if points is not self._points:
            self._points = points
            self._rank = {point: index for index, point in enumerate(points)}
        self._classes, self._known = classes, list(sets)
        self._rows = {id(nets): row for row, nets in enumerate(self._known)}
        return points, classes

    def _refine(self, classes: Classes, fresh: list[Nets]) -> tuple[list[int], Ints, Bits]:
        """(boundaries, class of each interval, members) with the ``fresh`` sets after those known."""
        if not fresh:
            return self._points, classes.of, classes.members
        end = 1 << WIDTH[self._version]
        spans = [[(at, at + (end >> length)) for at, length in nets] for nets in fresh]
        wanted = {point for each in spans for span in each for point in span} - self._rank.keys() - {end}
        points, of, rank = self._points, classes.of, self._rank
        if wanted:
            points = sorted([*points, *wanted])
            of = of[np.cumsum(np.fromiter(map(rank.__contains__, points), bool, len(points))) - 1]
            rank = {point: index for index, point in enumerate(points)}
        stop_of = (
            {**rank, end: len(points)} if any(span[1] == end for each in spans for span in each) else rank
        )
        owner = np.repeat(np.arange(len(spans)), [len(each) for each in spans])
        first = np.array([rank[low] for each in spans for low, _ in each], dtype=np.int64)
        stop = np.array([stop_of[high] for each in spans for _, high in each], dtype=np.int64)
        whole = np.arange(len(points))
        inside = members_of(*disjoint(owner, first, stop, len(points)), len(fresh), whole)
        apart = np.concatenate(
            [of.astype(np.uint32).view(np.uint8).reshape(-1, 4), transpose(inside, len(points))], axis=1
        )
        split, at = distinct(apart)
        rows = np.concatenate([_picked(classes.members, of[at]), _picked(inside, at)])
        return points, split, rows

    def _project(
        self, sets: Sequence[Nets], points: list[int], of: Ints, members: Bits
    ) -> tuple[list[int], Classes]:
        """Nothing but what ``sets`` tell apart, numbered in the order of the addresses."""
        rows = dict(self._rows)
        for nets in sets:
            rows.setdefault(id(nets), len(rows) - len(self._rows) + len(self._known))
        bits = members[[rows[id(nets)] for nets in sets]]
        merged, _ = distinct(transpose(bits, int(of.max()) + 1))
        joined = merged[of]
        numbers, firsts = np.unique(joined, return_index=True)
        order = np.argsort(firsts)
        renumbered = np.empty(len(numbers), dtype=np.int64)
        renumbered[order] = np.arange(len(numbers))
        if len(numbers) > CLASSES_MAX:
            raise CapacityError(f"IPv{self._version} address classes", len(numbers), CLASSES_MAX)
        joined = renumbered[np.searchsorted(numbers, joined)]
        changes = np.concatenate([[True], joined[1:] != joined[:-1]])
        packed = _picked(bits, of[firsts[order]])
        return list(compress(points, changes)), Classes(joined[changes], len(numbers), packed)


def _picked(members: Bits, columns: Ints) -> Bits:
    """The packed rows with the given columns."""
    if not len(members):
        return np.empty((0, (len(columns) + 7) // 8), dtype=np.uint8)
    return np.packbits(np.unpackbits(members, axis=1)[:, columns], axis=1)
