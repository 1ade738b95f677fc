"""Keeping the C library's heap small in a process that lives for months and works in bursts."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

_M_ARENA_MAX: Final = -8


def be_frugal() -> None:
    """Have all threads share one arena: each would keep megabytes of its own, and none is in a hurry."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return freed memory to the kernel; milliseconds, so not after everything."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
