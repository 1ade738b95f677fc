"""What a change of other nodes' host endpoints means: which addresses come into which sets, and leave them.

Where that is all it means, nothing has to be calculated anew: the sets that rules ask for stay the same, only
their content changes. Costs what the changed addresses cost, whatever the number of nodes and rules: which
selectors pick a peer is worked out once for all peers whose labels look alike to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pyagent.calc.nets import WIDTH
from pyagent.calc.peers import ENDPOINT, Peers, Row
from pyagent.calc.view import AddressSet, Net
from pyagent.calc.world import World
from pyagent.model import HostEndpoint
from pyagent.selector import parse

#: The bit of the set of all nodes; selectors have the bits after it.
_NODES: Final = 1

VersionNet = tuple[int, Net]


@dataclass(frozen=True, slots=True)
class Move:
    """An address that came into the sets that are True here and left those that are False."""

    version: int
    address: int
    members: Mapping[AddressSet, bool]


class Mover:
    """Follows host endpoints one by one, from the moment of a whole calculation.

    ``nodes``: the set of all nodes of that calculation. Once a change cannot be followed, the object is of no
    use any more; the peers are right all the same.
    """

    def __init__(self, peers: Peers, nodes: AddressSet) -> None:
        self._peers = peers
        answers = peers.selectors()
        self._texts = list(answers)
        self._sets = [nodes, *answers.values()]
        self._selectors = [parse(text) for text in self._texts]
        self._keys = sorted({key for selector in self._selectors for key in selector.keys()})  # noqa: SIM118
        self._masks: dict[tuple[str | None, ...], int] = {}
        self._sizes = {version: [len(_nets(each, version)) for each in self._sets] for version in WIDTH}
        self._owners: dict[VersionNet, list[str]] = {}
        self._lengths: dict[int, set[int]] = {version: set() for version in WIDTH}
        for key, row in peers.rows.items():
            self._own(key, row.nets)

    def _own(self, key: str, nets: Iterable[VersionNet]) -> None:
        for net in nets:
            self._owners.setdefault(net, []).append(key)
            self._lengths[net[0]].add(net[1][1])

    def move(self, node: str, before: World, after: World) -> list[Move] | None:
        """The moves from ``before`` to ``after`` for the host called ``node``; None: more than addresses
        moved, or nobody knows."""
        steps = after.since(before)
        if steps is None or any(kind != HostEndpoint.KIND for kind, _ in steps):
            return None
        found: list[Move] = []
        old, new = before.of(HostEndpoint), after.of(HostEndpoint)
        for _, name in steps:
            moves = self._replace(node, name, old.get(name), new.get(name))
            if moves is None:
                return None
            found += moves
        self._peers.moved(after)
        return found

    def _replace(
        self, node: str, name: str, old: HostEndpoint | None, new: HostEndpoint | None
    ) -> list[Move] | None:
        if any(each is not None and each.spec.node == node for each in (old, new)):
            return None
        key = ENDPOINT + name
        before = self._peers.rows.get(key)
        after = None if new is None else self._peers.endpoint_row(new)
        if not self._peers.may_replace(before, after):
            return None
        nets = (frozenset() if before is None else before.nets) | (
            frozenset() if after is None else after.nets
        )
        if any(length != WIDTH[version] for version, (_, length) in nets):
            return None
        was = {net: self._members(net) for net in nets}
        if before is not None:
            for net in before.nets:
                self._owners[net].remove(key)
        if after is not None:
            self._own(key, after.nets)
        self._peers.replace(new, name, after)
        return self._compare(was)

    def _compare(self, was: Mapping[VersionNet, tuple[int, int]]) -> list[Move] | None:
        """The moves of addresses, given what they were members of and what listed them."""
        moves, whole = [], True
        for net, (members_before, listed_before) in was.items():
            members, listed = self._members(net)
            flips = members ^ members_before
            whole &= self._count(net, listed, listed ^ listed_before, flips)
            if flips:
                sets = {self._sets[bit]: bool(members >> bit & 1) for bit in _bits(flips)}
                moves.append(Move(net[0], net[1][0], sets))
        return moves if whole else None

    def _count(self, net: VersionNet, listed: int, flips: int, moved: int) -> bool:
        """Keep the sets' sizes; False where a set is empty or becomes so: rules then never match, or do."""
        sizes, filled = self._sizes[net[0]], True
        for bit in _bits(flips):
            inside = bool(listed >> bit & 1)
            sizes[bit] += 1 if inside else -1
            if bit:
                covered = not moved >> bit & 1
                self._peers.alter(self._texts[bit - 1], net, inside=inside, covered=covered)
                filled &= sizes[bit] > inside
        return filled

    def _members(self, net: VersionNet) -> tuple[int, int]:
        """Bits of the sets that an address lies in, and of those that list it by itself."""
        version, (address, width) = net
        listed = self._joined(net)
        members = listed
        for length in self._lengths[version]:
            if length < width:
                shift = width - length
                members |= self._joined((version, (address >> shift << shift, length)))
        return members, listed

    def _joined(self, net: VersionNet) -> int:
        found = 0
        for key in self._owners.get(net, ()):
            found |= self._mask(self._peers.rows[key])
        return found

    def _mask(self, row: Row) -> int:
        """Bits of the sets that a peer is in."""
        alike = tuple(map(row.labels.get, self._keys))
        mask = self._masks.get(alike)
        if mask is None:
            mask = 0
            for bit, selector in enumerate(self._selectors, start=1):
                mask |= selector.matches(row.labels) << bit
            self._masks[alike] = mask
        return mask | (_NODES if row.node else 0)

    def sizes(self) -> dict[AddressSet, tuple[int, int]]:
        """How many networks of each family the sets hold by now."""
        return {each: (self._sizes[4][bit], self._sizes[6][bit]) for bit, each in enumerate(self._sets)}


def _nets(addresses: AddressSet, version: int) -> tuple[Net, ...]:
    return addresses.v4 if version == 4 else addresses.v6


def _bits(mask: int) -> Iterable[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
