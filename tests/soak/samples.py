"""What is measured during a soak, and the judgement on it: nothing may grow."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pyagent.bpf.pins import Pins
from tests.support.census import census, descriptors, resident_kib

#: The first part of a run: tables fill, caches warm.
_WARM_UP: Final = 0.2
#: What a process may keep more at the end than after its warm-up: a part, and KiB.
_MORE, _MORE_KIB = 0.05, 2048
_MORE_DESCRIPTORS: Final = 2


@dataclass(frozen=True)
class Sample:
    """One look. ``seconds`` since the beginning; memory in KiB; the rest are numbers of things."""

    seconds: float
    agent_kib: int
    controller_kib: int
    agent_descriptors: int
    controller_descriptors: int
    programs: int
    maps: int
    links: int
    pins: int
    interfaces: int


def take(seconds: float, agent: int, controller: int, pins: Pins) -> Sample:
    """Look at the two processes, by pid, and at the kernel's objects of the agent's instance."""
    held = census(pins)
    return Sample(
        seconds=round(seconds, 1),
        agent_kib=resident_kib(agent),
        controller_kib=resident_kib(controller),
        agent_descriptors=descriptors(agent),
        controller_descriptors=descriptors(controller),
        programs=held.programs,
        maps=held.maps,
        links=held.links,
        pins=sum(len(files) for _, _, files in os.walk(pins.root)),
        interfaces=_interfaces(),
    )


def _interfaces() -> int:
    with open("/proc/thread-self/net/dev", encoding="ascii") as lines:  # noqa: PTH123
        return len(lines.readlines()) - 2


def growth(samples: Sequence[Sample]) -> list[str]:
    """Name what grew between the end of the warm-up and the end; the first and last look are at rest."""
    settled = samples[int(len(samples) * _WARM_UP) :]
    third = max(len(settled) // 3, 1)
    early, late = settled[:third], settled[-third:]
    found = []
    for what in ("agent_kib", "controller_kib"):
        before, after = (statistics.median(getattr(one, what) for one in part) for part in (early, late))
        if after - before > max(before * _MORE, _MORE_KIB):
            found.append(f"{what}: {before:.0f}, later {after:.0f}")
    for what in ("agent_descriptors", "controller_descriptors", "programs", "maps"):
        before, after = (max(getattr(one, what) for one in part) for part in (early, late))
        if after - before > (_MORE_DESCRIPTORS if what.endswith("descriptors") else 0):
            found.append(f"{what}: at most {before}, later {after}")
    first, last = samples[0], samples[-1]
    found += [
        f"{what}: {getattr(first, what)} before the churn, {getattr(last, what)} after it"
        for what in ("programs", "maps", "links", "pins", "interfaces")
        if getattr(first, what) != getattr(last, what)
    ]
    return found
