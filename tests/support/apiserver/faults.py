"""What a test can have go wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """What was asked. ``plural`` is empty for what is no resource."""

    verb: str
    plural: str
    watch: bool
    query: dict[str, str]
    #: Whose request it is, by token.
    user: str = ""
    #: When, by the monotonic clock.
    at: float = field(default_factory=time.monotonic)


@dataclass
class Fault:
    """An answer in place of the right one, ``times`` times (None: until removed).

    ``body`` is sent as it is. ``cut``: the connection breaks after half of the body. ``hang_up``: it
    ends without an answer, as where the server closed it while idle. ``delay``: seconds before the answer,
    which is the right one if there is no ``status``.
    """

    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    hang_up: bool = False
    delay: float = 0.0
    times: int | None = None
    when: Callable[[Request], bool] = lambda _request: True


class Faults:
    """The faults in force, and what was asked so far."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self.requests: list[Request] = []
        self._running = threading.Event()
        self._running.set()

    def add(self, **what: Any) -> Fault:
        """Add one; see Fault."""
        fault = Fault(**what)
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Let everything go right again."""
        with self._lock:
            self._faults.clear()
        self._running.set()

    def freeze(self) -> None:
        """Accept connections and answer nothing, like a stopped process, until ``thaw``."""
        self._running.clear()

    def thaw(self) -> None:
        self._running.set()

    def wait(self) -> None:
        """Go on only when not frozen."""
        self._running.wait()

    @property
    def frozen(self) -> bool:
        return not self._running.is_set()

    def take(self, request: Request) -> Fault | None:
        """The fault that hits this request."""
        with self._lock:
            self.requests.append(request)
            for fault in self._faults:
                if fault.times != 0 and fault.when(request):
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return None

    def count(self, verb: str = "", plural: str = "", *, watch: bool | None = None) -> int:
        """How many such requests there were."""
        with self._lock:
            return sum(
                verb in ("", each.verb) and plural in ("", each.plural) and watch in (None, each.watch)
                for each in self.requests
            )
