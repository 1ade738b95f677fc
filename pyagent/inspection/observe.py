"""Following the ring of events: one observer at a time, and an honest count of what it could not be told."""

from __future__ import annotations

import fcntl
import os
import select
import struct
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pyagent.bpf.pins import Pins
from pyagent.bpf.ringbuf import RingBuffer
from pyagent.dataplane.control import Control
from pyagent.errors import AutohepError
from pyagent.inspection.events import Event, decode
from pyagent.inspection.names import Library
from pyagent.inspection.pinned import Pinned

#: Seconds for which dropped packets are reported after the last refresh: an observer that is killed costs no
#: more than that.
WINDOW_S: Final = 10.0
_LOST_AT: Final = 2  # struct event_budget as u64: window, used with pad, lost


class Observer:
    """Reads events; while ``drops`` is on, dropped packets are reported too. Use it as a context manager."""

    def __init__(self, pins: Pins, state_directory: Path, *, drops: bool) -> None:
        """Raises AutohepError if another observer reads already, or nothing is loaded."""
        pinned = Pinned(pins)
        with ExitStack() as opened:
            opened.callback(os.close, _claim(pins))
            self._budget = opened.enter_context(pinned.open("event_budget"))
            pinned.open("events").close()  # for its checks
            self._ring = opened.enter_context(RingBuffer.open(pins.map("events")))
            self._control = opened.enter_context(Control(pinned.open("control")))
            self._opened = opened.pop_all()
        self._drops = drops
        self.library = Library(state_directory)
        self._lost = self._lost_so_far()

    def __enter__(self) -> Self:
        self.refresh()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drops:
            self._control.stop_reporting_drops()
        self._opened.close()

    def refresh(self) -> None:
        """Keep dropped packets reported for another :data:`WINDOW_S`."""
        if self._drops:
            self._control.report_drops(WINDOW_S)

    def wait(self, seconds: float) -> None:
        """Wait until there are events, at most so long."""
        select.select([self._ring], [], [], seconds)

    def read(self) -> list[Event]:
        """Take what the ring holds; never blocks."""
        in_force = self._control.generation
        return [decode(record, self.library, in_force) for record in self._ring.read()]

    def lost(self) -> int:
        """How many events were left out since this was last asked, for a CPU had used up its second's
        budget."""
        before, self._lost = self._lost, self._lost_so_far()
        return self._lost - before

    def _lost_so_far(self) -> int:
        values = self._budget.sum_per_cpu(struct.pack("=I", 0))
        return values[_LOST_AT] if values else 0


def _claim(pins: Pins) -> int:
    """Lock the pin directory: a second reader would move the ring's position under the first one's feet."""
    descriptor = os.open(pins.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise AutohepError(
            f"another observer reads the events of instance {pins.instance}; there can be one at a time"
        ) from error
    return descriptor
