"""A reader of Prometheus' text format that accepts nothing but it."""

from __future__ import annotations

import re

Labels = tuple[tuple[str, str], ...]

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\.)*)"(?:,|$)')
_UNESCAPED = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}


def parse(text: str) -> dict[tuple[str, Labels], float]:
    """Every sample by name and labels. Fails for what a scraper would refuse: no type, twice the same, ..."""
    found: dict[tuple[str, Labels], float] = {}
    types: dict[str, str] = {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, f"{name} comes twice"
            types[name] = kind
        elif not line.startswith("# HELP "):
            match = _SAMPLE.fullmatch(line)
            assert match, line
            name, labels, value = match.groups()
            key = name, _labels(labels or "")
            assert key not in found, f"{line} comes twice"
            family = re.sub(r"_(bucket|sum|count)$", "", name) if name not in types else name
            assert family in types, f"{name} has no type"
            assert types[family] != "counter" or family.endswith("_total"), f"{name} is a counter"
            found[key] = float(value)
    return found


def _labels(text: str) -> Labels:
    pairs = [(match[1], match[2]) for match in _LABEL.finditer(text)]
    assert ",".join(f'{name}="{value}"' for name, value in pairs) == text, text
    return tuple((name, re.sub(r"\\.", lambda each: _UNESCAPED[each[0]], value)) for name, value in pairs)
