"""The child that compiles: C text in, instructions out, by bcc.

``python -m pyagent.bpf.build`` reads one JSON request on standard input and writes one JSON answer on
standard output. It is a process of its own because the compiler takes 100 MB, changes the working directory
and writes its complaints to standard error. :mod:`pyagent.bpf.loader` is the other end.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pyagent.errors import BuildError

#: Maps are numbered from here on, in the order of the request, where a descriptor will stand: numbers that
#: mean nothing else. :func:`pyagent.bpf.install.with_maps` puts the descriptors in.
FIRST_MAP: Final = 500
#: Goes up when the same request no longer means the same instructions.
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Request:
    """What to compile: one text, the directory of its headers, what it is to define, and names in it."""

    text: str
    headers: Path
    programs: tuple[str, ...]
    maps: tuple[str, ...]
    defines: dict[str, int]

    @classmethod
    def from_json(cls, text: str) -> Request:
        """Read what :meth:`to_json` wrote."""
        raw = json.loads(text)
        names = tuple(raw["programs"]), tuple(raw["maps"])
        return cls(raw["text"], Path(raw["headers"]), *names, raw["defines"])

    def to_json(self) -> str:
        """Write the request as the child reads it."""
        return json.dumps({**asdict(self), "headers": str(self.headers)})

    def key(self) -> str:
        """A digest of all that the instructions depend on; what the kernel can do is among the defines."""
        headers = sorted(file for file in self.headers.rglob("*") if file.is_file())
        texts = [(str(file.relative_to(self.headers)), file.read_text(encoding="utf-8")) for file in headers]
        names = self.programs, self.maps, sorted(self.defines.items())
        whole = [_FORMAT, platform.machine(), self.text, texts, *names]
        return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


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


def compile_here(request: Request) -> dict[str, bytes]:
    """Compile in this process; returns each program's instructions. Raises BuildError, first line: why."""
    bcc = _bcc()
    flags = [f"-D{name}={value}" for name, value in request.defines.items()]
    flags += [f"-DMAP_FD_{name}={number}" for number, name in enumerate(request.maps, start=FIRST_MAP)]
    os.environ["BCC_KERNEL_SOURCE"] = str(request.headers)
    module = None
    with _captured() as messages, suppress(Exception):  # bcc raises bare Exception and says why on stderr
        module = bcc.BPF(text=request.text, cflags=flags)
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


def main() -> int:
    """Entry point of the child."""
    try:
        programs = compile_here(Request.from_json(sys.stdin.read()))
        answer: dict[str, Any] = {"programs": {name: code.hex() for name, code in programs.items()}}
    except BuildError as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
