"""What a controller tells people about resources, beside the resources themselves: statuses and events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pyagent.errors import DatastoreError


class NoStatusError(DatastoreError):
    """Objects of this kind have no status that could be written here; trying again is of no use."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to an object, ``count`` times from ``first`` to ``last`` (RFC 3339).

    ``name`` identifies the event: recording the same name again replaces what was recorded.
    """

    name: str
    kind: str
    regarding: str
    uid: str
    reason: str
    message: str
    warning: bool
    count: int
    first: str
    last: str


class Reports(Protocol):
    """Where reports go. Every method blocks, and raises DatastoreError when the store refuses or is away."""

    def read(self, kind: str, name: str) -> Mapping[str, Any]:
        """An object as it is stored, be it valid or not: metadata and status at least. NotFoundError."""
        ...

    def write_status(self, kind: str, name: str, uid: str, status: Mapping[str, Any]) -> None:
        """Replace the fields given of an object's status; None removes one. The object need not be valid.

        ``uid``: only if it still is that object; empty: whichever. Raises NotFoundError, ConflictError,
        NoStatusError.
        """
        ...

    def record(self, event: Event) -> None:
        """Record an event, or that it happened again."""
        ...
