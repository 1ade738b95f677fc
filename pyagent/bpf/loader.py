"""Building and loading: find the sources, have a child compile them if nobody did before, load, pin."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyagent import abi
from pyagent.bpf import clock, layout
from pyagent.bpf.amalgamate import amalgamate
from pyagent.bpf.build import Request
from pyagent.bpf.cache import ObjectCache
from pyagent.bpf.install import Maps, Programs, pin
from pyagent.bpf.maps import MapSpec
from pyagent.bpf.pins import Pins
from pyagent.bpf.syscall import LoadError
from pyagent.errors import BuildError

log = logging.getLogger(__name__)

_PACKAGE: Final = Path(__file__).resolve().parent
_SECONDS: Final = 300  # under emulation the compiler takes two minutes
#: Names a directory of compiled programs that everybody who loads uses, whatever cache the caller has.
_CACHE_OF_ALL: Final = "AUTOHEP_OBJECT_CACHE"
#: What every interface needs, and what an agent loads: doNotTrack's Deny by XDP as well.
TC_PROGRAMS: Final = ("tc_ingress", "tc_egress", "tc_ingress_l3", "tc_egress_l3")
PROGRAMS: Final = (*TC_PROGRAMS, "xdp_ingress")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is pinned now: program name -> pin, map name -> kernel id, and which maps kept their contents."""

    programs: dict[str, Path]
    maps: dict[str, int]
    created: tuple[str, ...]
    reused: tuple[str, ...]


def source_dir() -> Path:
    """Return the directory of the C sources: ``bpf/`` in a checkout, beside this file in a wheel."""
    places = (_PACKAGE.parent.parent / "bpf", _PACKAGE / "_sources")
    for place in places:
        if (place / "firewall.c").is_file():
            return place
    raise BuildError(f"the BPF sources are missing; looked in {' and '.join(map(str, places))}")


def load(
    pins: Pins,
    programs: Sequence[str] = TC_PROGRAMS,
    *,
    flows_max: int = abi.FLOWS_MAX,
    image_bytes: int = 0,
    defines: Mapping[str, int] | None = None,
    cache: ObjectCache | None = None,
) -> Loaded:
    """Load the firewall and pin it below ``pins``; compiling it, if it is not in ``cache``, takes a second.

    Maps that are pinned there already are kept with their contents. Raises DriftError if one of them has
    another shape, BuildError if the compiler or the verifier refuses (first line: why), KernelError for the
    rest; the pins are then as they were before.
    """
    image_bytes = image_bytes or layout.image_bytes()
    sizes = {"FLOWS_MAX": flows_max, "IMAGE_BYTES": image_bytes}
    specs = layout.map_specs(flows_max, image_bytes)
    wanted = {**sizes, **(defines or {})}
    return load_source(source_dir() / "firewall.c", pins, programs, specs, wanted, cache)


def load_source(  # noqa: PLR0917 - what, where to, and of what
    source: Path,
    pins: Pins,
    programs: Sequence[str],
    maps: Sequence[MapSpec],
    defines: Mapping[str, int],
    cache: ObjectCache | None = None,
) -> Loaded:
    """Like :func:`load`, for any source whose directory has the ``shim`` of headers beside it."""
    defines = {"AUTOHEP_HZ": clock.measure_rate(), **defines}
    names = tuple(spec.name for spec in maps)
    request = Request(amalgamate(source), source.parent / "shim", tuple(programs), names, defines)
    pins.create()
    with Maps(pins, maps) as opened, _programs(request, opened, _cache_of_all() or cache) as loaded:
        pin(pins, opened, loaded)
        return Loaded(
            {name: pins.program(name) for name in programs},
            {name: each.info.id for name, each in opened.by_name.items()},
            tuple(sorted(opened.fresh)),
            tuple(sorted(set(opened.by_name) - set(opened.fresh))),
        )


def _cache_of_all() -> ObjectCache | None:
    named = os.environ.get(_CACHE_OF_ALL)
    return ObjectCache(Path(named)) if named else None


def _programs(request: Request, maps: Maps, cache: ObjectCache | None) -> Programs:
    """Load what is kept, or what is compiled now, which is kept once the verifier has taken it."""
    if cache is None:
        return Programs(_compiled(request), maps)
    key = request.key()
    kept = cache.find(key)
    if kept is not None:
        try:
            return Programs(kept, maps)
        except (BuildError, LoadError) as error:  # another kernel than then, for one
            log.warning("compiled program refused, compiled anew reason=%r", str(error).partition("\n")[0])
            cache.forget(key)
    compiled = _compiled(request)
    loaded = Programs(compiled, maps)
    cache.keep(key, compiled)
    return loaded


def _compiled(request: Request) -> dict[str, bytes]:
    """Have a child compile. Raises BuildError."""
    # -P: a root process must not import from whatever directory it was started in.
    command = [sys.executable, "-P", "-m", "pyagent.bpf.build"]
    environment = {**os.environ, "PYTHONPATH": _python_path()}
    try:
        done = subprocess.run(
            command, input=request.to_json(), env=environment, capture_output=True, text=True,
            timeout=_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"the build did not end within {_SECONDS} s") from error
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise BuildError(f"the build ended without an answer: {said[-1]}") from error
    if "error" in answer:
        raise BuildError(answer["error"])
    return {name: bytes.fromhex(code) for name, code in answer["programs"].items()}


def _python_path() -> str:
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(_PACKAGE.parent.parent), *([inherited] if inherited else [])])


def compile_clang(out: Path, source: Path | None = None, defines: Mapping[str, int] | None = None) -> None:
    """Compile ahead of time by clang into the object file ``out``, warnings as errors; needs no bcc."""
    source = source or source_dir() / "firewall.c"
    flags = ["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-DAUTOHEP_CLANG"]
    flags += [f"-D{name}={value}" for name, value in (defines or {}).items()]
    # clang's own BPF target does not look where Debian keeps asm/types.h.
    flags += [f"-I/usr/include/{os.uname().machine}-linux-gnu"]
    try:
        done = subprocess.run(
            ["clang", *flags, "-c", str(source), "-o", str(out)],
            capture_output=True, text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise BuildError(f"clang is not installed: {os.strerror(errno.ENOENT)}") from error
    if done.returncode:
        raise BuildError(done.stderr.strip())
