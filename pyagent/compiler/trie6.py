"""The IPv6 class table: branch nodes by byte, and skip nodes that compare many bits at once.

Most policies know single nodes and a few networks, so nearly every path is a skip to the site's prefix, one
or two branches, and a skip that compares what is left of one address.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from copy import copy
from struct import Struct

from pyagent import abi

WIDTH = 128
_ALL = (1 << WIDTH) - 1
_LOW = (1 << 64) - 1
_BRANCH = Struct("=256I")


class Trie6:
    """The trie for addresses from ``points[i]`` (sorted, the first is 0) to the next point having
    ``classes[i]``.

    ``root`` is the entry to begin with, ``nodes`` the section that references count in, in units of 8 bytes;
    ``shared``: places of nodes that more than one way leads to.
    """

    def __init__(self, points: Sequence[int], classes: Sequence[int]) -> None:
        changes = [i for i in range(len(points)) if i == 0 or classes[i] != classes[i - 1]]
        self._points = [points[i] for i in changes] + [1 << WIDTH]
        self._classes = [classes[i] for i in changes]
        self.shared: set[int] = set()
        self._parts: list[bytes] = []
        self._places: dict[bytes, int] = {}
        self.root = self.rebuild(0, 0, 0)

    @property
    def nodes(self) -> bytes:
        """All nodes, one after the other."""
        return b"".join(self._parts)

    def copy(self) -> Trie6:
        """The same trie without its nodes; what is assigned to one leaves the other as it is."""
        other = copy(self)
        other._points, other._classes = list(self._points), list(self._classes)
        other.shared = set(self.shared)
        other.forget()
        return other

    def forget(self) -> None:
        """Let go of the nodes, which are in an image by now."""
        self._parts, self._places = [], {}

    def assign(self, address: int, number: int) -> None:
        """One address has the class from now on; nodes that know it are made by :meth:`rebuild`."""
        at = bisect_right(self._points, address) - 1
        before = self._classes[at]
        if before == number:
            return
        points, classes = [address, address + 1], [number, before]
        if self._points[at] < address:
            points, classes = [self._points[at], *points], [before, *classes]
        if self._points[at + 1] == address + 1:
            points, classes = points[:-1], classes[:-1]
        self._points[at : at + 1], self._classes[at : at + 1] = points, classes
        for place in range(min(at + len(points), len(self._classes) - 1), max(at, 1) - 1, -1):
            if self._classes[place] == self._classes[place - 1]:
                del self._points[place], self._classes[place]

    def span(self, base: int, depth: int) -> int:
        """How many intervals the network ``base`` of ``depth`` bytes is made of."""
        low, high = self._within(base, depth)
        return high - low + 1

    def rebuild(self, base: int, depth: int, unit: int) -> int:
        """Entry for the network ``base`` of ``depth`` bytes; ``nodes`` are its new ones, from ``unit`` on."""
        self.forget()
        self._units = unit
        return self._entry(base, depth, *self._within(base, depth))

    def _within(self, base: int, depth: int) -> tuple[int, int]:
        """The first and the last interval of a network."""
        last = base + (1 << (WIDTH - 8 * depth)) - 1
        return bisect_right(self._points, base) - 1, bisect_right(self._points, last) - 1

    def _entry(self, base: int, depth: int, low: int, high: int) -> int:
        """Entry for the network ``base`` of ``depth`` bytes, which the intervals ``low`` to ``high``
        cover."""
        if low == high:
            return abi.TRIE6_CLASS | self._classes[low]
        for background in (self._classes[high], self._classes[low]):
            entry = self._skip(base, depth, low, high, background)
            if entry is not None:
                return entry
        return self._branch(base, depth, low, high)

    def _skip(self, base: int, depth: int, low: int, high: int, background: int) -> int | None:
        """A skip node, if all but the background class lies in one longer prefix; else None."""
        first = low + (self._classes[low] == background)
        last = high - (self._classes[high] == background)
        start = max(self._points[first], base)
        stop = min(self._points[last + 1], base + (1 << (WIDTH - 8 * depth)))
        length = WIDTH - (start ^ (stop - 1)).bit_length()
        if first == last and stop - start == 1 << (WIDTH - length):
            return self._skip_node(start, (depth, length), self._classes[first], background)
        taken = length // 8 - depth
        if taken <= 0:
            return None
        shift = WIDTH - 8 * (depth + taken)
        inner = start >> shift << shift
        match = self._entry(
            inner,
            depth + taken,
            bisect_right(self._points, inner, low, high + 1) - 1,
            bisect_left(self._points, inner + (1 << shift), low, high + 1) - 1,
        )
        return self._skip_node(start, (depth, 8 * (depth + taken)), match, background)

    def _skip_node(self, address: int, part: tuple[int, int], match: int, miss: int) -> int:
        """A node that compares the bits of ``address`` from byte ``part[0]`` to bit ``part[1]``, and takes
        the bytes that it compares unless the look-up ends with it."""
        depth, length = part
        bits = length - 8 * depth
        mask = _ALL >> (WIDTH - bits) << (WIDTH - bits)
        value = (address << (8 * depth)) & mask
        taken = 0 if match & abi.TRIE6_KIND == abi.TRIE6_CLASS else bits // 8
        words = (mask >> 64, mask & _LOW, value >> 64, value & _LOW)
        return abi.TRIE6_SKIP | self._place(abi.TRIE6_SKIP_NODE.pack(*words, match, miss, taken))

    def _branch(self, base: int, depth: int, low: int, high: int) -> int:
        """A node that tells the networks of one more byte apart."""
        shift = WIDTH - 8 * (depth + 1)
        entries = [0] * 256
        for index in range(low, high + 1):
            # Networks that begin in this interval; those that a boundary cuts are replaced below.
            begin = max(0, -((base - self._points[index]) >> shift))
            end = min(256, -((base - self._points[index + 1]) >> shift))
            entries[begin:end] = [self._classes[index]] * (end - begin)
        index = low + 1
        while index <= high:
            byte = (self._points[index] - base) >> shift
            inner = base + (byte << shift)
            after = bisect_left(self._points, inner + (1 << shift), index, high + 1)
            before = index if self._points[index] == inner else index - 1
            if after - 1 > before:
                entries[byte] = self._entry(inner, depth + 1, before, after - 1)
            index = after
        return abi.TRIE6_BRANCH | self._place(_BRANCH.pack(*entries))

    def _place(self, node: bytes) -> int:
        """Where the node is, in units of 8 bytes; equal nodes are stored once."""
        place = self._places.get(node)
        if place is None:
            place = self._places[node] = self._units
            self._parts.append(node)
            self._units += len(node) // 8
        else:
            self.shared.add(place)
        return place


class LastTrie6:
    """The trie of the last compilation: where nothing about addresses changed, the next one has the same."""

    def __init__(self) -> None:
        self._made: tuple[Sequence[int], Sequence[int], Trie6, bytes] | None = None

    def trie(self, points: Sequence[int], classes: Sequence[int]) -> tuple[Trie6, bytes]:
        """A :class:`Trie6` of these points and classes that is the caller's own, and its nodes."""
        if self._made is None or self._made[0] != points or self._made[1] != classes:
            trie = Trie6(points, classes)
            nodes = trie.nodes
            trie.forget()
            self._made = points, classes, trie, nodes
        _, _, trie, nodes = self._made
        return trie.copy(), nodes
