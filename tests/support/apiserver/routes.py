"""Where a request leads (a kind, a namespace, an object, a subresource), and answers that are no objects."""

from __future__ import annotations

from tests.support.apiserver.kinds import Served
from tests.support.apiserver.storage import ApiError, NotServed, Object, Storage

#: Refused rather than ignored: whoever sends one relies on it.
_NOT_DONE = ("labelSelector", "fieldSelector")


def check_query(query: dict[str, str]) -> None:
    """ApiError for what this stand-in does not do."""
    if unknown := [name for name in _NOT_DONE if query.get(name)]:
        raise ApiError(501, "NotImplemented", f"the stand-in has no {unknown[0]}")


class Target:
    """What a path means: a kind's objects, one object, or (kind None) a group."""

    def __init__(
        self, api_version: str, kind: Served | None, namespace: str, name: str, subresource: str
    ) -> None:
        self.api_version, self.kind, self.namespace = api_version, kind, namespace
        self.name, self.subresource = name, subresource

    @property
    def plural(self) -> str:
        return self.kind.plural if self.kind else ""

    @classmethod
    def parse(cls, steps: list[str], storage: Storage) -> Target:
        if steps[:1] == ["api"] and len(steps) > 1:
            api_version, rest = steps[1], steps[2:]
        elif steps[:1] == ["apis"] and len(steps) > 2:
            api_version, rest = "/".join(steps[1:3]), steps[3:]
        else:
            return cls("", None, "", "", "")
        if not rest:
            return cls(api_version, None, "", "", "")
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        kind = storage.kind(api_version, rest[0])
        name, subresource = (*rest[1:], "", "")[:2]
        return cls(api_version, kind, namespace, name, subresource)


def list_of(storage: Storage, kind: Served, namespace: str, query: dict[str, str]) -> Object:
    limit = int(query.get("limit") or 0)
    objects, revision, token = storage.list(kind, namespace, limit, query.get("continue", ""))
    if not kind.custom:
        # Only custom resources say in lists what they are.
        objects = [{key: each[key] for key in each if key not in ("apiVersion", "kind")} for each in objects]
    metadata = {"resourceVersion": str(revision)} | ({"continue": token} if token else {})
    return {
        "apiVersion": kind.api_version,
        "kind": f"{kind.kind}List",
        "metadata": metadata,
        "items": objects,
    }


def discover(target: Target, storage: Storage) -> Object:
    kinds = [kind for kind in storage.kinds.values() if kind.api_version == target.api_version]
    if target.api_version and not kinds:
        raise NotServed
    resources: list[Object] = [
        {"name": kind.plural, "kind": kind.kind, "namespaced": kind.namespaced} for kind in kinds
    ]
    return {"kind": "APIResourceList", "groupVersion": target.api_version, "resources": resources}


def bookmark(kind: Served, revision: int, *, end: bool = False) -> Object:
    annotations = {"annotations": {"k8s.io/initial-events-end": "true"}} if end else {}
    metadata = {"resourceVersion": str(revision), "creationTimestamp": None, **annotations}
    return {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}
