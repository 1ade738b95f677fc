"""What the kernel holds for one instance of the agent, pinned or not: a leak is whatever nobody pins."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pyagent.bpf import objects, syscall
from pyagent.bpf.maps import Map
from pyagent.bpf.numbers import Command
from pyagent.bpf.pins import Pins
from pyagent.errors import KernelError

T = TypeVar("T")

# linux/bpf.h, enum bpf_cmd: walking over all objects of the kernel.
_PROG_NEXT, _LINK_FD, _LINK_NEXT = 11, 30, 31


@dataclass(frozen=True)
class Census:
    """How many objects belong to an instance: programs that use its maps, those maps, links to those."""

    programs: int
    maps: int
    links: int


def census(pins: Pins) -> Census:
    """Count what belongs to an instance. What vanishes meanwhile is not counted."""
    with Map.open(pins.map("control")) as control:
        mark = control.info.id
    programs: set[int] = set()
    maps: set[int] = set()
    for program, info in _walk(_PROG_NEXT, Command.PROG_GET_FD_BY_ID, objects.program_info):
        if mark in info.map_ids:
            programs.add(program)
            maps.update(info.map_ids)
    links = [
        info for _, info in _walk(_LINK_NEXT, _LINK_FD, objects.link_info) if info.program_id in programs
    ]
    return Census(len(programs), len(maps), len(links))


def _walk(following: int, opening: int, describe: Callable[[int], T]) -> Iterator[tuple[int, T]]:
    number = 0
    while number := _next(following, number):
        try:
            fd = syscall._do("open by id", opening, syscall._attr("III", number, 0, 0))  # type: ignore[arg-type]
        except KernelError:
            continue
        try:
            yield number, describe(fd)
        finally:
            os.close(fd)


def _next(command: int, number: int) -> int:
    attr = syscall._attr("III", number, 0, 0)
    try:
        syscall._do("next id", command, attr)  # type: ignore[arg-type]
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return 0
        raise
    return int(struct.unpack_from("=I", attr, 4)[0])


def resident_kib(pid: int) -> int:
    """Memory of a process that is in RAM, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
