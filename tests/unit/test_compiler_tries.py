"""The address tables: every address finds its class, few nodes suffice, and what does not fit is refused."""

from __future__ import annotations

import random
from bisect import bisect_right

import numpy as np
import pytest

from pyagent import abi
from pyagent.calc.view import AddressSet
from pyagent.compiler.addresses import classify_addresses
from pyagent.compiler.trie4 import build_trie4
from pyagent.compiler.trie6 import LastTrie6, Trie6
from pyagent.errors import CapacityError

ALL6 = (1 << 128) - 1


def class4(trie: np.ndarray, address: int) -> int:
    entry = int(trie[address >> 16])
    for shift in (8, 0):
        if entry & abi.TRIE4_BLOCK:
            entry = int(trie[abi.TRIE4_ROOT + (entry & 0x7FFF) * 256 + (address >> shift & 255)])
    return entry


def class6(trie: Trie6, address: int) -> tuple[int, int]:
    """(class, nodes visited)"""
    nodes, entry, rest = trie.nodes, trie.root, address
    for steps in range(abi.TRIE6_STEPS + 1):
        at = (entry & ~abi.TRIE6_KIND) * 8
        if entry & abi.TRIE6_KIND == abi.TRIE6_BRANCH:
            entry = int.from_bytes(nodes[at + (rest >> 120) * 4 :][:4], "little")
            rest = rest << 8 & ALL6
        elif entry & abi.TRIE6_KIND == abi.TRIE6_SKIP:
            mask_high, mask_low, high, low, match, miss, taken = abi.TRIE6_SKIP_NODE.unpack_from(nodes, at)
            assert not miss & abi.TRIE6_KIND
            assert 0 <= taken <= 15
            matches = rest & (mask_high << 64 | mask_low) == high << 64 | low
            entry = match if matches else miss
            rest = rest << 8 * taken & ALL6
        else:
            return entry, steps
    pytest.fail("a path of too many nodes")


def boundaries(width: int, count: int, seed: int) -> list[int]:
    """Starts and ends of random prefixes, many of them nested or neighbours."""
    draw = random.Random(seed)
    bases = [draw.randrange(1 << width) for _ in range(4)]
    points = {0}
    for _ in range(count):
        length = draw.choice(
            [1, width // 4, width // 2, width // 2 + 1, width - 9, width - 8, width - 1, width]
        )
        address = draw.choice(bases) ^ draw.getrandbits(draw.choice([2, 8, 10, 24, width]))
        start = address >> (width - length) << (width - length)
        points |= {start, start + (1 << (width - length))}
    return sorted(points - {1 << width})


@pytest.mark.parametrize("seed", range(20))
def test_every_ipv4_address_beside_a_boundary_has_the_class_of_its_interval(seed: int) -> None:
    points = boundaries(32, 60, seed)
    classes = [random.Random(seed + index).randrange(9) for index in range(len(points))]
    trie = build_trie4(np.array(points), np.array(classes))
    for point in points:
        for address in {max(point - 1, 0), point, min(point + 1, (1 << 32) - 1), point ^ 255}:
            assert class4(trie, address) == classes[bisect_right(points, address) - 1]


@pytest.mark.parametrize("seed", range(20))
def test_every_ipv6_address_beside_a_boundary_has_the_class_of_its_interval(seed: int) -> None:
    points = boundaries(128, 60, seed)
    classes = [random.Random(seed + index).randrange(9) for index in range(len(points))]
    trie = Trie6(points, classes)
    for point in points:
        for address in {max(point - 1, 0), point, min(point + 1, ALL6), point ^ 255}:
            found, steps = class6(trie, address)
            assert found == classes[bisect_right(points, address) - 1]
            assert steps <= abi.TRIE6_STEPS


def test_the_deepest_ipv6_path_stays_within_what_the_program_walks() -> None:
    address = int.from_bytes(bytes(range(1, 17)), "big")
    points, steps = {0}, []
    for length in range(1, 129):
        start = address >> (128 - length) << (128 - length)
        points |= {start, start + (1 << (128 - length))}
    ordered = sorted(points)
    trie = Trie6(ordered, list(range(len(ordered))))
    for at in ordered:
        found, visited = class6(trie, at)
        assert found == ordered.index(at)
        steps.append(visited)
    assert 16 <= max(steps) <= abi.TRIE6_STEPS


def test_one_ipv6_host_is_one_comparison() -> None:
    host = (0xFD << 120) + 7
    trie = Trie6([0, host, host + 1], [0, 1, 0])
    assert len(trie.nodes) == abi.TRIE6_SKIP_NODE.size
    assert class6(trie, host) == (1, 1)
    assert class6(trie, host + 1) == (0, 1)


def test_without_ipv6_boundaries_the_root_is_a_class() -> None:
    trie = Trie6([0], [5])
    assert (trie.root, trie.nodes) == (5, b"")


def test_equal_ipv4_blocks_are_stored_once() -> None:
    points = [
        0,
        *(at for net in range(100) for at in ((10 << 24) + (net << 8) + 1, (10 << 24) + (net << 8) + 2)),
    ]
    classes = [0, *([1, 0] * 100)]
    trie = build_trie4(np.array(points), np.array(classes))
    assert len(trie) == abi.TRIE4_ROOT + 2 * 256
    assert class4(trie, (10 << 24) + (99 << 8) + 1) == 1
    assert class4(trie, (10 << 24) + (100 << 8) + 1) == 0


def test_ipv4_classes_beyond_fifteen_bits_are_refused_and_those_within_are_not() -> None:
    hosts = [AddressSet(f"host {index}", ((index << 8, 32),)) for index in range(abi.TRIE4_BLOCK)]
    four, _ = classify_addresses(hosts[:300])
    assert four.classes.count == 301
    with pytest.raises(CapacityError, match="IPv4 address classes: needs 32769, have 32768"):
        classify_addresses(hosts)


def test_ipv4_networks_that_need_too_many_blocks_are_refused() -> None:
    draw = random.Random(1)
    points, classes = [0], [0]
    for net in range(1, abi.TRIE4_BLOCK + 100):
        at = sorted(draw.sample(range(1, 256), 3))
        points += [(net << 8) + each for each in at]
        classes += [1, 2, 0]
    few = 3 * 1000 + 1
    assert class4(build_trie4(np.array(points[:few]), np.array(classes[:few])), points[1]) == 1
    with pytest.raises(CapacityError, match="blocks of the IPv4 table: needs 32769, have 32768"):
        build_trie4(np.array(points), np.array(classes))


def test_the_trie_of_unchanged_addresses_is_the_last_one_and_no_edit_of_one_shows_in_the_next() -> None:
    host = 0x20010DB8 << 96 | 1
    last, points, classes = LastTrie6(), [0, host, host + 1], [0, 1, 0]
    first, nodes = last.trie(points, classes)
    first.assign(host, 7)
    again, same = last.trie(list(points), list(classes))
    fresh = Trie6(points, classes)
    assert same is nodes
    assert (again.root, nodes, again.shared) == (fresh.root, fresh.nodes, fresh.shared)
    assert again.rebuild(0, 0, 0) == fresh.rebuild(0, 0, 0)
    assert again.nodes == fresh.nodes
    first.rebuild(0, 0, 0)
    assert first.nodes != again.nodes
    assert last.trie(points, [0, 2, 0])[1] != nodes
