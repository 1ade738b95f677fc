"""Rows and columns: pairs of classes of two fields that satisfy the same conditions.

A condition is a set of left classes and a set of right classes. Left classes that no condition tells apart
form a group, likewise right ones; pairs of groups that satisfy the same conditions get the same number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyagent.compiler.intervals import Bits, Ints, distinct, transpose
from pyagent.errors import CapacityError

#: Pairs are numbered in u16 tables.
NUMBERS_MAX = 65536


@dataclass(frozen=True, slots=True)
class Product:
    """``left``/``right``: group of each class; ``pairs[l, r]``: number of a pair of groups; ``holds``: packed
    conditions of each number."""

    left: Ints
    right: Ints
    pairs: Ints
    holds: Bits


def product(
    left: Bits, left_count: int, right: Bits, right_count: int, limits: tuple[str, int, int]
) -> Product:
    """Combine two fields.

    ``left`` and ``right`` have one packed row of classes per condition. ``limits``: what the numbers count,
    how many pairs of groups and how many numbers may be; CapacityError beyond.
    """
    what, pairs_max, numbers_max = limits
    lefts, rights = transpose(left, left_count), transpose(right, right_count)
    left_of, left_first = distinct(lefts)
    right_of, right_first = distinct(rights)
    lefts, rights = lefts[left_first], rights[right_first]
    if len(lefts) * len(rights) > pairs_max:
        raise CapacityError(f"pairs of classes for {what}", len(lefts) * len(rights), pairs_max)
    if len(lefts) >= len(rights):
        pairs, holds = _number(rights, lefts, what, min(numbers_max, NUMBERS_MAX))
        return Product(left_of, right_of, pairs.T, holds)
    pairs, holds = _number(lefts, rights, what, min(numbers_max, NUMBERS_MAX))
    return Product(left_of, right_of, pairs, holds)


def _number(few: Bits, many: Bits, what: str, limit: int) -> tuple[Ints, Bits]:
    """Numbers of all pairs, and the conditions that each number satisfies."""
    ids: dict[bytes, int] = {}
    pairs = np.empty((len(few), len(many)), dtype=np.int64)
    for index, row in enumerate(few):
        both = (many & row).tobytes()
        width = len(row)
        keys = (both[at : at + width] for at in range(0, len(both), width)) if width else (b"" for _ in many)
        pairs[index] = np.fromiter((ids.setdefault(key, len(ids)) for key in keys), np.int64, len(many))
        if len(ids) > limit:
            raise CapacityError(what, len(ids), limit)
    holds = np.frombuffer(b"".join(ids), dtype=np.uint8).reshape(len(ids), few.shape[1])
    return pairs, holds
