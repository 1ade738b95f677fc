"""Compiled programs on disk, so that a start need not compile what was compiled before.

What is kept is what the compiler gave: instructions in which maps are numbered, for any agent of this
architecture whose sources and sizes are the same. It is root's own and trusted no further than its checksum
and the verifier go; whatever is wrong with it, the program is compiled anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from pyagent.errors import DriftError

log = logging.getLogger(__name__)

#: How many objects a cache keeps: a node's own, those before an upgrade, and those of other sizes.
KEPT: Final = 8
#: No object is near this size; what is larger is not one. In bytes.
_BYTES_MAX: Final = 16 << 20
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


class ObjectCache:
    """A directory of compiled programs, named by what they were compiled from.

    Nothing here raises for what is or is not on the disk: that costs a compilation, and is told in the log.
    """

    def __init__(self, path: Path, kept: int = KEPT) -> None:
        self._path, self._kept = path, kept

    def find(self, key: str) -> dict[str, bytes] | None:
        """Return each program's instructions; None if there are none, or none to be trusted."""
        try:
            programs = _unpacked(key, self._read(key))
        except FileNotFoundError:
            return None
        except (OSError, DriftError) as error:
            log.warning("compiled program not used file=%s reason=%r", self._path / key, str(error))
            return None
        with suppress(OSError):  # a read-only cache; its objects are never removed for their age
            os.utime(self._path / key)
        return programs

    def keep(self, key: str, programs: Mapping[str, bytes]) -> None:
        """Keep what was compiled, in place of what is there; the objects unused for longest make room."""
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_owner(self._path.stat())
            self._write(key, _packed(key, programs))
            self._make_room()
        except (OSError, DriftError) as error:
            log.warning("compiled program not kept file=%s reason=%r", self._path / key, str(error))

    def forget(self, key: str) -> None:
        """Remove an object that did not prove its worth."""
        with suppress(OSError):
            (self._path / key).unlink()

    def _read(self, key: str) -> bytes:
        _check_owner(self._path.stat())
        # Not blocking: somebody may have put a pipe there.
        descriptor = os.open(self._path / key, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size > _BYTES_MAX:
                raise DriftError("no file of the size of a program")
            _check_owner(found)
            return file.read()

    def _write(self, key: str, content: bytes) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self._path, prefix=".")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(temporary).replace(self._path / key)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _make_room(self) -> None:
        """Files that a killed agent left half written count as well, and age like the others."""
        files = sorted(self._path.iterdir(), key=lambda file: file.lstat().st_mtime, reverse=True)
        for file in files[self._kept :]:
            file.unlink(missing_ok=True)


def _check_owner(found: os.stat_result) -> None:
    """Raise DriftError if anybody but root and ourselves can have written it."""
    if found.st_uid not in {0, os.geteuid()}:
        raise DriftError(f"belongs to user {found.st_uid}")
    if found.st_mode & _WRITABLE_BY_OTHERS:
        raise DriftError(f"others can write it, its mode is {stat.S_IMODE(found.st_mode):o}")


def _packed(key: str, programs: Mapping[str, bytes]) -> bytes:
    body = json.dumps({name: code.hex() for name, code in programs.items()}).encode()
    return _checksum(key, body) + b"\n" + body


def _unpacked(key: str, content: bytes) -> dict[str, bytes]:
    checksum, _, body = content.partition(b"\n")
    if checksum != _checksum(key, body):
        raise DriftError("damaged: its checksum is another")
    return {name: bytes.fromhex(code) for name, code in json.loads(body).items()}


def _checksum(key: str, body: bytes) -> bytes:
    """The name is part of it, so that no object passes for another."""
    return hashlib.sha256(key.encode() + b"\n" + body).hexdigest().encode()
