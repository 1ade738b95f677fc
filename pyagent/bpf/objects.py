"""What the kernel says of a map, a program or a link: its info structure, decoded."""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from pyagent.bpf import syscall
from pyagent.errors import KernelError

_MAP_INFO_BYTES = 88
_PROGRAM_INFO_BYTES = 232
_LINK_INFO_BYTES = 64


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode(errors="replace")


@dataclass(frozen=True, slots=True)
class MapInfo:
    """A map as the kernel has it; sizes in bytes, ``value_size`` of one CPU for a per-CPU map."""

    id: int
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    name: str
    btf_id: int

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """What must agree for two maps to be exchangeable: type, sizes, capacity and flags."""
        return self.type, self.key_size, self.value_size, self.max_entries, self.flags


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """A program as the kernel has it; run time in nanoseconds, counted only while statistics are enabled."""

    id: int
    type: int
    tag: str
    name: str
    map_ids: tuple[int, ...]
    run_ns: int
    runs: int


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """A link as the kernel has it; ``ifindex`` 0: its interface is gone."""

    id: int
    type: int
    program_id: int
    ifindex: int
    attach_type: int


def map_info(fd: int) -> MapInfo:
    """Describe the map behind ``fd``."""
    raw = syscall.obj_info(fd, _MAP_INFO_BYTES)
    kind, number, key_size, value_size, max_entries, flags, name = struct.unpack_from("=6I16s", raw)
    (btf_id,) = struct.unpack_from("=I", raw, 64)
    return MapInfo(number, kind, key_size, value_size, max_entries, flags, _text(name), btf_id)


def program_info(fd: int) -> ProgramInfo:
    """Describe the program behind ``fd``."""
    count = struct.unpack_from("=I", syscall.obj_info(fd, _PROGRAM_INFO_BYTES), 52)[0]
    ids = (ctypes.c_uint32 * max(count, 1))()
    request = bytearray(_PROGRAM_INFO_BYTES)
    struct.pack_into("=IQ", request, 52, count, ctypes.addressof(ids))
    raw = syscall.obj_info_with(fd, bytes(request))
    kind, number, tag = struct.unpack_from("=II8s", raw)
    (name,) = struct.unpack_from("=16s", raw, 64)
    run_ns, runs = struct.unpack_from("=QQ", raw, 192)
    return ProgramInfo(number, kind, tag.hex(), _text(name), tuple(ids[:count]), run_ns, runs)


def link_info(fd: int) -> LinkInfo:
    """Describe the link behind ``fd`` (tcx or XDP)."""
    kind, number, program, _, ifindex, attach = struct.unpack_from(
        "=6I", syscall.obj_info(fd, _LINK_INFO_BYTES)
    )
    return LinkInfo(number, kind, program, ifindex, attach)


def pinned_program_info(path: Path) -> ProgramInfo:
    """Describe the program pinned at ``path``."""
    fd = syscall.obj_get(path)
    try:
        return program_info(fd)
    finally:
        os.close(fd)


def program_name(program_id: int) -> str:
    """Name the program with that id; its number where it has no name or is gone."""
    try:
        fd = syscall.prog_by_id(program_id)
    except KernelError:
        return f"program {program_id}"
    try:
        return program_info(fd).name or f"program {program_id}"
    finally:
        os.close(fd)


def pinned_link_info(path: Path) -> LinkInfo:
    """Describe the link pinned at ``path``."""
    fd = syscall.obj_get(path)
    try:
        return link_info(fd)
    finally:
        os.close(fd)
