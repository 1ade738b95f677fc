"""The kernel's own clock of flows and fragments: jiffies, and how many make a second."""

from __future__ import annotations

import os
import struct
import time
from typing import Final

from pyagent.bpf import syscall
from pyagent.bpf.numbers import ProgramType

_CB_AT: Final = 48
_SK_BUFF_BYTES: Final = 192
#: linux/time.h; Python has no name for it.
_CLOCK_MONOTONIC_COARSE: Final = 6


def _instruction(code: int, registers: int = 0, offset: int = 0, constant: int = 0) -> bytes:
    return struct.pack("=BBhi", code, registers, offset, constant)


#: cb[0] and cb[1] of the packet's context become the low and high half of bpf_jiffies64() (helper 118).
_PROGRAM: Final = b"".join((
    _instruction(0xBF, 0x16),  # r6 = r1
    _instruction(0x85, 0, 0, 118),  # r0 = jiffies64
    _instruction(0x63, 0x06, _CB_AT),  # *(u32 *)(r6 + 48) = r0
    _instruction(0x77, 0x00, 0, 32),  # r0 >>= 32
    _instruction(0x63, 0x06, _CB_AT + 4),
    _instruction(0xB7),  # r0 = 0
    _instruction(0x95),  # exit
))  # fmt: skip


class Jiffies:
    """Reads the kernel's jiffies, as the firewall's programs do; about ten microseconds a reading."""

    def __init__(self) -> None:
        self._fd = syscall.prog_load(ProgramType.SCHED_CLS, _PROGRAM, "autohep_jiffies")

    def close(self) -> None:
        """Unload the program."""
        os.close(self._fd)

    def now(self) -> int:
        """Return jiffies64."""
        _, _, context, _ = syscall.prog_test_run(
            self._fd, bytes(64), bytes(_SK_BUFF_BYTES), context_out_bytes=_SK_BUFF_BYTES
        )
        return int(struct.unpack_from("=Q", context, _CB_AT)[0])

    def rate(self) -> int:
        """Return how many jiffies make a second (CONFIG_HZ)."""
        return measure_rate()


def measure_rate() -> int:
    """Return how many jiffies make a second on this kernel: the coarse clocks advance once in each.

    Exact however busy the machine is; counting jiffies over a while is not.
    """
    return round(1 / time.clock_getres(_CLOCK_MONOTONIC_COARSE))
