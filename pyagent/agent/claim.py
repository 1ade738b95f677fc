"""One agent for one set of pins: the second one refuses to start."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pyagent.bpf.pins import Pins
from pyagent.errors import AutohepError


class Claim:
    """Makes sure that this is the only agent of these pins, whatever its state directory.

    The lock lies on their directory, so that everybody finds it who would work on them. Call :meth:`renew`
    when that may be another one, as on a bpffs mounted anew.
    """

    def __init__(self, pins: Pins) -> None:
        """Raises AutohepError if another agent runs."""
        self.pins = pins
        self._directory = self._locked()

    def renew(self) -> None:
        """Claim the directory that is there now. Raises AutohepError if another agent has done so before."""
        held, present = os.fstat(self._directory), (self.pins.base / self.pins.instance).stat()
        if (held.st_dev, held.st_ino) != (present.st_dev, present.st_ino):
            fresh = self._locked()
            os.close(self._directory)
            self._directory = fresh

    def close(self) -> None:
        """Give it back."""
        os.close(self._directory)

    def _locked(self) -> int:
        directory = os.open(self.pins.base / self.pins.instance, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(directory)
            raise AutohepError(
                f"another agent runs as instance {self.pins.instance}; stop it first"
            ) from error
        return directory


@contextmanager
def claimed(pins: Pins) -> Iterator[Claim]:
    """Hold a :class:`Claim` meanwhile."""
    claim = Claim(pins)
    try:
        yield claim
    finally:
        claim.close()
