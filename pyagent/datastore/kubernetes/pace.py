"""How fast a datastore in a cluster gives up, tries again and asks for more."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Times in seconds. The defaults suit a cluster of any size; tests take shorter ones.

    ``silence``: how long a watch may say nothing before its connection counts as dead; an API server sends a
    bookmark every minute. ``watch``: the bounds between which a watch asks the server to end it, at random,
    so that thousands of agents do not come back at once. ``healthy``: how long a watch must have lived before
    its failure is met with the first pause again. ``page``: objects a page of a list. ``relist``: after the
    server has forgotten a version, reading all anew is spread over so much time an object known: all watchers
    of a restarted server come at the same moment, and as many as there are host endpoints.
    """

    connect: float = 5.0
    answer: float = 10.0
    silence: float = 80.0
    watch: tuple[int, int] = (240, 480)
    first_pause: float = 0.2
    longest_pause: float = 30.0
    healthy: float = 60.0
    page: int = 500
    relist: float = 0.01


class Backoff:
    """The pauses between attempts: doubled each time, with jitter, within the bounds of a Pace."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._next = pace.first_pause
        self._connected_at = math.inf

    def connected(self) -> None:
        """An attempt has led to a connection."""
        self._connected_at = time.monotonic()

    def ended(self) -> None:
        """The connection is gone; if it lived long enough, the next failure is the first one again."""
        if time.monotonic() - self._connected_at >= self._pace.healthy:
            self._next = self._pace.first_pause

    def pause(self, at_least: float = 0.0) -> float:
        """How long to wait after a failure; ``at_least`` is what the server asked for."""
        bound = self._next
        self._next = min(2 * bound, self._pace.longest_pause)
        # What a server asks of everybody is spread, too.
        return max(bound * random.uniform(0.5, 1.0), at_least * random.uniform(1.0, 1.2))  # noqa: S311
