"""Run a loaded program on one packet, without any interface: BPF_PROG_TEST_RUN."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from pyagent.bpf import syscall

_SK_BUFF_BYTES: Final = 192
_MARK_AT, _INGRESS_AT, _IFINDEX_AT = 8, 36, 40
_XDP_MD_BYTES: Final = 24


@dataclass(frozen=True, slots=True)
class Run:
    """What came of it: ``verdict`` is the return value, signed; ``nanoseconds`` is the mean of one run."""

    verdict: int
    nanoseconds: int
    packet: bytes = b""
    mark: int = 0


def run(
    program_fd: int,
    packet: bytes,
    *,
    ifindex: int = 0,
    ingress_ifindex: int = 0,
    mark: int = 0,
    repeat: int = 1,
    packet_out: bool = False,
) -> Run:
    """Run a classifier on ``packet``: an Ethernet header and at least a whole IP header.

    ``ifindex`` must exist in this network namespace (KernelError ENODEV otherwise), 0: loopback.
    ``ingress_ifindex`` is where the packet came in, 0: from this host itself.
    """
    context = bytearray(_SK_BUFF_BYTES)
    struct.pack_into("=I", context, _MARK_AT, mark)
    struct.pack_into("=II", context, _INGRESS_AT, ingress_ifindex, ifindex)
    room = len(packet) + 256 if packet_out else 0
    returned, packet_after, context_after, nanoseconds = syscall.prog_test_run(
        program_fd, packet, bytes(context), repeat, room, _SK_BUFF_BYTES
    )
    (mark_after,) = struct.unpack_from("=I", context_after, _MARK_AT)
    return Run(_signed(returned), nanoseconds, packet_after, mark_after)


def run_xdp(program_fd: int, packet: bytes, *, ingress_ifindex: int = 0, repeat: int = 1) -> Run:
    """Run an XDP program on ``packet``; ``ingress_ifindex`` 0: loopback."""
    context = b""
    if ingress_ifindex:
        context = struct.pack("=6I", 0, len(packet), 0, ingress_ifindex, 0, 0)
        assert len(context) == _XDP_MD_BYTES
    returned, _, _, nanoseconds = syscall.prog_test_run(program_fd, packet, context, repeat)
    return Run(_signed(returned), nanoseconds)


def _signed(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value
