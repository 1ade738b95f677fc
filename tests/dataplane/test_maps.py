"""Typed maps: bulk reads and writes that are right for every type, and the check of a pinned map's shape."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pyagent.bpf import numbers, syscall
from pyagent.bpf.maps import Map, MapSpec, possible_cpus
from pyagent.bpf.numbers import MapType
from pyagent.bpf.pins import Pins
from pyagent.errors import DriftError, KernelError


def word(value: int) -> bytes:
    return struct.pack("=I", value)


def trie_key(value: int) -> bytes:
    return struct.pack("=I", 128) + value.to_bytes(16, "big")


@pytest.mark.parametrize(
    ("kind", "key_size", "flags", "key"),
    [
        (MapType.HASH, 4, 0, word),
        (MapType.LRU_HASH, 4, 0, word),
        (MapType.LPM_TRIE, 20, numbers.F_NO_PREALLOC, trie_key),
    ],
)
def test_many_elements_survive_the_way_in_and_out(kind, key_size, flags, key) -> None:  # type: ignore[no-untyped-def]
    wanted = {key(number): struct.pack("=Q", number) for number in range(10_000)}
    with Map.create(MapSpec("many", kind, key_size, 8, 20_000, flags)) as many:
        assert many.update_many(wanted.items()) == 10_000
        assert dict(many.items()) == wanted
        assert len(many) == 10_000
        gone = [key(number) for number in range(0, 10_000, 2)]
        assert many.delete_many([key(99_999), *gone, key(88_888)]) == 5_000
        assert set(many.keys()) == set(wanted) - set(gone)
        assert many.clear() == 5_000
        assert dict(many.items()) == {}


def test_an_array_lists_all_its_elements() -> None:
    with Map.create(MapSpec("array", MapType.ARRAY, 4, 8, 100, 0)) as array:
        array.set(word(7), struct.pack("=Q", 49))
        items = dict(array.items())
        assert len(items) == 100
        assert items[word(7)] == struct.pack("=Q", 49)


def test_per_cpu_values_are_added_up() -> None:
    with Map.create(MapSpec("cells", MapType.PERCPU_ARRAY, 4, 16, 1, 0)) as cells:
        cpus = possible_cpus()
        cells.set(word(0), b"".join(struct.pack("=QQ", 1, cpu) for cpu in range(cpus)))
        assert cells.sum_per_cpu(word(0)) == (cpus, sum(range(cpus)))
        assert cells.sum_per_cpu(word(1)) is None


def test_a_mapped_array_shows_what_was_written_on_either_side() -> None:
    spec = MapSpec("mapped", MapType.ARRAY, 4, 8192, 2, numbers.F_MMAPABLE)
    with Map.create(spec) as mapped:
        memory = mapped.memory()
        memory[8192:8196] = b"side"
        assert (mapped.get(word(1)) or b"")[:4] == b"side"
        mapped.set(word(0), b"x" * 8192)
        assert memory[:8192] == b"x" * 8192
        memory.close()


def test_an_array_without_the_flag_cannot_be_mapped() -> None:
    with (
        Map.create(MapSpec("plain", MapType.ARRAY, 4, 8, 1, 0)) as plain,
        pytest.raises(KernelError, match="F_MMAPABLE"),
    ):
        plain.memory()


def test_a_closed_map_is_not_taken_for_memory() -> None:
    with Map.create(MapSpec("mapped", MapType.ARRAY, 4, 8192, 2, numbers.F_MMAPABLE)) as mapped:
        mapped.memory().close()
    with pytest.raises(KernelError, match="it is closed"):
        mapped.memory()


def test_keys_and_values_of_another_size_are_refused() -> None:
    with Map.create(MapSpec("strict", MapType.HASH, 4, 8, 10, 0)) as strict:
        with pytest.raises(DriftError, match="key has 3 bytes, not 4"):
            strict.set(b"abc", bytes(8))
        with pytest.raises(DriftError, match="value has 9 bytes, not 8"):
            strict.update_many([(word(1), bytes(9))])


def test_a_pinned_map_opens_if_it_is_what_is_expected(pins: Pins) -> None:
    pins.create()
    spec = MapSpec("sample", MapType.HASH, 4, 8, 10, 0)
    with Map.create(spec) as made:
        syscall.obj_pin(made.fd, pins.map("sample"))
    with Map.open(pins.map("sample"), spec) as opened:
        assert opened.info.max_entries == 10


@pytest.mark.parametrize(
    ("expected", "complaint"),
    [
        (MapSpec("sample", MapType.ARRAY, 4, 8, 10, 0), "type is 1, not 2"),
        (MapSpec("sample", MapType.HASH, 8, 8, 10, 0), "key size is 4, not 8"),
        (MapSpec("sample", MapType.HASH, 4, 4, 10, 0), "value size is 8, not 4"),
        (MapSpec("sample", MapType.HASH, 4, 8, 11, 0), "max entries is 10, not 11"),
        (MapSpec("sample", MapType.HASH, 4, 8, 10, 1), "flags is 0, not 1"),
    ],
)
def test_a_pinned_map_of_another_shape_is_drift(pins: Pins, expected: MapSpec, complaint: str) -> None:
    pins.create()
    with Map.create(MapSpec("sample", MapType.HASH, 4, 8, 10, 0)) as made:
        syscall.obj_pin(made.fd, pins.map("sample"))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(DriftError, match=complaint):
        Map.open(pins.map("sample"), expected)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
