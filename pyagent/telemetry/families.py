"""Metrics as values, and Prometheus' text format for them (version 0.0.4).

Written here because the common client library loads an HTTP server, TLS and URL handling along with it: five
megabytes in each of thousands of agents.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]


class Kind(StrEnum):
    """What may be done with the values of a family."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class _Sample:
    suffix: str
    labels: tuple[tuple[str, str], ...]
    value: float


@dataclass(slots=True)
class Family:
    """All samples of one metric. ``name`` as exposed: counters end in ``_total``, units are base units."""

    name: str
    kind: Kind
    help: str
    samples: list[_Sample] = field(default_factory=list)

    def add(self, value: float, labels: Labels | None = None, suffix: str = "") -> Self:
        """Add a sample; returns the family."""
        self.samples.append(_Sample(suffix, tuple((labels or {}).items()), value))
        return self


class Histogram:
    """Counts observations by size, from any thread. ``bounds``: upper bounds of the buckets, rising."""

    def __init__(self, name: str, help: str, bounds: Sequence[float]) -> None:  # noqa: A002
        self._name, self._help, self._bounds = name, help, tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()

    def observe(self, value: float) -> None:
        """Count one observation."""
        with self._lock:
            self._counts[bisect_left(self._bounds, value)] += 1
            self._sum += value

    def family(self) -> Family:
        """The histogram as it is now."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        family, running = Family(self._name, Kind.HISTOGRAM, self._help), 0
        for bound, count in zip((*self._bounds, math.inf), counts, strict=True):
            running += count
            family.add(running, {"le": _number(bound)}, "_bucket")
        return family.add(total, suffix="_sum").add(running, suffix="_count")


def render(families: Iterable[Family]) -> bytes:
    """Return the families as a scraper reads them."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {_escaped(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind.value}")
        for sample in family.samples:
            pairs = ",".join(f'{name}="{_quoted(value)}"' for name, value in sample.labels)
            labels = f"{{{pairs}}}" if pairs else ""
            lines.append(f"{family.name}{sample.suffix}{labels} {_number(sample.value)}")
    return "".join(f"{line}\n" for line in lines).encode()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1 << 53 else repr(float(value))
