"""The IPv4 class table: a 16-8-8 trie of u16 in one array, a root of 65,536 entries and blocks of 256."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pyagent import abi
from pyagent.compiler.intervals import values_in
from pyagent.errors import CapacityError

Shorts = npt.NDArray[np.uint16]
Ints = npt.NDArray[np.int64]

#: Blocks expanded at a time; bounds the memory of the step before equal blocks are merged.
CHUNK = 1024


def build_trie4(points: Ints, classes: Ints) -> Shorts:
    """The trie for addresses from ``points[i]`` (sorted, the first is 0) to the next point having
    ``classes[i]``."""
    changes = np.concatenate([[True], classes[1:] != classes[:-1]])
    points, classes = points[changes], classes[changes]
    blocks = _Blocks()
    root = _lookup(points, classes, np.arange(abi.TRIE4_ROOT, dtype=np.int64) << 16)
    deep = _split(points, 8)
    leaves = blocks.add_all(points, classes, deep, 0)
    wide = _split(points, 16)
    for low in range(0, len(wide), CHUNK):
        part = wide[low : low + CHUNK]
        middle = _lookup(points, classes, (part[:, None] << 16) + (np.arange(256) << 8))
        span = slice(*np.searchsorted(deep, [part[0] << 8, (part[-1] + 1) << 8]))
        middle[np.searchsorted(part, deep[span] >> 8), deep[span] & 255] = leaves[span]
        root[part] = blocks.add(middle)
    return np.concatenate([root, *blocks.parts])


def _split(points: Ints, bits: int) -> Ints:
    """The networks with ``bits`` host bits that some boundary cuts, as numbers without those bits."""
    return values_in(points[(points & ((1 << bits) - 1)) != 0] >> bits)


def _lookup(points: Ints, classes: Ints, addresses: Ints) -> Shorts:
    found: Shorts = classes[np.searchsorted(points, addresses, side="right") - 1].astype(np.uint16)
    return found


class _Blocks:
    """Blocks after the root; equal ones are stored once."""

    def __init__(self) -> None:
        self.parts: list[Shorts] = []
        self._numbers: dict[bytes, int] = {}

    def add_all(self, points: Ints, classes: Ints, networks: Ints, bits: int) -> Shorts:
        """Entries for blocks that tell apart the 8 bits above ``bits``, one for each network number."""
        entries = np.empty(len(networks), dtype=np.uint16)
        for low in range(0, len(networks), CHUNK):
            part = networks[low : low + CHUNK]
            addresses = (part[:, None] << (bits + 8)) + (np.arange(256) << bits)
            entries[low : low + CHUNK] = self.add(_lookup(points, classes, addresses))
        return entries

    def add(self, rows: Shorts) -> Shorts:
        """Entries that lead to blocks of the given content."""
        entries = np.empty(len(rows), dtype=np.uint16)
        fresh: list[int] = []
        for index, row in enumerate(rows):
            key = row.tobytes()
            number = self._numbers.get(key)
            if number is None:
                number = self._numbers[key] = len(self._numbers)
                fresh.append(index)
                if number >= abi.TRIE4_BLOCK:
                    raise CapacityError("blocks of the IPv4 table", number + 1, abi.TRIE4_BLOCK)
            entries[index] = abi.TRIE4_BLOCK | number
        self.parts.append(rows[fresh].reshape(-1))
        return entries
