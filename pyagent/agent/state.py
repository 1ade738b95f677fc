"""What an agent keeps on local disk: its status, the image last put in force, the endpoints' numbers."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pyagent import abi
from pyagent.agent.boot import Boot, pack, unpack
from pyagent.compiler.image import Image
from pyagent.compiler.saved import IMAGE, METADATA
from pyagent.errors import AutohepError

log = logging.getLogger(__name__)

STATUS: Final = "status.json"
ENDPOINTS: Final = "endpoints.json"
BOOT: Final = "boot.img"
#: The folder of compiled programs.
OBJECTS: Final = "objects"

#: Names of files that are being written, as tempfile makes them.
_HALF: Final = re.compile(r"\..+\.[a-z0-9_]{8}")


class StateDirectory:
    """The agent's directory; files are replaced whole, so a reader never sees half of one.

    Close it, or use it as a context manager: that gives a claim back.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the claim back; a second time does nothing."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def claim(self) -> None:
        """Make sure that this is the only agent of this directory. Raises AutohepError if another runs."""
        lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise AutohepError(f"another agent runs on {self.path}; stop it first") from error
        self._lock = lock
        self._remove_halves()

    def _remove_halves(self) -> None:
        """Remove what an agent that was killed while it wrote has left; nobody else writes here."""
        for file in self.path.iterdir():
            if _HALF.fullmatch(file.name):
                file.unlink(missing_ok=True)

    def write_status(self, status: Mapping[str, Any]) -> bool:
        """Say how things stand; False: the disk did not take it."""
        return self._keep(STATUS, json.dumps(status, indent=1).encode())

    def write_image(self, image: Image) -> bool:
        """Keep what was put in force, for inspection; False: the disk did not take all of it."""
        kept = self._keep(IMAGE, bytes(image.data))
        metadata = {"slots": image.slots, **image.metadata, **image.outline()}
        return self._keep(METADATA, json.dumps(metadata).encode()) and kept

    def update_image(self, data: bytes, sizes: Mapping[int, tuple[int, int]]) -> None:
        """Keep an image that was edited in place; ``sizes``: of address sets by place, where they changed."""
        try:
            metadata = json.loads((self.path / METADATA).read_bytes())
            for place, (v4, v6) in sizes.items():
                metadata["sets"][place].update(v4=v4, v6=v6)
        except (OSError, ValueError, KeyError, IndexError) as error:
            log.warning("not saved file=%s reason=%r", self.path / METADATA, str(error))
            return
        self._keep(IMAGE, data)
        self._keep(METADATA, json.dumps(metadata).encode())

    def write_boot(self, boot: Boot) -> None:
        """Keep what a start without datastore puts in force; it outlives a loss of power.

        Raises OSError if the disk does not take it; what was kept before is then still there.
        """
        self._replace(BOOT, pack(boot), durable=True)

    def read_boot(self) -> Boot | None:
        """Return what was kept for a start without datastore; None: nothing. DriftError if it is damaged."""
        try:
            content = (self.path / BOOT).read_bytes()
        except FileNotFoundError:
            return None
        return unpack(content, str(self.path / BOOT))

    def write_file(self, name: str, content: bytes) -> None:
        """Keep a file of the agent's; a disk that is full is told in the log."""
        self._keep(name, content)

    def read_file(self, name: str) -> bytes:
        """Return what :meth:`write_file` kept; empty if there is nothing, or nothing readable."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            log.warning("not read file=%s reason=%r", self.path / name, str(error))
            return b""

    def endpoint_numbers(self, names: Sequence[str]) -> dict[str, int]:
        """Give each endpoint a number that it keeps, also over restarts: flows remember who approved them.

        Endpoints beyond the last number share it: their flows are then approved together.
        """
        kept = {name: number for name, number in self._read_numbers().items() if name in names}
        free = [number for number in range(abi.ENDPOINTS_MAX - 1) if number not in kept.values()]
        before = dict(kept)
        for name in names:
            if name not in kept:
                kept[name] = free.pop(0) if free else abi.ENDPOINTS_MAX - 1
        if kept != before:
            self._keep(ENDPOINTS, json.dumps(kept).encode())
        return kept

    def _read_numbers(self) -> dict[str, int]:
        try:
            raw = json.loads((self.path / ENDPOINTS).read_text())
            return {str(name): int(number) for name, number in raw.items()}
        except (FileNotFoundError, ValueError, AttributeError):
            return {}

    def _keep(self, name: str, content: bytes) -> bool:
        """Replace a file; a full disk is no reason not to enforce. False: it was not replaced."""
        try:
            self._replace(name, content)
        except OSError as error:
            log.warning("not saved file=%s reason=%r", self.path / name, str(error))
            return False
        return True

    def _replace(self, name: str, content: bytes, *, durable: bool = False) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self.path, prefix=f".{name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            Path(temporary).replace(self.path / name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
