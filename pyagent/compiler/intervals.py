"""Equivalence classes of one field: two values are equal when they lie in exactly the same sets.

A set is a union of half-open intervals of *ranks*, positions in a sorted array of all the boundaries, so that
32-bit, 128-bit and port spaces share this code. Every set draws a random 128-bit number; the XOR of the
numbers of the sets that contain an interval names its membership. The numbers are drawn anew in each process,
so no policy can be written to make two memberships collide; class numbers come from the order of first
appearance and never depend on them.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pyagent.errors import CapacityError

Bits = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
T = TypeVar("T", bound=np.integer)

#: Sets handled at a time where a byte per (set, class) is needed; bounds the memory of that step.
CHUNK = 512


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of a field.

    ``of`` is the class of each elementary interval (from one boundary to the next); ``members`` has one row
    of packed bits per set: bit ``c`` says whether class ``c`` lies in the set.
    """

    of: Ints
    count: int
    members: Bits


def disjoint(owner: Ints, first: Ints, stop: Ints, points: int) -> tuple[Ints, Ints, Ints]:
    """The same sets as sorted intervals that do not overlap within one set: (owner, first, stop)."""
    if not len(owner):
        return owner, first, stop
    width = points + 1
    start_key = owner * width + first
    order = np.argsort(start_key, kind="stable")
    start_key = start_key[order]
    # A set's keys end before the next set's begin, so one running maximum serves all sets.
    reach = np.maximum.accumulate((owner * width + stop)[order])
    opens = np.empty(len(order), dtype=bool)
    opens[0] = True
    np.greater(start_key[1:], reach[:-1], out=opens[1:])
    starts = np.flatnonzero(opens)
    ends = np.append(starts[1:], len(order)) - 1
    merged = start_key[starts] // width
    return merged, start_key[starts] % width, reach[ends] % width


def classify(intervals: tuple[Ints, Ints, Ints], sets: int, points: int, limit: tuple[str, int]) -> Classes:
    """Classes of a field with ``points`` boundaries; rank 0 is its lowest value.

    ``intervals``: the set, first and stop rank of each interval of the ``sets`` sets. ``limit``: what the
    classes are called and how many there may be; CapacityError beyond.
    """
    owner, first, stop = disjoint(*intervals, points)
    places = np.concatenate([first, stop])
    owners = np.concatenate([owner, owner])
    number: list[list[int]] = []
    for _ in range(2):
        draw = np.frombuffer(secrets.token_bytes(8 * max(sets, 1)), dtype=np.uint64)
        flips = np.zeros(points + 1, dtype=np.uint64)
        np.bitwise_xor.at(flips, places, draw[owners])
        number.append(np.bitwise_xor.accumulate(flips[:points]).tolist())
    ids: dict[tuple[int, int], int] = {}
    of = np.fromiter((ids.setdefault(key, len(ids)) for key in zip(*number, strict=True)), np.int64, points)
    what, classes_max = limit
    if len(ids) > classes_max:
        raise CapacityError(what, len(ids), classes_max)
    representatives = np.unique(of, return_index=True)[1]
    return Classes(of, len(ids), members_of(owner, first, stop, sets, representatives))


def members_of(owner: Ints, first: Ints, stop: Ints, sets: int, representatives: Ints) -> Bits:
    """Packed membership of each class (at its first interval) in each set."""
    count = len(representatives)
    rows = np.empty((sets, (count + 7) // 8), dtype=np.uint8)
    begin = np.searchsorted(representatives, first)
    end = np.searchsorted(representatives, stop)
    for low in range(0, sets, CHUNK):
        high = min(low + CHUNK, sets)
        span = slice(*np.searchsorted(owner, [low, high]))
        flips = np.zeros((high - low, count + 1), dtype=np.uint8)
        np.bitwise_xor.at(flips, (owner[span] - low, begin[span]), 1)
        np.bitwise_xor.at(flips, (owner[span] - low, end[span]), 1)
        rows[low:high] = np.packbits(np.bitwise_xor.accumulate(flips[:, :count], axis=1), axis=1)
    return rows


def transpose(bits: Bits, columns: int) -> Bits:
    """A packed bit matrix of ``columns`` columns turned over: one packed row per column."""
    rows = len(bits)
    turned = np.empty((columns, (rows + 7) // 8), dtype=np.uint8)
    for low in range(0, rows, CHUNK):
        part = np.unpackbits(bits[low : low + CHUNK], axis=1, count=columns)
        # Packing along rows that lie in memory is three times as fast as packing down the columns.
        turned[:, low // 8 : (low + len(part) + 7) // 8] = np.packbits(np.ascontiguousarray(part.T), axis=1)
    return turned


def values_in(numbers: npt.NDArray[T]) -> npt.NDArray[T]:
    """The different numbers in an array, sorted; np.unique would load a megabyte of numpy.ma for it."""
    ordered = np.sort(numbers, axis=None)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if len(ordered) else ordered


def distinct(rows: Bits) -> tuple[Ints, Ints]:
    """Number the distinct rows by first appearance: (number of each row, index of each number's first
    row)."""
    ids: dict[bytes, int] = {}
    of = np.fromiter((ids.setdefault(row.tobytes(), len(ids)) for row in rows), np.int64, len(rows))
    return of, np.unique(of, return_index=True)[1]
