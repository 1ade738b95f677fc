"""What a process tells those who watch it: metrics and health over HTTP, and its log."""

from __future__ import annotations

from pyagent.telemetry.families import Family, Histogram, Kind, render
from pyagent.telemetry.process import process_families
from pyagent.telemetry.server import Page, Telemetry, health, metrics

__all__ = [
    "Family",
    "Histogram",
    "Kind",
    "Page",
    "Telemetry",
    "health",
    "metrics",
    "process_families",
    "render",
]
