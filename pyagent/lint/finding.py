"""What lint finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Check(StrEnum):
    """What is looked for."""

    SHADOWED = "shadowed"
    CONTRADICTING = "contradicting"
    REDUNDANT = "redundant"
    NEVER_MATCHES = "never-matches"
    EMPTY_PEER = "empty-peer"
    SELECTS_NOBODY = "selects-nobody"
    FAILSAFE = "failsafe"
    MISSING_TIER = "missing-tier"
    NOT_COMPARED = "not-compared"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not what it seems.

    ``place`` is ``policy/direction[index]``, or the policy alone; ``file`` and ``line`` are where it is
    written, as far as known. ``suggestion``: what to do about it.
    """

    check: Check
    kind: str
    place: str
    message: str
    suggestion: str
    file: str = ""
    line: int = 0
