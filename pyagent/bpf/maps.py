"""Pinned maps as Python objects: opened with a check of their shape, read and written in bulk.

Keys and values are bytes; their layouts are in :mod:`pyagent.abi`.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pyagent.bpf import numbers, syscall
from pyagent.bpf.objects import MapInfo, map_info
from pyagent.errors import DriftError, KernelError

_BATCH: Final = 4096
_LARGEST_BATCH: Final = 1 << 20


def possible_cpus() -> int:
    """How many CPUs the kernel keeps per-CPU cells for."""
    text = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii")
    return int(text.strip().split(",")[-1].split("-")[-1]) + 1


#: Batches are not there at all, or (ENOTSUPP, which has no name here) not for this kind of map: before 5.13
#: not for per-CPU arrays, in 5.10 not for tries.
_NO_BATCHES: Final = frozenset({errno.EINVAL, 524})


@dataclass(frozen=True, slots=True)
class MapSpec:
    """What a map must be; sizes in bytes, None: anything will do.

    ``layout``: of a map whose contents outlive versions of the program, the number of what its bytes mean; 0:
    of any other.
    """

    name: str
    type: numbers.MapType
    key_size: int
    value_size: int
    max_entries: int | None = None
    flags: int | None = None
    layout: int = 0

    @property
    def kernel_name(self) -> str:
        """What the kernel calls it, our prefix apart; a later layout's number is part of it."""
        return f"{self.name}_{self.layout}" if self.layout > 1 else self.name

    def differences(self, info: MapInfo) -> list[str]:
        """Say where ``info`` is not what this asks for."""
        wanted = (
            ("type", int(self.type), info.type),
            ("key size", self.key_size, info.key_size),
            ("value size", self.value_size, info.value_size),
            ("max entries", self.max_entries, info.max_entries),
            ("flags", self.flags, info.flags),
        )
        return [f"{what} is {have}, not {want}" for what, want, have in wanted if want not in (None, have)]


class Map:
    """One map of the kernel. Close it, or use it as a context manager.

    ``value_bytes`` is what a value takes in user space: in per-CPU maps a cell, rounded up to 8 bytes, a CPU.
    """

    def __init__(self, fd: int, name: str = "") -> None:
        self.fd = fd
        self.info = map_info(fd)
        self.name = name or self.info.name
        self.per_cpu = self.info.type in numbers.PER_CPU
        self.value_bytes = (
            (self.info.value_size + 7 & ~7) * possible_cpus() if self.per_cpu else self.info.value_size
        )

    @classmethod
    def open(cls, path: Path, spec: MapSpec | None = None) -> Self:
        """Open the map pinned at ``path``; DriftError if it is not what ``spec`` asks for."""
        opened = cls(syscall.obj_get(path), spec.name if spec else path.name)
        differences = spec.differences(opened.info) if spec else []
        if differences:
            opened.close()
            raise DriftError(f"map {path}: {'; '.join(differences)}")
        return opened

    @classmethod
    def create(cls, spec: MapSpec, prefix: str = "") -> Self:
        """Make a map that lives while open or pinned; the kernel lists it as ``prefix`` and its name."""
        entries = spec.max_entries or 1
        sizes = (spec.key_size, spec.value_size, entries, spec.flags or 0)
        return cls(syscall.map_create(spec.type, *sizes, name=prefix + spec.kernel_name), spec.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor; a second time does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    # ---- single elements ----

    def get(self, key: bytes) -> bytes | None:
        """Return the value of ``key``, None if there is none."""
        return syscall.map_lookup(self.fd, key, self.value_bytes)

    def set(self, key: bytes, value: bytes | bytearray | memoryview, flags: int = numbers.UPDATE_ANY) -> None:
        """Set ``key`` to ``value``."""
        self._must_fit(len(key), self.info.key_size, "key")
        self._must_fit(len(value), self.value_bytes, "value")
        syscall.map_update(self.fd, key, value, flags)

    def delete(self, key: bytes) -> bool:
        """Delete ``key``; False if there was none."""
        self._must_fit(len(key), self.info.key_size, "key")
        return syscall.map_delete(self.fd, key)

    # ---- all elements ----

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over the elements, each key once.

        What is added or deleted meanwhile may be missed or still be seen.
        """
        seen: set[bytes] = set()
        for batch in self._batches():
            for key, value in _pairs(batch, self.info.key_size, self.value_bytes):
                if key not in seen:
                    seen.add(key)
                    yield key, value

    def keys(self) -> Iterator[bytes]:
        """Iterate over the keys, each once."""
        return (key for key, _ in self.items())

    def __len__(self) -> int:
        """Count the elements, by reading them all."""
        return sum(1 for _ in self.items())

    def estimate(self, sample: int = 4096) -> tuple[int, bool]:
        """Say how many elements a hash or trie has, and whether that is exact.

        Of a hash with more than ``sample`` elements only so many are read, and the buckets that they fill: a
        table of a million flows costs as much as one of four thousand, and the answer is off by 2 % or so.
        """
        if self.info.type not in numbers.HASHES or self.info.max_entries <= sample:
            return len(self), True
        try:
            batch = syscall.map_lookup_batch(self.fd, None, self.info.key_size, self.value_bytes, sample)
        except KernelError as error:
            if error.errno not in _NO_BATCHES:
                raise
            return len(self), True  # a kernel without batches
        if batch.token is None:
            return batch.count, True
        (reached,) = struct.unpack_from("=I", batch.token)
        buckets = 1 << (self.info.max_entries - 1).bit_length()
        return min(self.info.max_entries, batch.count * buckets // max(reached, 1)), False

    def update_many(self, pairs: Iterable[tuple[bytes, bytes]]) -> int:
        """Set many elements with few system calls; returns how many. What is not named stays."""
        keys, values, count = bytearray(), bytearray(), 0
        for key, value in pairs:
            self._must_fit(len(key), self.info.key_size, "key")
            self._must_fit(len(value), self.value_bytes, "value")
            keys += key
            values += value
            count += 1
        if count:
            try:
                syscall.map_update_batch(self.fd, keys, values, count)
            except KernelError as error:
                if error.errno not in _NO_BATCHES:
                    raise
                for key, value in _pairs(
                    syscall.Batch(bytes(keys), bytes(values), count, None),
                    self.info.key_size,
                    self.value_bytes,
                ):
                    syscall.map_update(self.fd, key, value, numbers.UPDATE_ANY)
        return count

    def delete_many(self, keys: Iterable[bytes]) -> int:
        """Delete many keys; those that are gone already do not disturb. Returns how many were there."""
        wanted = list(keys)
        deleted = start = 0
        while start < len(wanted):
            rest = wanted[start:]
            try:
                done = syscall.map_delete_batch(self.fd, b"".join(rest), len(rest))
            except KernelError as error:
                if error.errno not in _NO_BATCHES:
                    raise
                return deleted + sum(syscall.map_delete(self.fd, key) for key in rest)
            deleted += done
            start += done + 1  # the batch stopped at a key that was gone, or it is finished
        return deleted

    def clear(self) -> int:
        """Delete every element of a hash or trie; returns how many."""
        return self.delete_many(list(self.keys()))

    # ---- special shapes ----

    def sum_per_cpu(self, key: bytes) -> tuple[int, ...] | None:
        """Add a per-CPU value of u64 fields up over all CPUs; None if there is no such element."""
        value = self.get(key)
        return None if value is None else self.sum_value(value)

    def sum_value(self, value: bytes) -> tuple[int, ...]:
        """Add one raw per-CPU value of u64 fields up over all CPUs."""
        fields = self.info.value_size // 8
        cells = struct.iter_unpack(f"={fields}Q", value)
        return tuple(sum(column) for column in zip(*cells, strict=True))

    def memory(self, writable: bool = True, at: int = 0, length: int = 0) -> mmap.mmap:
        """Map an F_MMAPABLE array into memory: elements lie one after another, each rounded up to 8 bytes.

        ``at``, ``length``: what of it, in bytes; whole pages are mapped, ``at`` must begin one. Else all.
        The caller closes it; it outlives the map's own descriptor. Fit for memoryview and numpy.frombuffer.
        """
        if not self.info.flags & numbers.F_MMAPABLE:
            raise KernelError(f"map {self.name} into memory", errno.EINVAL, "it was not made with F_MMAPABLE")
        if self.fd < 0:  # which would be memory of no map at all
            raise KernelError(f"map {self.name} into memory", errno.EBADF, "it is closed")
        size = length or (self.info.value_size + 7 & ~7) * self.info.max_entries - at
        size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        try:
            return mmap.mmap(self.fd, size, mmap.MAP_SHARED, protection, offset=at)
        except OSError as error:
            raise KernelError(f"map {self.name} into memory", error.errno or errno.EIO) from error

    def _must_fit(self, have: int, want: int, what: str) -> None:
        # The kernel reads as many bytes as the map says, whatever we hand over.
        if have != want:
            raise DriftError(f"map {self.name}: {what} has {have} bytes, not {want}")

    def _batches(self) -> Iterator[syscall.Batch]:
        token: bytes | None = None
        count = min(_BATCH, max(self.info.max_entries, 16))
        received, limit = 0, 2 * self.info.max_entries + _BATCH
        # A trie whose token was deleted meanwhile starts anew: bounded, lest a busy writer hold us here.
        while received < limit:
            try:
                batch = syscall.map_lookup_batch(self.fd, token, self.info.key_size, self.value_bytes, count)
            except KernelError as error:
                if error.errno in _NO_BATCHES and token is None:
                    yield self._one_by_one()
                    return
                if error.errno != errno.ENOSPC or count >= _LARGEST_BATCH:
                    raise
                count *= 2  # a hash bucket with more elements than we made room for
                continue
            yield batch
            received += batch.count
            token = batch.token
            if token is None:
                return

    def _one_by_one(self) -> syscall.Batch:
        """All elements as one batch, from a kernel that has no batches for this kind of map."""
        keys, values, count = bytearray(), bytearray(), 0
        key = syscall.map_next_key(self.fd, None, self.info.key_size)
        # Bounded: the key after one that was deleted meanwhile is the first again.
        while key is not None and count < 2 * self.info.max_entries:
            if (value := self.get(key)) is not None:
                keys += key
                values += value
                count += 1
            key = syscall.map_next_key(self.fd, key, self.info.key_size)
        return syscall.Batch(bytes(keys), bytes(values), count, None)


def _pairs(batch: syscall.Batch, key_size: int, value_bytes: int) -> Iterator[tuple[bytes, bytes]]:
    for index in range(batch.count):
        key_at, value_at = index * key_size, index * value_bytes
        yield batch.keys[key_at : key_at + key_size], batch.values[value_at : value_at + value_bytes]
