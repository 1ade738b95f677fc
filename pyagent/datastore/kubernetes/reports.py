"""Statuses and events in a cluster."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from pyagent.datastore.kubernetes.connection import MERGE_PATCH, Connection
from pyagent.datastore.kubernetes.errors import NotServedError, RefusedError, UnreachableError
from pyagent.datastore.kubernetes.places import item
from pyagent.datastore.reports import Event, NoStatusError
from pyagent.errors import AlreadyExistsError, NotFoundError
from pyagent.model import KINDS

#: Where Kubernetes keeps the events of objects that are in no namespace.
NAMESPACE: Final = "default"
COMPONENT: Final = "autohep"
_EVENTS = f"/api/v1/namespaces/{NAMESPACE}/events"
_LONGEST_MESSAGE = 1024
_NO_METHOD = 405


class KubernetesReports:
    """Reports to the API server behind ``connection``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def read(self, kind: str, name: str) -> Mapping[str, Any]:
        """See Reports."""
        body = self._connection.request("GET", item(kind, name), kind, name).body
        try:
            return msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise UnreachableError(f"the API server sent what is no {kind}: {error}") from error

    def write_status(self, kind: str, name: str, uid: str, status: Mapping[str, Any]) -> None:
        """See Reports."""
        body: dict[str, Any] = {"status": status}
        if uid:
            body["metadata"] = {"uid": uid}
        with self.told_if_there_is_none(kind, name):
            self._patch(f"{item(kind, name)}/status", kind, name, body)

    @contextlib.contextmanager
    def told_if_there_is_none(self, kind: str, name: str) -> Iterator[None]:
        """Around the writing of a status: NoStatusError if objects of this kind have none to write."""
        try:
            yield
        except NotFoundError as error:
            # Of a missing subresource a server says the same as of a missing object.
            self.read(kind, name)
            raise NoStatusError(f"{kind} has no status subresource in this cluster") from error
        except NotServedError as error:
            raise NoStatusError(f"{kind} has no status subresource in this cluster") from error
        except RefusedError as error:
            if error.status != _NO_METHOD:
                raise
            raise NoStatusError(f"statuses of {kind} cannot be written in this cluster") from error

    def record(self, event: Event) -> None:
        """See Reports."""
        if event.count > 1:
            again = {"count": event.count, "lastTimestamp": event.last, "message": _message(event)}
            try:
                self._patch(f"{_EVENTS}/{event.name}", "Event", event.name, again)
            except NotFoundError:
                pass  # events are forgotten after an hour
            else:
                return
        try:
            self._connection.request("POST", _EVENTS, "Event", event.name, body=_body(event))
        except AlreadyExistsError:
            return

    def _patch(self, path: str, kind: str, name: str, body: Mapping[str, Any]) -> None:
        self._connection.request(
            "PATCH",
            path,
            kind,
            name,
            query=(("fieldManager", COMPONENT),),
            body=body,
            content_type=MERGE_PATCH,
        )


def _message(event: Event) -> str:
    return event.message[:_LONGEST_MESSAGE]


def _body(event: Event) -> dict[str, Any]:
    regarding = {
        "apiVersion": KINDS[event.kind].API_VERSION,
        "kind": event.kind,
        "name": event.regarding,
        "uid": event.uid,
    }
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": event.name, "namespace": NAMESPACE},
        "involvedObject": {field: value for field, value in regarding.items() if value},
        "reason": event.reason,
        "message": _message(event),
        "type": "Warning" if event.warning else "Normal",
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": socket.gethostname(),
        "firstTimestamp": event.first,
        "lastTimestamp": event.last,
        "count": event.count,
    }
