"""What etcd and the registries do: objects with versions, conditional writes, a history for watches."""

from __future__ import annotations

import base64
import copy
import itertools
import json
import threading
import uuid
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.support.apiserver.kinds import Served, custom, served_by
from tests.support.apiserver.schema import check, fill, prune

Object = dict[str, Any]
Key = tuple[str, str]


class ApiError(Exception):
    """An answer that is not 2xx."""

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "reason": reason,
            "message": message,
            "code": code,
            "details": details,
        }
        super().__init__(message)

    def body(self) -> bytes:
        """What is sent."""
        return json.dumps(self.status).encode()


class NotServed(ApiError):  # noqa: N818 (an answer, not a mistake)
    """A path that leads nowhere: no Status, but plain words."""

    def __init__(self) -> None:
        super().__init__(404, "NotFound", "the server could not find the requested resource")

    def body(self) -> bytes:
        return b"404 page not found\n"


@dataclass
class Shelf:
    """The objects of one kind and what became of them; a watch can begin at ``oldest`` or later."""

    objects: dict[Key, Object] = field(default_factory=dict)
    history: deque[tuple[int, str, Object]] = field(default_factory=deque)
    oldest: int = 0


class Storage:
    """All objects. Survives the server, as etcd does. ``window``: changes a kind's history has at most."""

    def __init__(self, kinds: Sequence[Served] | None = None, window: int = 1000) -> None:
        self.kinds = {(kind.api_version, kind.plural): kind for kind in (kinds or served_by())}
        self.window = window
        self.changed = threading.Condition()
        self.revision = 100
        self._shelves: dict[str, Shelf] = {}
        self._pages: dict[str, tuple[int, list[Object]]] = {}
        for namespace in ("default", "kube-system"):
            self.create(self.kind("v1", "namespaces"), "", {"metadata": {"name": namespace}})
        self.create(
            self.kind("v1", "services"),
            "default",
            {
                "metadata": {"name": "kubernetes"},
                "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 443}]},
            },
        )

    def kind(self, api_version: str, plural: str) -> Served:
        try:
            return self.kinds[api_version, plural]
        except KeyError:
            raise NotServed from None

    def serves(self, kind: Served) -> bool:
        """Whether the kind is still served."""
        return (kind.api_version, kind.plural) in self.kinds

    def missing(self, kind: Served, name: str) -> ApiError:
        """The answer for an object that is not there."""
        group = f".{kind.group}" if kind.group else ""
        message = f'{kind.plural}{group} "{name}" not found'
        return ApiError(404, "NotFound", message, name=name, kind=kind.plural)

    def shelf(self, kind: Served) -> Shelf:
        return self._shelves.setdefault(f"{kind.api_version}/{kind.plural}", Shelf(oldest=self.revision))

    def compact(self) -> None:
        """Forget the history, as a restarted server does: whoever was behind gets 410."""
        with self.changed:
            self.revision += 1
            self._pages.clear()
            for shelf in self._shelves.values():
                shelf.history.clear()
                shelf.oldest = self.revision
            self.changed.notify_all()

    def rewind(self, revision: int) -> None:
        """Count from ``revision`` on, as after etcd was restored from a backup."""
        with self.changed:
            self.revision = revision
            for shelf in self._shelves.values():
                shelf.history.clear()
                shelf.oldest = 0

    def get(self, kind: Served, namespace: str, name: str) -> Object:
        with self.changed:
            try:
                return self.shelf(kind).objects[namespace, name]
            except KeyError:
                raise self.missing(kind, name) from None

    def list(
        self, kind: Served, namespace: str, limit: int = 0, token: str = ""
    ) -> tuple[list[Object], int, str]:
        """A page: objects, the list's revision, the token for what comes next (empty: nothing)."""
        with self.changed:
            if token:
                if token not in self._pages:
                    raise ApiError(410, "Expired", "The provided continue parameter is too old")
                revision, rest = self._pages[token]
            else:
                revision = self.revision
                objects = self.shelf(kind).objects
                rest = [objects[key] for key in sorted(objects) if namespace in ("", key[0])]
            if not limit or len(rest) <= limit:
                return rest, revision, ""
            token = base64.urlsafe_b64encode(json.dumps([revision, uuid.uuid4().hex]).encode()).decode()
            self._pages[token] = (revision, rest[limit:])
            return rest[:limit], revision, token

    def create(self, kind: Served, namespace: str, body: Object, *, dry: bool = False) -> Object:
        metadata = dict(body.get("metadata") or {})
        name = metadata.get("name", "")
        if metadata.get("resourceVersion"):
            message = "resourceVersion should not be set on objects to be created"
            raise ApiError(500, "InternalError", message)
        with self.changed:
            if kind.namespaced and kind.kind != "Namespace":
                self.get(self.kind("v1", "namespaces"), "", namespace)
            if (namespace, name) in self.shelf(kind).objects:
                raise ApiError(409, "AlreadyExists", f'{kind.plural} "{name}" already exists', name=name)
            metadata |= {
                "uid": str(uuid.uuid4()),
                "creationTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "managedFields": _managed(),
            }
            if kind.namespaced:
                metadata["namespace"] = namespace
            if kind.custom:
                metadata["generation"] = 1
            new = {
                **copy.deepcopy(body),
                "apiVersion": kind.api_version,
                "kind": kind.kind,
                "metadata": metadata,
            }
            if kind.status and not kind.keeps_status:
                new.pop("status", None)
            new = _valid(kind, new)
            return new if dry else self._store(kind, "ADDED", new)

    def update(
        self, kind: Served, namespace: str, name: str, body: Object, *, status: bool = False
    ) -> Object:
        with self.changed:
            before = self.get(kind, namespace, name)
            given = body.get("metadata") or {}
            if given.get("name", name) != name:
                message = "the name of the object does not match the name on the URL"
                raise ApiError(400, "BadRequest", message)
            if not given.get("resourceVersion") and kind.custom:
                message = "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
                raise ApiError(422, "Invalid", message, name=name)
            _require(before, given, kind, name)
            after = self._successor(kind, before, body, status=status)
            after = _valid(kind, after)
            return before if after == before else self._store(kind, "MODIFIED", after)

    def patch(
        self, kind: Served, namespace: str, name: str, patch: Object, *, status: bool = False
    ) -> Object:
        """A merge patch."""
        with self.changed:
            before = self.get(kind, namespace, name)
            _require(before, patch.get("metadata") or {}, kind, name)
            merged = _merge(before, patch)
            merged["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
            return self.update(kind, namespace, name, merged, status=status)

    def delete(self, kind: Served, namespace: str, name: str, preconditions: Object) -> Object:
        with self.changed:
            before = self.get(kind, namespace, name)
            _require(before, preconditions, kind, name)
            if kind.kind == "CustomResourceDefinition":
                # Its objects go first, and every watcher is told.
                made = self.kinds.get((custom(before).api_version, custom(before).plural))
                if made is not None:
                    for inside, each in tuple(self.shelf(made).objects):
                        self.delete(made, inside, each, {})
            del self.shelf(kind).objects[namespace, name]
            return self._record(kind, "DELETED", before)

    def since(self, kind: Served, revision: int) -> Sequence[tuple[int, str, Object]]:
        """What happened after ``revision``; ApiError 410 if that is forgotten."""
        shelf = self.shelf(kind)
        if revision < shelf.oldest:
            message = f"too old resource version: {revision} ({shelf.oldest})"
            raise ApiError(410, "Expired", message)
        first = bisect_right(shelf.history, revision, key=lambda change: change[0])
        return tuple(itertools.islice(shelf.history, first, None))

    def _successor(self, kind: Served, before: Object, body: Object, *, status: bool) -> Object:
        if status:
            rest = {name: value for name, value in before.items() if name != "status"}
            return {**rest, **({"status": body["status"]} if "status" in body else {})}
        kept = before["metadata"]
        metadata = {name: value for name, value in (body.get("metadata") or {}).items() if value is not None}
        for name in (
            "uid",
            "creationTimestamp",
            "generation",
            "resourceVersion",
            "managedFields",
            "namespace",
        ):
            metadata.pop(name, None)
            if name in kept:
                metadata[name] = kept[name]
        after = {
            **copy.deepcopy(body),
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": metadata,
        }
        if kind.status:
            after.pop("status", None)
            if "status" in before:
                after["status"] = before["status"]
        if kind.custom and _desired(kind, _valid(kind, after)) != _desired(kind, before):
            metadata["generation"] = kept["generation"] + 1
        return after

    def _store(self, kind: Served, type_: str, new: Object) -> Object:
        metadata = new["metadata"]
        stored = self._record(kind, type_, new)
        self.shelf(kind).objects[metadata.get("namespace", ""), metadata["name"]] = stored
        return stored

    def _record(self, kind: Served, type_: str, changed: Object) -> Object:
        self.revision += 1
        version = {"resourceVersion": str(self.revision)}
        changed = {**changed, "metadata": {**changed["metadata"], **version}}
        if kind.kind == "CustomResourceDefinition":
            self._define(custom(changed), served=type_ != "DELETED")
        shelf = self.shelf(kind)
        shelf.history.append((self.revision, type_, changed))
        if len(shelf.history) > self.window:
            shelf.oldest = shelf.history.popleft()[0]
        self.changed.notify_all()
        return changed

    def _define(self, kind: Served, *, served: bool) -> None:
        """Serve a kind, or forget it and its objects."""
        if served:
            self.kinds[kind.api_version, kind.plural] = kind
        else:
            del self.kinds[kind.api_version, kind.plural]
            self._shelves.pop(f"{kind.api_version}/{kind.plural}", None)


def _valid(kind: Served, new: Object) -> Object:
    if kind.schema is None:
        return new
    metadata = new["metadata"]
    new = fill(prune({**new, "metadata": {}}, kind.schema), kind.schema)
    new["metadata"] = metadata
    visible = {**new, "metadata": {"name": metadata["name"]}}
    if causes := check(visible, kind.schema):
        name = metadata["name"]
        reasons = ", ".join(f"{cause['field']}: {cause['message']}" for cause in causes)
        message = f'{kind.kind}.{kind.group} "{name}" is invalid: {reasons}'
        raise ApiError(422, "Invalid", message, name=name, kind=kind.kind, causes=causes)
    return new


def _require(before: Object, given: Object, kind: Served, name: str) -> None:
    for precondition in ("resourceVersion", "uid"):
        wanted = given.get(precondition)
        if wanted and wanted != before["metadata"][precondition]:
            message = f'Operation cannot be fulfilled on {kind.plural} "{name}": the object has been modified'
            raise ApiError(409, "Conflict", message, name=name, kind=kind.plural)


def _merge(before: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(before) if isinstance(before, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged


def _desired(kind: Served, body: Object) -> Object:
    """What a generation is of: a status counts where it is no resource of its own."""
    rest = ("metadata", "status") if kind.status else ("metadata",)
    return {name: value for name, value in body.items() if name not in rest}


def _managed() -> list[Object]:
    return [
        {"manager": "someone", "operation": "Update", "apiVersion": "v1", "fieldsV1": {"f:spec": {"f:x": {}}}}
    ]
