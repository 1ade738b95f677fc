"""One text from the program's headers and main file, for a compiler that wants one.

Quoted includes are put in place of their line, with ``#line`` so that messages still name the right file; the
header's own guard keeps it from counting twice. Includes in angle brackets stay.
"""

from __future__ import annotations

import re
from pathlib import Path

from pyagent.errors import BuildError

_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def amalgamate(main: Path) -> str:
    """Return ``main`` with its quoted includes put in; BuildError if one is missing or includes itself."""
    return "".join(_inlined(main, ()))


def _inlined(path: Path, within: tuple[Path, ...]) -> list[str]:
    if path in within:
        circle = " -> ".join(step.name for step in (*within, path))
        raise BuildError(f"{path.name} includes itself: {circle}")
    out = [f'#line 1 "{path.name}"\n']
    for number, line in enumerate(_read(path, within).splitlines(), start=1):
        if include := _INCLUDE.match(line):
            out += _inlined(path.parent / include[1], (*within, path))
            out.append(f'#line {number + 1} "{path.name}"\n')
        else:
            out.append(line + "\n")
    return out


def _read(path: Path, within: tuple[Path, ...]) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        wanted_by = f", included by {within[-1].name}" if within else ""
        raise BuildError(f"cannot read {path}{wanted_by}: {error.strerror}") from error
