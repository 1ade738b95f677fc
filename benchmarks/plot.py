"""Curves as SVG, both axes logarithmic: what is flat looks flat, what grows with its cause is a slope."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

Curves = Mapping[str, Sequence[tuple[float, float]]]

_WIDTH: Final = 560
_HEIGHT: Final = 300
_LEFT, _TOP, _RIGHT, _BOTTOM = 80, 34, 190, 44
_COLOURS: Final = ("#1f6feb", "#bc4c00", "#1a7f37", "#8250df", "#57606a", "#cf222e")


def svg(curves: Curves, title: str, across: str, up: str) -> str:
    """Draw named curves of positive points."""
    points = [point for curve in curves.values() for point in curve]
    x_of = _scale([x for x, _ in points], _LEFT, _LEFT + _WIDTH)
    y_of = _scale([y for _, y in points], _TOP + _HEIGHT, _TOP)
    bottom = _TOP + _HEIGHT
    box = f"0 0 {_LEFT + _WIDTH + _RIGHT} {bottom + _BOTTOM}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" font-size="12" viewBox="{box}">',
        '<rect width="100%" height="100%" fill="white"/>',
        "<style>text { font-family: sans-serif }</style>",
        f'<text x="{_LEFT}" y="20" font-size="14">{title}</text>',
        f'<text x="{_LEFT + _WIDTH / 2}" y="{bottom + 36}" text-anchor="middle">{across}</text>',
        f'<text x="8" y="{_TOP + 12}">{up}</text>',
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#d0d7de"/>',
    ]
    for power in _powers(y for _, y in points):
        at = y_of(10.0**power)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{at:.1f}" y2="{at:.1f}" stroke="#eaeef2"/>'
        )
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    parts += [
        f'<text x="{x_of(x):.1f}" y="{bottom + 16}" text-anchor="middle">{x:g}</text>'
        for x in sorted({x for x, _ in points})
    ]
    for (name, curve), colour in zip(curves.items(), _COLOURS * len(curves), strict=False):
        places = [(x_of(x), y_of(y)) for x, y in curve]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        last_x, last_y = places[-1]
        parts.append(f'<text x="{last_x + 8:.1f}" y="{last_y + 4:.1f}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


class _Scale:
    """From values to places, by their logarithms."""

    def __init__(self, low: float, high: float, first: float, last: float) -> None:
        self._low, self._span = math.log10(low), math.log10(high) - math.log10(low) or 1.0
        self._first, self._last = first, last

    def __call__(self, value: float) -> float:
        return self._first + (math.log10(value) - self._low) / self._span * (self._last - self._first)


def _scale(values: Sequence[float], first: float, last: float) -> _Scale:
    return _Scale(min(values) * 0.9, max(values) * 1.1, first, last)


def _powers(values: Iterable[float]) -> range:
    logs = [math.log10(each) for each in values]
    return range(math.ceil(min(logs)), math.floor(max(logs)) + 1)
