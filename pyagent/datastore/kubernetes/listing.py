"""Lists, page by page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from pyagent.datastore.kubernetes.connection import Connection
from pyagent.datastore.kubernetes.errors import ExpiredError, UnreachableError
from pyagent.datastore.kubernetes.places import collection, group_path
from pyagent.errors import DatastoreError
from pyagent.model import KINDS

#: Kinds whose absence from a cluster means what an empty list of them would mean.
DISPENSABLE: Final = frozenset(
    {"StagedGlobalNetworkPolicy", "Tier", "Profile", "FelixConfiguration", "ClusterServices"}
)


class _ListMeta(msgspec.Struct, rename={"continue_": "continue", "resource_version": "resourceVersion"}):
    resource_version: str = ""
    continue_: str = ""


class _List(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _Resource(msgspec.Struct):
    name: str


class _Resources(msgspec.Struct):
    resources: list[_Resource]


T = TypeVar("T")


def read_all(
    connection: Connection, kind: str, decode: Callable[[msgspec.Raw], T], namespace: str = ""
) -> tuple[list[T], str]:
    """All objects of a kind, decoded page by page, and the version of the list. Raises DatastoreError."""
    limit, token = connection.pace.page, ""
    found: list[T] = []
    while True:
        query = [("limit", str(limit))] + ([("continue", token)] if token else [])
        try:
            answer = connection.request("GET", collection(kind, namespace), kind, query=query)
        except ExpiredError:
            if not token:
                raise
            # Too slow for the server's memory: once more, in one piece.
            limit, token = 0, ""
            found.clear()
            continue
        page = _decode_page(answer.body, kind)
        found += [decode(raw) for raw in page.items or []]
        token = page.metadata.continue_
        if not token:
            return found, page.metadata.resource_version


def _decode_page(body: bytes, kind: str) -> _List:
    try:
        page = msgspec.json.decode(body, type=_List)
    except msgspec.MsgspecError as error:
        raise UnreachableError(f"the API server sent what is no list of {kind}: {error}") from error
    if not page.metadata.resource_version:
        raise UnreachableError(f"the API server sent a list of {kind} without resourceVersion")
    return page


def is_missing(connection: Connection, kind: str) -> bool:
    """Whether the server serves the group of ``kind`` and says itself that the kind is not in it."""
    try:
        answer = connection.request("GET", group_path(kind), kind)
        served = msgspec.json.decode(answer.body, type=_Resources)
    except (DatastoreError, msgspec.MsgspecError):
        return False
    return bool(served.resources) and KINDS[kind].PLURAL not in {each.name for each in served.resources}
