"""From an image's tries back to addresses: which ones a class has, and so which ones a set has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, summarize_address_range
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pyagent import abi
from pyagent.compiler.outline import unpack_members
from pyagent.compiler.walk import Walker

_BITS: Final = {4: 32, 6: 128}
#: First address and class.
Span = tuple[int, int]


def spans(walker: Walker, version: int) -> list[Span]:
    """All addresses of a family in order: from each first one to the next, the class is the same."""
    found: list[Span] = []
    for start, number in _spans4(walker) if version == 4 else _spans6(walker):
        if not found or found[-1][1] != number:
            found.append((start, number))
    return found


def _spans4(walker: Walker) -> Iterator[Span]:
    def below(entry: int, base: int, shift: int) -> Iterator[Span]:
        if not entry & abi.TRIE4_BLOCK:
            yield base, entry
            return
        for index, inner in enumerate(walker.block4(entry)):
            yield from below(inner, base + (index << shift), shift - 8)

    for index, entry in enumerate(walker.root4()):
        yield from below(entry, index << 16, 8)


def _spans6(walker: Walker) -> Iterator[Span]:
    def below(entry: int, base: int, bits: int) -> Iterator[Span]:
        kind = entry & abi.TRIE6_KIND
        if kind == abi.TRIE6_CLASS:
            yield base, entry
        elif kind == abi.TRIE6_BRANCH:
            for byte, inner in enumerate(walker.branch6(entry)):
                yield from below(inner, base | byte << (120 - bits), bits + 8)
        else:
            mask, value, match, miss, taken = walker.skip6(entry)
            start = base | value >> bits
            stop = start + (1 << (128 - bits - mask.bit_count()))
            if start > base:
                yield base, miss
            yield from below(match, start, bits + 8 * taken)
            if stop < base + (1 << (128 - bits)):
                yield stop, miss

    yield from below(walker.header["trie6_root"], 0, 0)


class Members:
    """Which classes and addresses each address set of an image has, from its metadata's ``members``."""

    def __init__(self, walker: Walker, metadata: dict[str, Any]) -> None:
        self._walker = walker
        self._names = [each["name"] for each in metadata["sets"]]
        self._packed = {each["version"]: each for each in metadata["members"]}
        self._rows = {version: unpack_members(each) for version, each in self._packed.items()}
        self._spans: dict[int, tuple[list[int], npt.NDArray[np.int64]]] = {}
        self._known: dict[int, list[str]] = {}

    def classes(self, number: int) -> int:
        """How many classes lie in a set."""
        return sum(
            int.from_bytes(self._row(number, version)).bit_count() - self._excess(number, version)
            for version in self._rows
        )

    def sets_of(self, version: int, address_class: int) -> list[int]:
        """The sets that a class lies in."""
        return [number for number in range(len(self._names)) if self._holds(number, version)(address_class)]

    def name(self, number: int) -> str:
        """What the policy calls the set."""
        return str(self._names[number])

    def networks(self, number: int) -> list[str]:
        """The addresses of a set as networks, IPv4 first."""
        if number not in self._known:
            self._known[number] = [*self._networks(number, 4), *self._networks(number, 6)]
        return self._known[number]

    def _networks(self, number: int, version: int) -> Iterator[str]:
        if version not in self._spans:
            found = spans(self._walker, version)
            self._spans[version] = [start for start, _ in found], np.array([each for _, each in found])
        starts, classes = self._spans[version]
        bits = np.unpackbits(np.frombuffer(self._row(number, version), np.uint8))
        holds = bits[classes - self._packed[version]["base"]]
        edges = np.flatnonzero(np.diff(np.concatenate([[0], holds, [0]]).astype(np.int8))).tolist()
        starts = [*starts, 1 << _BITS[version]]
        family: Any = IPv4Address if version == 4 else IPv6Address
        for first, stop in zip(edges[::2], edges[1::2], strict=True):
            start, end = starts[first], starts[stop]
            if end - start == 1:
                yield f"{family(start)}/{_BITS[version]}"
            else:
                yield from map(str, summarize_address_range(family(start), family(end - 1)))

    def _holds(self, number: int, version: int) -> Callable[[int], bool]:
        base, row = self._packed[version]["base"], self._row(number, version)

        def holds(address_class: int) -> bool:
            place = address_class - base
            return 0 <= place < 8 * len(row) and bool(row[place >> 3] >> (7 - (place & 7)) & 1)

        return holds

    def _row(self, number: int, version: int) -> bytes:
        width = self._packed[version]["row"]
        return self._rows[version][number * width : (number + 1) * width]

    def _excess(self, number: int, version: int) -> int:
        """Bits behind the family's last class."""
        total = self._walker.header["address_classes"]
        last = self._packed[6]["base"] if version == 4 else total
        count, row = last - self._packed[version]["base"], self._row(number, version)
        behind = (1 << (8 * len(row) - int(count))) - 1
        return (int.from_bytes(row) & behind).bit_count()
