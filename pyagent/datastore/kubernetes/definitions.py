"""Our kinds' definitions in a cluster: installed and upgraded where they are ours, left alone where not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, Final

import msgspec

from pyagent.datastore.kubernetes.connection import Connection
from pyagent.datastore.kubernetes.errors import NotServedError
from pyagent.errors import ConflictError, NotFoundError

_KIND: Final = "CustomResourceDefinition"
_PATH: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_SERVICES: Final = "/apis/apiregistration.k8s.io/v1/apiservices"
#: What marks a definition as ours, and which one it is.
_CATEGORY: Final = "autohep"
_DIGEST: Final = "autohep.io/definition"

Definition = Mapping[str, Any]


class Definitions:
    """The CustomResourceDefinitions of the API server behind ``connection``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def apply(self, wanted: Iterable[Definition]) -> list[tuple[str, str]]:
        """Install or upgrade; (name, outcome) of each: created, upgraded, unchanged, or why not.

        Where somebody else serves one kind of a group, nothing of that group is touched. Doing it again
        changes nothing. Raises DatastoreError.
        """
        listed = list(wanted)
        found = {_name(each): self._read(_name(each)) for each in listed}
        foreign = {each["spec"]["group"] for each in listed if _is_foreign(found[_name(each)])}
        aggregated = {
            group
            for group, version in {
                (each["spec"]["group"], each["spec"]["versions"][0]["name"]) for each in listed
            }
            if self._is_aggregated(group, version)
        }
        outcomes = []
        for each in listed:
            name, group = _name(each), each["spec"]["group"]
            if group in aggregated:
                outcomes.append((name, f"left alone: an aggregated API server serves {group}"))
            elif group in foreign:
                outcomes.append((name, f"left alone: somebody else defines kinds of {group}"))
            else:
                outcomes.append((name, self._settle(each, found[name])))
        return outcomes

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            body = self._connection.request("GET", f"{_PATH}/{name}", _KIND, name).body
        except NotFoundError:
            return None
        return msgspec.json.decode(body, type=dict[str, Any])

    def _is_aggregated(self, group: str, version: str) -> bool:
        name = f"{version}.{group}"
        try:
            body = self._connection.request("GET", f"{_SERVICES}/{name}", "APIService", name).body
        except (NotFoundError, NotServedError):
            return False
        service = msgspec.json.decode(body, type=dict[str, Any])
        # Where definitions serve a group, the API server keeps an entry without a service behind it.
        return bool((service.get("spec") or {}).get("service"))

    def _settle(self, wanted: Definition, current: dict[str, Any] | None) -> str:
        digest = blake2b(msgspec.json.encode(wanted, order="sorted"), digest_size=8).hexdigest()
        name = _name(wanted)
        metadata: dict[str, Any] = {"name": name, "annotations": {_DIGEST: digest}}
        if current is None:
            body = {**wanted, "metadata": metadata}
            self._connection.request("POST", _PATH, _KIND, name, body=body)
            return "created"
        known = current["metadata"]
        annotations = known.get("annotations") or {}
        if annotations.get(_DIGEST) == digest:
            return "unchanged"
        kept = {key: value for key, value in known.items() if key != "managedFields"}
        metadata = {**kept, "annotations": {**annotations, _DIGEST: digest}}
        try:
            body = {**wanted, "metadata": metadata}
            self._connection.request("PUT", f"{_PATH}/{name}", _KIND, name, body=body)
        except ConflictError:
            return "changed by somebody else meanwhile: try again"
        return "upgraded"


def _name(definition: Definition) -> str:
    name: str = definition["metadata"]["name"]
    return name


def _is_foreign(current: Definition | None) -> bool:
    if current is None:
        return False
    return _CATEGORY not in (current["spec"].get("names", {}).get("categories") or ())
