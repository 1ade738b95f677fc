"""The bodies of writing requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from pyagent import manifest
from pyagent.datastore.layout import is_name
from pyagent.datastore.protocol import R
from pyagent.errors import ManifestError, Problem
from pyagent.model import AUTOHEP_V1, CALICO_V3, Resource


def checked(resource: R) -> R:
    """The resource with defaults; ManifestError if it must not be stored."""
    filled = manifest.default(resource)
    assert isinstance(filled, type(resource))
    problems = manifest.validate(filled)
    namespace = filled.metadata.namespace
    placed = is_name(namespace) if filled.NAMESPACED else not namespace
    if not problems and not (placed and is_name(filled.name)):
        reason = (
            "a namespaced resource needs a namespace, others have none, and both are lower case DNS names"
        )
        problems = [Problem("metadata.name", reason, resource.name)]
    if problems:
        raise ManifestError(problems)
    return filled


def new_object(resource: Resource) -> dict[str, Any]:
    """The body that creates ``resource``; without what the server assigns."""
    metadata = replace(
        resource.metadata,
        uid="",
        resource_version="",
        generation=0,
        creation_timestamp=None,
        deletion_timestamp=None,
        managed_fields=(),
        self_link="",
    )
    return _with_spec(manifest.encode(replace(resource, metadata=metadata)), resource)


def successor(resource: Resource, current: Mapping[str, Any]) -> dict[str, Any]:
    """The stored object ``current`` with the labels, the annotations and the spec of ``resource``."""
    body = manifest.encode(resource)
    metadata = dict(current["metadata"])
    metadata.pop("managedFields", None)
    for name in ("labels", "annotations"):
        metadata.pop(name, None)
        if given := body.get("metadata", {}).get(name):
            metadata[name] = given
    kept = {name: current[name] for name in ("status",) if name in current}
    return {**_with_spec(body, resource), **kept, "metadata": metadata}


def _with_spec(body: dict[str, Any], resource: Resource) -> dict[str, Any]:
    """The body with a spec, be it empty: to the server, none and an empty one are not the same."""
    return {"spec": {}, **body} if "spec" in resource.__struct_fields__ else body


def changes(resource: Resource, current: Mapping[str, Any]) -> dict[str, Any]:
    """A merge patch for an object that Kubernetes itself owns: what this model does not know stays."""
    body = manifest.encode(resource)
    known = current["metadata"]
    metadata: dict[str, Any] = {"resourceVersion": known["resourceVersion"]}
    for name in ("labels", "annotations"):
        wanted = body.get("metadata", {}).get(name, {})
        dropped = dict.fromkeys(known.get(name, {}).keys() - wanted.keys())
        metadata[name] = {**wanted, **dropped}
    rest = {name: value for name, value in body.items() if name not in ("metadata", "status")}
    return {**rest, "metadata": metadata}


def status_body(resource: Resource, current: Mapping[str, Any]) -> dict[str, Any]:
    """The stored object ``current`` with the status of ``resource``."""
    body = {**current, "apiVersion": resource.API_VERSION, "kind": resource.KIND}
    body["metadata"] = {name: value for name, value in current["metadata"].items() if name != "managedFields"}
    body.pop("status", None)
    if (status := manifest.encode(resource).get("status")) is not None:
        body["status"] = status
    return body


def is_ours(resource: Resource) -> bool:
    """Whether nobody but the users of this API writes objects of this kind."""
    return resource.API_VERSION in (CALICO_V3, AUTOHEP_V1)
