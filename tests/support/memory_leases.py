"""Leases in memory, which a test can have fail."""

from __future__ import annotations

import threading

from msgspec.structs import replace

from pyagent.datastore import Lease
from pyagent.errors import AlreadyExistsError, ConflictError, DatastoreError, NotFoundError


class MemoryLeases:
    """See Leases. ``away``: nothing answers."""

    namespace = "tests"

    def __init__(self) -> None:
        self.away = False
        self._leases: dict[tuple[str, str], Lease] = {}
        self._version = 0
        self._lock = threading.Lock()

    def get(self, namespace: str, name: str) -> Lease:
        self._check()
        try:
            return self._leases[namespace, name]
        except KeyError:
            raise NotFoundError("Lease", name) from None

    def create(self, lease: Lease) -> Lease:
        self._check()
        with self._lock:
            if (lease.namespace, lease.name) in self._leases:
                raise AlreadyExistsError("Lease", lease.name)
            return self._put(lease)

    def update(self, lease: Lease) -> Lease:
        with self._lock:
            if self.get(lease.namespace, lease.name).version != lease.version:
                raise ConflictError("Lease", lease.name)
            return self._put(lease)

    def _check(self) -> None:
        if self.away:
            raise DatastoreError("leases are away")

    def _put(self, lease: Lease) -> Lease:
        self._version += 1
        stored = replace(lease, version=str(self._version))
        self._leases[lease.namespace, lease.name] = stored
        return stored
