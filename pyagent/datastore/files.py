"""Files that survive kill -9 and power loss: atomic replacement, a lock between processes, a counter."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from pyagent.errors import DatastoreError

TEMPORARY_PREFIX = ".tmp-"
DIRECTORY_MODE = 0o700
FILE_MODE = 0o600

#: Longer than any writer needs; shorter than an operator's patience with a stopped process.
LOCK_TIMEOUT_S = 10.0

COUNTER_DIGITS = 20


def read_regular(path: Path | str) -> bytes:
    """The content of a regular file. Raises OSError also for symbolic links, pipes and devices."""
    # O_NONBLOCK: opening a pipe somebody left there must not hang the reader.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def make_directory(path: Path, stop: Path) -> None:
    """Create ``path`` below the existing directory ``stop``, each level durable and private to its owner."""
    if path == stop:
        return
    make_directory(path.parent, stop)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=DIRECTORY_MODE)
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make creations, renames and removals in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Give ``path`` new content such that a process killed at any point leaves the old or the new one, whole.

    ``durable``: the same for a power failure, and on return the new content is there to stay.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{time.monotonic_ns()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(descriptor)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def remove(path: Path) -> None:
    """Remove a file durably; nothing happens if it is not there."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        sync_directory(path.parent)


@contextlib.contextmanager
def locked(path: Path, patience: float | None = None) -> Iterator[None]:
    """Hold the exclusive lock ``path`` against every other thread and process.

    ``patience``: seconds to wait for it, LOCK_TIMEOUT_S unless given.

    Not re-entrant. The kernel drops it with the process, so a killed writer never blocks anybody; one that is
    stopped makes others fail with DatastoreError.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        try:
            _flock(descriptor, path, LOCK_TIMEOUT_S if patience is None else patience)
            if _is_still(descriptor, path):
                yield
                return
        finally:
            os.close(descriptor)


def _flock(descriptor: int, path: Path, patience: float) -> None:
    """Lock an open file, waiting ``patience`` seconds at most."""
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    # Wait in the kernel, which wakes us at the very moment: whoever polls is starved by a busy writer. After
    # a timeout the caller closes the file, and the kernel then drops a lock that is granted too late.
    granted = threading.Event()

    def wait() -> None:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            granted.set()

    if patience > 0:
        threading.Thread(target=wait, name="datastore-lock", daemon=True).start()
    if not granted.wait(patience):
        msg = f"{path}: still locked by another process after {patience:g} s"
        raise DatastoreError(msg)


def _is_still(descriptor: int, path: Path) -> bool:
    """Whether the locked file is the one that others would open: it may have been removed meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


class Counter:
    """A number in a file that only ever grows; use it only while holding the store's lock.

    It is overwritten in place with a fixed width: one write of 21 bytes can neither be interrupted by a
    signal nor torn by the disk, and it needs no second directory sync.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> int | None:
        """The last number given out; None if the file is missing or was damaged."""
        try:
            text = read_regular(self._path)
        except FileNotFoundError:
            return None
        if len(text) != COUNTER_DIGITS + 1 or not text[:-1].isdigit():
            return None
        return int(text)

    def write(self, number: int) -> None:
        """Give out ``number``; durable on return."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        try:
            content = f"{number:0{COUNTER_DIGITS}d}\n".encode()
            os.pwrite(descriptor, content, 0)
            if os.fstat(descriptor).st_size != len(content):
                os.ftruncate(descriptor, len(content))
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
