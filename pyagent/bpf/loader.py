"""The parent's side of building: find the C sources, run the child, turn its answer into results."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyagent import abi
from pyagent.bpf import layout
from pyagent.bpf.build import Request
from pyagent.bpf.maps import MapSpec
from pyagent.bpf.pins import Pins
from pyagent.errors import AutohepError, BuildError, DriftError, KernelError

_PACKAGE: Final = Path(__file__).resolve().parent
_SECONDS: Final = 120
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
    image_bytes: int = abi.IMAGE_BYTES,
    defines: Mapping[str, int] | None = None,
) -> Loaded:
    """Compile and load the firewall and pin it below ``pins``; takes about a second.

    Maps that are pinned there already are kept with their contents. Raises DriftError if one of them has
    another shape, BuildError if the compiler or the verifier refuses (first line: why), KernelError for the
    rest; the pins are then as they were before.
    """
    sizes = {"FLOWS_MAX": flows_max, "IMAGE_BYTES": image_bytes}
    specs = layout.map_specs(flows_max, image_bytes)
    return load_source(source_dir() / "firewall.c", pins, programs, specs, {**sizes, **(defines or {})})


def load_source(
    source: Path, pins: Pins, programs: Sequence[str], maps: Sequence[MapSpec], defines: Mapping[str, int]
) -> Loaded:
    """Like :func:`load`, for any source whose directory has the ``shim`` of headers beside it."""
    request = Request(source, pins, tuple(programs), tuple(maps), dict(defines))
    answer = _child(request)
    paths = {name: Path(path) for name, path in answer["programs"].items()}
    return Loaded(paths, answer["maps"], tuple(answer["created"]), tuple(answer["reused"]))


def _child(request: Request) -> dict[str, Any]:
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
    _raise_for(answer)
    return answer


def _python_path() -> str:
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(_PACKAGE.parent.parent), *([inherited] if inherited else [])])


def _raise_for(answer: dict[str, Any]) -> None:
    match answer.get("error"):
        case None:
            return
        case "kernel":
            raise KernelError(answer["operation"], answer["errno"], answer["hint"])
        case "drift":
            raise DriftError(answer["message"])
        case "build":
            raise BuildError(answer["message"])
        case _:
            raise AutohepError(answer["message"])


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
