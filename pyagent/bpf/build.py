"""The child that builds: compile the firewall by bcc, make or reuse its maps, load, pin, exit.

``python -m pyagent.bpf.build`` reads one JSON request on standard input and writes one JSON answer on
standard output. It is a process of its own because the compiler takes 100 MB, changes the working directory
and writes its complaints to standard error. :mod:`pyagent.bpf.loader` is the other end.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from pyagent import abi
from pyagent.bpf import clock, layout, syscall
from pyagent.bpf.amalgamate import amalgamate
from pyagent.bpf.maps import Map, MapSpec
from pyagent.bpf.numbers import MapType
from pyagent.bpf.objects import map_info
from pyagent.bpf.pins import Pins
from pyagent.errors import AutohepError, BuildError, DriftError, KernelError

#: Map descriptors are put here and up, so that no number of theirs means anything else.
_FIRST_FD: Final = 500
#: How much of the verifier's log an error carries; the reason stands at the end.
_LOG_LINES: Final = 40
_LOG_COLUMNS: Final = 160


@dataclass(frozen=True, slots=True)
class Request:
    """What to build, and where to pin it."""

    source: Path
    pins: Pins
    programs: tuple[str, ...]
    maps: tuple[MapSpec, ...]
    defines: dict[str, int]

    @classmethod
    def from_json(cls, text: str) -> Request:
        """Read what :meth:`to_json` wrote."""
        raw = json.loads(text)
        maps = tuple(MapSpec(**{**spec, "type": MapType(spec["type"])}) for spec in raw["maps"])
        pins = Pins(raw["instance"], Path(raw["base"]), raw["abi"])
        return cls(Path(raw["source"]), pins, tuple(raw["programs"]), maps, raw["defines"])

    def to_json(self) -> str:
        """Write the request as the child reads it."""
        place = {"instance": self.pins.instance, "base": str(self.pins.base), "abi": self.pins.abi}
        what = {"source": str(self.source), "programs": self.programs, "defines": self.defines}
        return json.dumps({**what, **place, "maps": [asdict(spec) for spec in self.maps]})


# ---- compile ----------


def _bcc() -> Any:
    try:
        import bcc  # noqa: PLC0415 - the only home of bcc, and only when something is compiled
    except ImportError as error:
        hint = "install python3-bpfcc (apt) or python3-bcc (dnf); the bcc on PyPI is something else"
        raise BuildError(f"the BPF compiler is not installed: {error}; {hint}") from error
    if not hasattr(bcc, "BPF"):
        raise BuildError(f"{bcc.__file__} is not the BPF compiler; remove it and install python3-bpfcc")
    return bcc


@contextmanager
def _captured() -> Iterator[list[str]]:
    """Send what the compiler writes to descriptors 1 and 2 into the list that is yielded, full on leaving."""
    lines: list[str] = []
    with tempfile.TemporaryFile() as catch:
        kept = [os.dup(1), os.dup(2)]
        os.dup2(catch.fileno(), 1)
        os.dup2(catch.fileno(), 2)
        try:
            yield lines
        finally:
            for target, saved in zip((1, 2), kept, strict=True):
                os.dup2(saved, target)
                os.close(saved)
            catch.seek(0)
            lines += catch.read().decode(errors="replace").splitlines()


def _compile(request: Request, map_fds: dict[str, int]) -> dict[str, bytes]:
    """Return each program's instructions, with the maps' descriptors in them."""
    bcc = _bcc()
    text = amalgamate(request.source)
    flags = [f"-D{name}={value}" for name, value in request.defines.items()]
    flags += [f"-DMAP_FD_{name}={fd}" for name, fd in map_fds.items()]
    os.environ["BCC_KERNEL_SOURCE"] = str(request.source.parent / "shim")
    module = None
    with _captured() as messages, suppress(Exception):  # bcc raises bare Exception and says why on stderr
        module = bcc.BPF(text=text, cflags=flags)
    if module is None:
        raise BuildError(_compiler_says(messages))
    return {name: _instructions(bcc, module, name) for name in request.programs}


def _instructions(bcc: Any, module: Any, name: str) -> bytes:
    start = bcc.lib.bpf_function_start(module.module, name.encode())
    if not start:
        raise BuildError(f"the source has no program {name}")
    return ctypes.string_at(start, bcc.lib.bpf_function_size(module.module, name.encode()))


def _compiler_says(lines: list[str]) -> str:
    """Put the first error first and the rest after it."""
    first = next((line for line in lines if re.search(r"\berror:", line)), "the compiler failed")
    return "\n".join([first.strip(), *(line for line in lines if line.strip() and line != first)])


# ---- maps ----------


def _open_maps(request: Request) -> tuple[dict[str, int], set[str]]:
    """Open the maps that are pinned and make the others; returns descriptors by name and the new names."""
    fds, fresh = {}, set()
    for number, spec in enumerate(request.maps, start=_FIRST_FD):
        pin = request.pins.map(spec.name)
        if pin.exists():
            opened = Map.open(pin, spec)
        else:
            opened = _taken_over(request.pins, spec) or Map.create(spec, prefix=layout.MAP_PREFIX)
            fresh.add(spec.name)
        os.dup2(opened.fd, number, inheritable=False)
        opened.close()
        fds[spec.name] = number
    return fds, fresh


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


# ---- load and pin ----------


def _load(programs: dict[str, bytes]) -> dict[str, int]:
    fds = {}
    for function, instructions in programs.items():
        try:
            name = layout.kernel_name(function)
            fds[function] = syscall.prog_load(layout.program_type(function), instructions, name)
        except syscall.LoadError as error:
            if not error.log:
                raise
            tail = "\n".join(line[:_LOG_COLUMNS] for line in error.log.splitlines()[-_LOG_LINES:])
            raise BuildError(f"the verifier refuses {function}: {error.hint}\n{tail}") from error
    return fds


def _pin(pins: Pins, maps: dict[str, int], programs: dict[str, int]) -> None:
    """Pin new maps, then the programs, each over its predecessor in one step; all new pins or none."""
    made: list[Path] = []
    try:
        for name, fd in maps.items():
            syscall.obj_pin(fd, pins.map(name))
            made.append(pins.map(name))
        for name, fd in programs.items():
            beside = pins.program(f"{name}-new")
            beside.unlink(missing_ok=True)
            syscall.obj_pin(fd, beside)
            made.append(beside)
    except KernelError:
        for path in made:
            path.unlink(missing_ok=True)
        raise
    for name in programs:
        pins.program(f"{name}-new").rename(pins.program(name))


def build(request: Request) -> dict[str, Any]:
    """Do all of it in this process; returns what was made and what was reused."""
    request.pins.create()
    map_fds, fresh = _open_maps(request)
    defines = {"AUTOHEP_HZ": clock.measure_rate(), **request.defines}
    complete = Request(request.source, request.pins, request.programs, request.maps, defines)
    program_fds = _load(_compile(complete, map_fds))
    _pin(request.pins, {name: fd for name, fd in map_fds.items() if name in fresh}, program_fds)
    return {
        "programs": {name: str(request.pins.program(name)) for name in program_fds},
        "maps": {name: map_info(fd).id for name, fd in map_fds.items()},
        "created": sorted(fresh),
        "reused": sorted(set(map_fds) - fresh),
    }


_ERRORS: Final = {BuildError: "build", DriftError: "drift"}


def main() -> int:
    """Entry point of the child; the answer names the kind of failure so that the parent raises the same."""
    try:
        answer: dict[str, Any] = build(Request.from_json(sys.stdin.read()))
    except KernelError as error:
        answer = {"error": "kernel", "operation": error.operation, "errno": error.errno, "hint": error.hint}
    except AutohepError as error:
        answer = {"error": _ERRORS.get(type(error), "other"), "message": str(error)}
    sys.stdout.write(json.dumps({"abi": abi.ABI_VERSION, **answer}))
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
