"""What every datastore can do, whether it is a directory of files or an API server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from pyagent.errors import Problem
from pyagent.model import Resource

R = TypeVar("R", bound=Resource)


class EventType(StrEnum):
    """What a watch reports."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    #: Everything that existed when the watch began has been reported; sent exactly once.
    SYNCED = "SYNCED"
    #: A stored resource can no longer be read; its last good version stays in force.
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change; ``resource`` is the new state, for DELETED the last known, for ERROR the one in force.

    It is None for SYNCED, and for ERROR and DELETED where no good version was ever seen. After an ERROR,
    the next ADDED, MODIFIED or DELETED of that resource means that the error is gone. ``uid``: whose it is,
    of an ERROR without resource, where the store can tell.
    """

    type: EventType
    kind: str = ""
    name: str = ""
    namespace: str = ""
    resource: Resource | None = None
    problems: tuple[Problem, ...] = ()
    uid: str = ""


class Datastore(Protocol):
    """A store of resources with optimistic concurrency.

    Every method but ``watch`` blocks for milliseconds, 10 s at most, and may be called from any thread.
    Beyond the errors named, each raises DatastoreError when the store cannot be reached or refuses.
    """

    def list(self, kind: str, namespace: str | None = None) -> tuple[list[Resource], str]:
        """All resources of a kind (namespace None: of all), and the store's revision as it was before."""
        ...

    def get(self, kind: str, name: str, namespace: str = "") -> Resource:
        """One resource, or NotFoundError."""
        ...

    def create(self, resource: R) -> R:
        """Store a new resource, status included; assign uid, creationTimestamp, generation, version.

        Those four are ignored if given. Raises AlreadyExistsError, or ManifestError if it is not valid.
        """
        ...

    def update(self, resource: R) -> R:
        """Replace labels, annotations and spec; the status stays as it is stored.

        With a ``metadata.resourceVersion`` (or ``uid``) only if that is still the stored one, else
        ConflictError. Writing what is stored already changes nothing, not even the resourceVersion.
        Raises NotFoundError, ManifestError.
        """
        ...

    def update_status(self, resource: R) -> R:
        """Replace the status and nothing else; conditions and errors as for ``update``."""
        ...

    def delete(self, kind: str, name: str, namespace: str = "", resource_version: str = "") -> None:
        """Remove a resource. NotFoundError if there is none, ConflictError if the version is not its own."""
        ...

    def watch(self, kinds: Sequence[str]) -> AsyncGenerator[WatchEvent, None]:
        """ADDED for what exists, one SYNCED, then every change as it happens; no change is ever missed.

        Quick changes of one resource may be reported as one. Slow readers cost no memory. Close it
        (``contextlib.aclosing``) to stop watching.
        """
        ...
