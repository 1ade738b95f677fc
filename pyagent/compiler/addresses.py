"""Address classes: which addresses no rule of the node can tell apart.

IPv4 classes come first, IPv6 classes after them; the two families share none, because a rule may ask for the
version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np

from pyagent import abi
from pyagent.calc.view import AddressSet, Net
from pyagent.compiler.intervals import Classes, Ints, classify

FAMILIES: Final = (4, 6)
#: What an IPv4 entry has room for; IPv6 classes follow, so that all fit 16 bits.
CLASSES_MAX: Final = abi.TRIE4_BLOCK
WIDTH: Final = {4: 32, 6: 128}


@dataclass(frozen=True, slots=True)
class Family:
    """One family's boundaries (sorted, the first is 0) and classes; ``base`` is its first class's global
    number."""

    version: int
    points: list[int]
    classes: Classes
    base: int


def classify_addresses(sets: Sequence[AddressSet]) -> tuple[Family, Family]:
    """The address classes of both families under ``sets``."""
    four_points, four = classify_members([addresses.v4 for addresses in sets], 4)
    six_points, six = classify_members([addresses.v6 for addresses in sets], 6)
    return Family(4, four_points, four, 0), Family(6, six_points, six, four.count)


def classify_members(members: Sequence[tuple[Net, ...]], version: int) -> tuple[list[int], Classes]:
    """One family's boundaries and classes under sets of networks."""
    width = WIDTH[version]
    nets = list(set().union(*members))
    stops = [address + (1 << (width - length)) for address, length in nets]
    points = sorted({0, *(address for address, _ in nets), *stops} - {1 << width})
    rank = {point: index for index, point in enumerate(points)}
    rank[1 << width] = len(points)
    number = {net: index for index, net in enumerate(nets)}
    total = sum(map(len, members))
    chosen = np.fromiter(map(number.__getitem__, chain.from_iterable(members)), np.int64, total)
    owner: Ints = np.repeat(np.arange(len(members)), [len(each) for each in members])
    first = np.fromiter((rank[address] for address, _ in nets), np.int64, len(nets))
    stop = np.fromiter((rank[each] for each in stops), np.int64, len(nets))
    return points, classify(
        (owner, first[chosen], stop[chosen]),
        len(members),
        len(points),
        (f"IPv{version} address classes", CLASSES_MAX),
    )
