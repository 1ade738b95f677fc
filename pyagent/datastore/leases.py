"""Leases: how processes agree on one of them, with no more than conditional writes."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a lease. ``renewed`` and ``acquired`` are times as the holder's clock showed them.

    ``version`` is the datastore's; an update with one that is not current is refused.
    """

    namespace: str
    name: str
    holder: str = ""
    seconds: int = 15
    acquired: str = ""
    renewed: str = ""
    transitions: int = 0
    version: str = ""


class Leases(Protocol):
    """A store of leases. Every method blocks, and raises DatastoreError when the store is away."""

    #: Where leases live unless somebody says otherwise.
    namespace: str

    def get(self, namespace: str, name: str) -> Lease:
        """The lease, or NotFoundError."""
        ...

    def create(self, lease: Lease) -> Lease:
        """Store a new lease. AlreadyExistsError if there is one."""
        ...

    def update(self, lease: Lease) -> Lease:
        """Replace a lease whose version is still current, else ConflictError."""
        ...
