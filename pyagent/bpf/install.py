"""Compiled programs into the kernel: make or reuse their maps, load, pin over what was there before."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pyagent.bpf import layout, syscall
from pyagent.bpf.build import FIRST_MAP
from pyagent.bpf.maps import Map, MapSpec
from pyagent.bpf.pins import Pins
from pyagent.errors import BuildError, KernelError

#: How much of the verifier's log an error carries; the reason stands at the end.
_LOG_LINES: Final = 40
_LOG_COLUMNS: Final = 160

_INSTRUCTION: Final = struct.Struct("=BBhi")
#: The one instruction of two words: a 64-bit constant, or by its source register a map.
_LOAD_CONSTANT: Final = 0x18
_MAP_BY_DESCRIPTOR: Final = 1


class Maps:
    """A program's maps, opened where they are pinned and made where they are not. A context manager."""

    def __init__(self, pins: Pins, specs: Sequence[MapSpec]) -> None:
        self._open = ExitStack()
        self.fresh: list[str] = []
        self.by_name: dict[str, Map] = {}
        with self._open:
            for spec in specs:
                pin = pins.map(spec.name)
                if pin.exists():
                    opened = Map.open(pin, spec)
                else:
                    opened = _taken_over(pins, spec) or Map.create(spec, prefix=layout.MAP_PREFIX)
                    self.fresh.append(spec.name)
                self.by_name[spec.name] = self._open.enter_context(opened)
            self._open = self._open.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()


def _taken_over(pins: Pins, spec: MapSpec) -> Map | None:
    """Share another version's map of the same layout, or copy what is in it if only its size is another.

    Its program goes on with it until ours takes its place, so a shared one misses nothing.
    """
    if not spec.layout:
        return None
    for other in reversed(pins.other_versions()):
        if not other.map(spec.name).exists():
            continue
        theirs = Map.open(other.map(spec.name))
        if theirs.info.name != layout.MAP_PREFIX + spec.kernel_name:
            theirs.close()
            continue
        if not spec.differences(theirs.info):
            return theirs
        with theirs:
            ours = Map.create(spec, prefix=layout.MAP_PREFIX)
            ours.update_many(islice(theirs.items(), spec.max_entries))
            return ours
    return None


def with_maps(instructions: bytes, descriptors: Sequence[int]) -> bytes:
    """Put the maps' descriptors where the compiler left their numbers."""
    out = bytearray(instructions)
    at = 0
    while at < len(out):
        code, registers, offset, constant = _INSTRUCTION.unpack_from(out, at)
        if code != _LOAD_CONSTANT:
            at += _INSTRUCTION.size
            continue
        if registers >> 4 == _MAP_BY_DESCRIPTOR:
            number = constant - FIRST_MAP
            if not 0 <= number < len(descriptors):
                raise BuildError(f"the program uses map {number}, and there are {len(descriptors)}")
            _INSTRUCTION.pack_into(out, at, code, registers, offset, descriptors[number])
        at += 2 * _INSTRUCTION.size
    return bytes(out)


class Programs:
    """Compiled programs in the kernel, attached nowhere. A context manager.

    Raises BuildError if the verifier refuses one (first line: why), KernelError for the rest.
    """

    def __init__(self, compiled: Mapping[str, bytes], maps: Maps) -> None:
        descriptors = [opened.fd for opened in maps.by_name.values()]
        # The verifier takes most of a start's CPU time, and verifies as many at once as there are CPUs.
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as verifiers:
            futures = {
                function: verifiers.submit(_loaded, function, with_maps(instructions, descriptors))
                for function, instructions in compiled.items()
            }
        refused = [error for future in futures.values() if (error := future.exception()) is not None]
        self.by_name = {
            function: future.result() for function, future in futures.items() if future.exception() is None
        }
        if refused:
            self._close()
            raise refused[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        for fd in self.by_name.values():
            os.close(fd)


def _loaded(function: str, instructions: bytes) -> int:
    try:
        kind, name = layout.program_type(function), layout.kernel_name(function)
        return syscall.prog_load(kind, instructions, name)
    except syscall.LoadError as error:
        if not error.log:
            raise
        tail = "\n".join(line[:_LOG_COLUMNS] for line in error.log.splitlines()[-_LOG_LINES:])
        raise BuildError(f"the verifier refuses {function}: {error.hint}\n{tail}") from error


def pin(pins: Pins, maps: Maps, programs: Programs) -> None:
    """Pin new maps, then the programs, each over its predecessor in one step; all new pins or none."""
    made: list[Path] = []
    try:
        for name in maps.fresh:
            syscall.obj_pin(maps.by_name[name].fd, pins.map(name))
            made.append(pins.map(name))
        for name, fd in programs.by_name.items():
            beside = pins.program(f"{name}-new")
            beside.unlink(missing_ok=True)
            syscall.obj_pin(fd, beside)
            made.append(beside)
    except KernelError:
        for path in made:
            path.unlink(missing_ok=True)
        raise
    for name in programs.by_name:
        pins.program(f"{name}-new").rename(pins.program(name))
