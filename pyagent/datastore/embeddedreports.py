"""Statuses and events of an embedded datastore. A file that is being edited is left alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from pyagent.datastore import layout
from pyagent.datastore.protocol import Datastore
from pyagent.datastore.reports import Event, NoStatusError
from pyagent.datastore.shelf import Shelf
from pyagent.errors import ConflictError, NotFoundError

log = logging.getLogger(__name__)


class EmbeddedReports:
    """Reports into the files of ``datastore``, as its ``update_status`` writes them; events into the log."""

    def __init__(self, datastore: Datastore, shelf: Shelf) -> None:
        self._datastore = datastore
        self._shelf = shelf

    def read(self, kind: str, name: str) -> Mapping[str, Any]:
        """See Reports. Of a broken file, what was good last."""
        slot = layout.slot_of(kind, "", name)
        stored = self._shelf.read(slot) if slot is not None else None
        if stored is None:
            raise NotFoundError(kind, name)
        if stored.resource is None:
            return {}
        metadata = stored.resource.metadata
        status = getattr(stored.resource, "status", None)
        return {
            "metadata": {"uid": metadata.uid, "generation": metadata.generation, "labels": metadata.labels},
            "status": status if isinstance(status, dict) else {},
        }

    def write_status(self, kind: str, name: str, uid: str, status: Mapping[str, Any]) -> None:
        """See Reports. Nothing is written into a broken file: the log says that it is broken."""
        slot = layout.slot_of(kind, "", name)
        stored = self._shelf.read(slot) if slot is not None else None
        if stored is None:
            raise NotFoundError(kind, name)
        if stored.resource is None or stored.problems:
            return
        resource = stored.resource
        if uid not in ("", resource.metadata.uid):
            raise ConflictError(kind, name)
        before = getattr(resource, "status", None)
        if not isinstance(before, dict | None):
            raise NoStatusError(f"statuses of {kind} are somebody else's")
        merged = {key: value for key, value in {**(before or {}), **status}.items() if value is not None}
        metadata = replace(resource.metadata, resource_version="")
        self._datastore.update_status(replace(resource, metadata=metadata, status=merged))

    def record(self, event: Event) -> None:
        """See Reports."""
        level = logging.WARNING if event.warning else logging.INFO
        log.log(
            level,
            "event reason=%s kind=%s name=%s count=%d message=%r",
            event.reason,
            event.kind,
            event.regarding,
            event.count,
            event.message,
        )
