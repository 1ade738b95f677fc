"""Tiny programs and maps for tests of the kernel interface itself; no part of the firewall."""

from __future__ import annotations

import struct
from pathlib import Path

from pyagent.bpf import syscall
from pyagent.bpf.loader import source_dir
from pyagent.bpf.numbers import ProgramType

ETHERNET_IPV4 = bytes(12) + b"\x08\x00" + bytes.fromhex("45000028000100004006") + bytes(30)


def instruction(code: int, registers: int = 0, offset: int = 0, constant: int = 0) -> bytes:
    return struct.pack("=BBhi", code, registers, offset, constant)


def returns(value: int) -> bytes:
    """A program that only returns ``value``."""
    return instruction(0xB7, 0, 0, value) + instruction(0x95)


def classifier(value: int, name: str = "autohep_test") -> int:
    """Load a classifier that returns ``value``."""
    return syscall.prog_load(ProgramType.SCHED_CLS, returns(value), name)


def tiny_source(folder: Path, body: str) -> Path:
    """A main file with the project's header shim beside it, as build wants it."""
    (folder / "shim").symlink_to(source_dir() / "shim", target_is_directory=True)
    (folder / "tiny.c").write_text(body)
    return folder / "tiny.c"
