"""Address classes from one compilation to the next: only sets that are new are looked at anew.

The classes that come out are those of :func:`pyagent.compiler.addresses.classify_addresses`, number for
number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress

import numpy as np

from pyagent.calc.view import AddressSet, Net
from pyagent.compiler.addresses import CLASSES_MAX, WIDTH, Family, classify_members
from pyagent.compiler.intervals import Bits, Classes, Ints, disjoint, distinct, members_of, transpose
from pyagent.errors import CapacityError

Nets = tuple[Net, ...]
#: What a set was, and which (version, address) moved.
Before = tuple[Nets, frozenset[tuple[int, int]]]


class AddressClasses:
    """The address classes of the last view, and of the next."""

    def __init__(self) -> None:
        self._four, self._six = _Refined(4), _Refined(6)

    def classify(self, sets: Sequence[AddressSet]) -> tuple[Family, Family]:
        """The address classes of both families under ``sets``."""
        changed = [(each, each.since) for each in sets if each.since is not None]
        four_points, four = self._four.classify(
            [each.v4 for each in sets], {id(each.v4): (since.v4, since.moved) for each, since in changed}
        )
        six_points, six = self._six.classify(
            [each.v6 for each in sets], {id(each.v6): (since.v6, since.moved) for each, since in changed}
        )
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

    def classify(self, sets: Sequence[Nets], since: Mapping[int, Before]) -> tuple[list[int], Classes]:
        fresh = list({id(nets): nets for nets in sets if id(nets) not in self._rows}.values())
        if self._classes is not None and not fresh and self._rows.keys() == set(map(id, sets)):
            members = self._classes.members[[self._rows[id(nets)] for nets in sets]]
            points, classes = self._points, Classes(self._classes.of, self._classes.count, members)
        else:
            points, classes = self._anew(sets, fresh, since)
        if points is not self._points:
            self._points = points
            self._rank = {point: index for index, point in enumerate(points)}
        self._classes, self._known = classes, list(sets)
        self._rows = {id(nets): row for row, nets in enumerate(self._known)}
        return points, classes

    def _anew(
        self, sets: Sequence[Nets], fresh: list[Nets], since: Mapping[int, Before]
    ) -> tuple[list[int], Classes]:
        """From what is known, if that is most of it."""
        altered: dict[int, tuple[int, list[int]]] = {}
        for place, nets in enumerate(fresh):
            before, moved = since.get(id(nets), ((), frozenset()))
            row = self._rows.get(id(before))
            if id(nets) in since and row is not None:
                altered[place] = row, [address for version, address in moved if version == self._version]
        unknown = sum(len(nets) for place, nets in enumerate(fresh) if place not in altered)
        if self._classes is None or 2 * unknown > sum(map(len, sets)):
            return classify_members(sets, self._version)
        return self._project(sets, *self._refine(self._classes, fresh, altered))

    def _refine(
        self, classes: Classes, fresh: list[Nets], altered: Mapping[int, tuple[int, list[int]]]
    ) -> tuple[list[int], Ints, Bits]:
        """(boundaries, class of each interval, members) with the ``fresh`` sets after those known.

        ``altered``: of fresh sets by place, the row of what they were, and the addresses that moved.
        """
        if not fresh:
            return self._points, classes.of, classes.members
        end = 1 << WIDTH[self._version]
        spans = [
            [(at, at + 1) for at in altered[place][1]]
            if place in altered
            else [(at, at + (end >> length)) for at, length in nets]
            for place, nets in enumerate(fresh)
        ]
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
        if altered:
            # What a set was, but for the addresses that moved.
            was = _picked(classes.members[[row for row, _ in altered.values()]], of)
            inside[list(altered)] ^= was
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
