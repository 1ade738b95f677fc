"""The control cell: which generation is in force, and the two switches that work without an agent."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from types import TracebackType
from typing import Final, Self

from pyagent import abi
from pyagent.bpf.clock import Jiffies
from pyagent.bpf.maps import Map

#: Offsets in struct control.
_RESCUE_AT: Final = 8
_EVENTS_AT: Final = 16


class Control:
    """The pinned control map; times are in seconds from now. Close it, or use it as a context manager.

    Only single aligned words are written, so the agent's part of the cell is never touched.
    """

    def __init__(self, control: Map) -> None:
        self._map = control
        self._memory = control.memory()
        self._clock = Jiffies()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the map; what was switched stays until its time is over."""
        self._clock.close()
        self._memory.close()
        self._map.close()

    @property
    def generation(self) -> int:
        """The generation in force; 0: none."""
        return int(abi.CONTROL.unpack_from(self._memory)[0])

    @cached_property
    def rate(self) -> int:
        """Jiffies in a second."""
        return self._clock.rate()

    def jiffies(self) -> int:
        """The kernel's jiffies64, the clock of flows and switches."""
        return self._clock.now()

    # ---- rescue ----

    def open_rescue(self, seconds: float) -> None:
        """Let every packet pass for so long."""
        self._set(_RESCUE_AT, self._after(seconds))

    def close_rescue(self) -> None:
        """Judge packets again, now."""
        self._set(_RESCUE_AT, 0)

    def rescue_left(self) -> float:
        """How long everything still passes; 0: packets are judged."""
        return self._left(_RESCUE_AT)

    # ---- events of dropped packets ----

    def report_drops(self, seconds: float) -> None:
        """Have dropped packets reported as events for so long."""
        self._set(_EVENTS_AT, self._after(seconds))

    def stop_reporting_drops(self) -> None:
        """Only Log rules report, from now on."""
        self._set(_EVENTS_AT, 0)

    def drops_reported_for(self) -> float:
        """How long dropped packets are still reported; 0: they are not."""
        return self._left(_EVENTS_AT)

    def _after(self, seconds: float) -> int:
        return self.jiffies() + max(1, round(seconds * self.rate))

    def _left(self, offset: int) -> float:
        with self._word(offset) as word:
            until = word.value
        return max(0, until - self.jiffies()) / self.rate if until else 0.0

    def _set(self, offset: int, value: int) -> None:
        with self._word(offset) as word:
            word.value = value

    @contextmanager
    def _word(self, offset: int) -> Iterator[ctypes.c_uint64]:
        """One aligned word of the cell: the program reads it as one, so it is stored as one."""
        word = ctypes.c_uint64.from_buffer(self._memory, offset)
        try:
            yield word
        finally:
            del word  # it holds the mapping open
