"""The samples of a soak as one SVG: a strip for each thing measured, time from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.soak.samples import Sample

_WIDTH, _STRIP, _LEFT, _TOP, _GAP = 760, 70, 190, 30, 22
#: What a strip is called, its lines, and what one unit of it is.
_STRIPS: Final = (
    ("agent, MiB", ("agent_kib",), 1024),
    ("controller, MiB", ("controller_kib",), 1024),
    ("descriptors", ("agent_descriptors", "controller_descriptors"), 1),
    ("programs and maps", ("programs", "maps"), 1),
    ("interfaces and links", ("interfaces", "links"), 1),
)
_COLOURS: Final = ("#1f6feb", "#bc4c00")


def svg(samples: Sequence[Sample], title: str) -> str:
    """Draw the samples; every strip begins at zero, so that growth cannot hide."""
    height = _TOP + len(_STRIPS) * (_STRIP + _GAP) + 20
    whole = _LEFT + _WIDTH + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole} {height}" font-size="12">',
        f'<rect width="{whole}" height="{height}" fill="white"/>',
        "<style>text { font-family: sans-serif }</style>",
        f'<text x="10" y="18" font-size="14">{title}</text>',
    ]
    for number, (name, lines, unit) in enumerate(_STRIPS):
        parts += _strip(samples, _TOP + number * (_STRIP + _GAP), name, lines, unit)
    minutes = samples[-1].seconds / 60
    parts += [
        f'<text x="{_LEFT}" y="{height - 8}">0</text>',
        f'<text x="{_LEFT + _WIDTH}" y="{height - 8}" text-anchor="end">{minutes:.0f} minutes</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _strip(samples: Sequence[Sample], top: int, name: str, lines: Sequence[str], unit: int) -> list[str]:
    most = max(getattr(one, line) for one in samples for line in lines) / unit or 1
    end = samples[-1].seconds or 1
    found = [
        f'<rect x="{_LEFT}" y="{top}" width="{_WIDTH}" height="{_STRIP}" fill="#f6f8fa" stroke="#d0d7de"/>',
        f'<text x="10" y="{top + 14}">{name}</text>',
        f'<text x="{_LEFT - 6}" y="{top + 11}" text-anchor="end">{most:.0f}</text>',
        f'<text x="{_LEFT - 6}" y="{top + _STRIP}" text-anchor="end">0</text>',
    ]
    for line, colour in zip(lines, _COLOURS, strict=False):
        points = " ".join(
            f"{_LEFT + _WIDTH * one.seconds / end:.1f},"
            f"{top + _STRIP - (_STRIP - 4) * getattr(one, line) / unit / most:.1f}"
            for one in samples
        )
        found.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.3"/>')
    if len(lines) > 1:
        found += [
            f'<text x="10" y="{top + 31 + 15 * number}" fill="{colour}">{line.replace("_", " ")}</text>'
            for number, (line, colour) in enumerate(zip(lines, _COLOURS, strict=False))
        ]
    return found
