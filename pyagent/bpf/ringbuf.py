"""Read a BPF ring buffer through its memory map, without a library.

The kernel writes records and moves the producer position; we read and move the consumer position. The
map's descriptor is pollable: give :meth:`RingBuffer.fileno` to ``loop.add_reader``, then
:meth:`RingBuffer.read`.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pyagent.bpf import syscall
from pyagent.bpf.numbers import MapType
from pyagent.bpf.objects import map_info
from pyagent.errors import DriftError, KernelError

_BUSY: Final = 1 << 31
_DISCARDED: Final = 1 << 30
_HEADER_BYTES: Final = 8


class RingBuffer:
    """One consumer of a ring buffer map; there must not be another one at the same time.

    A second consumer would move the position under the first one's feet. Close it, or use it in ``with``.
    """

    def __init__(self, fd: int) -> None:
        info = map_info(fd)
        if info.type != MapType.RINGBUF:
            raise DriftError(f"map {info.name} is of type {info.type}, not a ring buffer")
        self._fd = fd
        self._size = info.max_entries
        self._fence = threading.Lock()
        page = mmap.PAGESIZE
        try:
            self._consumer = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            # The kernel maps the records twice in a row, so that none is ever split.
            self._producer = mmap.mmap(
                fd, page + 2 * self._size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page
            )
        except OSError as error:
            raise KernelError("map ring buffer into memory", error.errno or errno.EIO) from error
        self._consumed = memoryview(self._consumer).cast("Q")
        self._produced = memoryview(self._producer)[:8].cast("Q")
        self._records = memoryview(self._producer)[page:]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the ring buffer pinned at ``path``."""
        fd = syscall.obj_get(path)
        try:
            return cls(fd)
        except (DriftError, KernelError):
            os.close(fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release memory and descriptor; what was not read stays in the ring. A second time does nothing."""
        if self._fd < 0:
            return
        for view in (self._consumed, self._produced, self._records):
            view.release()
        self._consumer.close()
        self._producer.close()
        os.close(self._fd)
        self._fd = -1

    def fileno(self) -> int:
        """Return the descriptor to poll: readable while there are records."""
        return self._fd

    def read(self, limit: int = 1024) -> list[bytes]:
        """Take up to ``limit`` complete records, in the order they were reserved; never blocks."""
        records: list[bytes] = []
        position = self._consumed[0]
        while len(records) < limit and position < self._load(self._produced):
            record, size = self._record_at(position)
            if size < 0:
                break  # reserved, but its writer is not done
            if record is not None:
                records.append(record)
            position += size
            self._store(position)
        return records

    def _record_at(self, position: int) -> tuple[bytes | None, int]:
        """Return (record or None if it was discarded, its bytes in the ring or -1 while it is written)."""
        at = position & (self._size - 1)
        header = self._load(self._records[at : at + 4].cast("I"))
        if header & _BUSY:
            return None, -1
        length = header & ~_DISCARDED
        start = at + _HEADER_BYTES
        record = None if header & _DISCARDED else bytes(self._records[start : start + length])
        return record, (length + _HEADER_BYTES + 7) & ~7

    def _load(self, word: memoryview) -> int:
        """Read a position or header, and nothing after it earlier: a lock orders memory on every machine."""
        value: int = word[0]
        with self._fence:
            return value

    def _store(self, position: int) -> None:
        """Give the space up to ``position`` back, after all reads of it."""
        with self._fence:
            self._consumed[0] = position
