"""Edits in place: an address gets another class of the image in force, and nothing is compiled.

What an edit adds lies in room that no packet reads yet; then one aligned store of two or four bytes shows it.
So a packet finds the old class or the new one at every moment, also where an edit ends in the middle.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from pyagent import abi
from pyagent.calc.moves import Move
from pyagent.calc.view import AddressSet
from pyagent.compiler.addresses import Family
from pyagent.compiler.intervals import transpose, values_in
from pyagent.compiler.trie6 import WIDTH, Trie6
from pyagent.compiler.walk import Walker

#: Room that an image has for what edits add, if its limit leaves it: blocks of IPv4, bytes of IPv6 nodes.
SPARE_BLOCKS: Final = 128
SPARE_BYTES6: Final = 65536
BLOCK_BYTES: Final = 512
_UNIT: Final = 8
#: Intervals of an IPv6 network beyond which it is not made anew in place.
INTERVALS_MAX: Final = 256
_ROOT6_AT: Final = 4 * abi.IMAGE_HEADER_FIELDS.index("trie6_root")
#: Offsets of a skip node's entry for a match.
_MATCH_AT: Final = 32
_ALL6: Final = (1 << WIDTH) - 1


@dataclass(frozen=True, slots=True)
class Patch:
    """Bytes to write first, where nobody reads; then ``value`` in one store of ``width`` bytes at ``at``."""

    fresh: tuple[tuple[int, bytes], ...]
    at: int
    width: int
    value: int


@dataclass(frozen=True, slots=True)
class Room:
    """Where spare room is in an image: offset and bytes, for IPv4 blocks and for IPv6 nodes."""

    blocks_at: int
    blocks: int
    nodes_at: int
    nodes: int


class Editor:
    """Knows one compiled image as it is now, with all edits that were made of it through this object.

    ``numbers``: an address set's place among the sets that classes are made of, by its identity.
    """

    def __init__(
        self, families: tuple[Family, Family], trie6: Trie6, numbers: Mapping[int, int], room: Room
    ) -> None:
        self._numbers = numbers
        self._sharing = Counter(numbers.values())
        self._columns = [_columns(family) for family in families]
        self._classes = [{column: at for at, column in enumerate(columns)} for columns in self._columns]
        self._bases = [family.base for family in families]
        self._trie6, self._room = trie6, room
        self._next_block, self._next_unit = 0, 0
        self._references: list[int] | None = None

    def resolve(self, walker: Walker, moves: Sequence[Move]) -> list[tuple[int, int, int]] | None:
        """The (version, address, class) of all moves; None if an address would need a class there is not."""
        found = []
        for move in moves:
            number = self._class_after(walker.address_class(move.version, move.address), move)
            if number is None:
                return None
            found.append((move.version, move.address, number))
        return found

    def by_place(self, sizes: Mapping[AddressSet, tuple[int, int]]) -> dict[int, tuple[int, int]]:
        """Sizes of sets by their place in the image's metadata."""
        return {self._numbers[id(each)]: size for each, size in sizes.items() if id(each) in self._numbers}

    def _class_after(self, before: int, move: Move) -> int | None:
        side = move.version == 6
        wanted: dict[int, bool] = {}
        told: Counter[int] = Counter()
        for members, inside in move.members.items():
            number = self._numbers.get(id(members))
            if number is None:
                continue  # no rule asks for it
            if wanted.setdefault(number, inside) is not inside:
                return None
            told[number] += 1
        # Sets of equal content are one: they part where only some of them change.
        if any(told[number] != self._sharing[number] for number in wanted):
            return None
        column = bytearray(self._columns[side][before - self._bases[side]])
        for number, inside in wanted.items():
            bit = 0x80 >> (number & 7)
            column[number >> 3] = column[number >> 3] & ~bit | (bit if inside else 0)
        known = self._classes[side].get(bytes(column))
        return None if known is None else known + self._bases[side]

    def patch(self, walker: Walker, version: int, address: int, number: int) -> Patch | None:
        """What gives the address the class, to be done before the next is asked for; None: there is no room.

        ``walker`` reads the image in force.
        """
        if version == 4:
            return self._patch4(walker, address, number)
        return self._patch6(walker, address, number)

    # ---- IPv4: blocks of 256 entries, shared where their content was the same ----

    def _patch4(self, walker: Walker, address: int, number: int) -> Patch | None:
        trie_at = walker.header["trie4_at"]
        blocks_at = trie_at + 2 * abi.TRIE4_ROOT
        path = [(trie_at + (address >> 16) * 2, walker.root4()[address >> 16])]
        for shift in (8, 0):
            entry = path[-1][1]
            if not entry & abi.TRIE4_BLOCK:
                break
            place = address >> shift & 255
            at = blocks_at + (entry & ~abi.TRIE4_BLOCK) * BLOCK_BYTES + place * 2
            path.append((at, walker.block4(entry)[place]))
        references = self._counted(walker)
        # As deep as every block on the way is this address's alone, its entry is changed; below, copies.
        private = 0
        while private + 1 < len(path) and references[path[private][1] & ~abi.TRIE4_BLOCK] == 1:
            private += 1
        entry, fresh = number, []
        for depth in range(2, private, -1):
            block = self._take_block(blocks_at)
            if block is None:
                return None
            before = path[depth - 1][1] if depth - 1 < len(path) else path[-1][1]
            entries = list(walker.block4(before)) if before & abi.TRIE4_BLOCK else [before] * 256
            entries[address >> (8 * (2 - depth)) & 255] = entry
            self._count(entries)
            fresh.append((blocks_at + block * BLOCK_BYTES, struct.pack("=256H", *entries)))
            entry = abi.TRIE4_BLOCK | block
        self._count([entry])
        return Patch(tuple(fresh), path[private][0], 2, entry)

    def _take_block(self, blocks_at: int) -> int | None:
        first = -(-(self._room.blocks_at - blocks_at) // BLOCK_BYTES)
        block = first + self._next_block
        end = blocks_at + (block + 1) * BLOCK_BYTES
        if end > self._room.blocks_at + self._room.blocks or block >= abi.TRIE4_BLOCK:
            return None
        self._next_block += 1
        return block

    def _counted(self, walker: Walker) -> list[int]:
        """How many entries lead to each block; blocks that edits left alone keep one more than they have."""
        if self._references is None:
            blocks = (self._room.blocks_at - walker.header["trie4_at"]) // 2
            start = walker.header["trie4_at"] // 2
            entries = np.frombuffer(walker.whole, np.uint16)[start : start + abi.TRIE4_ROOT]
            found = np.zeros(abi.TRIE4_BLOCK, dtype=np.int64)
            middle = entries[entries >= abi.TRIE4_BLOCK] & 0x7FFF
            found += np.bincount(middle, minlength=abi.TRIE4_BLOCK)
            every = np.frombuffer(walker.whole, np.uint16)[start + abi.TRIE4_ROOT : start + blocks]
            for block in values_in(middle).tolist():
                part = every[block * 256 : block * 256 + 256]
                found += np.bincount(part[part >= abi.TRIE4_BLOCK] & 0x7FFF, minlength=abi.TRIE4_BLOCK)
            self._references = found.tolist()
        return self._references

    def _count(self, entries: Sequence[int]) -> None:
        """``entries`` lead there as well from now on."""
        for entry in entries:
            if entry & abi.TRIE4_BLOCK and self._references is not None:
                self._references[entry & ~abi.TRIE4_BLOCK] += 1

    # ---- IPv6: nodes by path; what an entry leads to is made anew as a whole ----

    def _patch6(self, walker: Walker, address: int, number: int) -> Patch | None:
        at, depth, exact = self._descend(walker, address)
        self._trie6.assign(address, number)
        if exact:
            return Patch((), at, 4, number)
        shift = WIDTH - 8 * depth
        base = address >> shift << shift
        if self._trie6.span(base, depth) > INTERVALS_MAX:
            return None
        first = -(-(self._room.nodes_at - walker.header["trie6_at"]) // _UNIT) + self._next_unit
        entry = self._trie6.rebuild(base, depth, first)
        nodes = self._trie6.nodes
        if walker.header["trie6_at"] + first * _UNIT + len(nodes) > self._room.nodes_at + self._room.nodes:
            return None
        self._next_unit += len(nodes) // _UNIT
        fresh = ((walker.header["trie6_at"] + first * _UNIT, nodes),) if nodes else ()
        return Patch(fresh, at, 4, entry)

    def _descend(self, walker: Walker, address: int) -> tuple[int, int, bool]:
        """The last entry on the address's way that is no other's: its offset, the bytes before it, and
        whether it stands for this address alone."""
        at, depth, entry = _ROOT6_AT, 0, walker.header["trie6_root"]
        trie_at = walker.header["trie6_at"]
        while entry & abi.TRIE6_KIND:
            unit = entry & ~abi.TRIE6_KIND
            node = trie_at + unit * _UNIT
            if unit in self._trie6.shared:
                return at, depth, False
            if entry & abi.TRIE6_KIND == abi.TRIE6_BRANCH:
                byte = address >> (WIDTH - 8 * (depth + 1)) & 255
                at, depth, entry = node + 4 * byte, depth + 1, walker.branch6(entry)[byte]
                continue
            mask, value, match, _, taken = walker.skip6(entry)
            if address << (8 * depth) & mask != value:
                return at, depth, False
            if match & abi.TRIE6_KIND == abi.TRIE6_CLASS:
                whole = mask == _ALL6 << (8 * depth) & _ALL6
                return (node + _MATCH_AT, depth, True) if whole else (at, depth, False)
            at, depth, entry = node + _MATCH_AT, depth + taken, match
        return at, depth, depth == WIDTH // 8


def _columns(family: Family) -> list[bytes]:
    """For each class the sets it lies in, as packed bits."""
    return [row.tobytes() for row in transpose(family.classes.members, family.classes.count)]
