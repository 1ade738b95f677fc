"""Waiting until no packet still reads what was in force before: one RCU grace period."""

from __future__ import annotations

import ctypes
import platform
import time
from typing import Final

_MEMBARRIER: Final = {"x86_64": 324, "aarch64": 283}
_GLOBAL: Final = 1
#: Where the kernel refuses (nohz_full), longer than any packet takes.
_SLEEP_S: Final = 0.1

_libc = ctypes.CDLL(None, use_errno=True)


def wait() -> None:
    """Return when every program run that began before has ended; some milliseconds.

    MEMBARRIER_CMD_GLOBAL is synchronize_rcu() by another name (kernel/sched/membarrier.c).
    """
    number = _MEMBARRIER.get(platform.machine())
    if number is None or _libc.syscall(number, _GLOBAL, 0, 0) != 0:
        time.sleep(_SLEEP_S)
