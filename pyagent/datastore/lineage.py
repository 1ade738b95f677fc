"""How a version of a resource follows from the one before it: what the store assigns and what it keeps."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from msgspec.structs import replace

from pyagent.datastore.protocol import R
from pyagent.model import Metadata, Resource


def succeed(resource: R, before: Resource | None) -> R:
    """``resource`` as the successor of ``before``: what the store assigns comes from there, or is made anew.

    The resourceVersion stays that of ``before``, so that equality means that nothing changed.
    """
    if before is None:
        assigned = Metadata(uid=str(uuid.uuid4()), creation_timestamp=now(), generation=1)
    else:
        assigned = before.metadata
    changed = before is not None and _desired(resource) != _desired(before)
    metadata = replace(
        resource.metadata,
        resource_version=assigned.resource_version,
        uid=assigned.uid,
        creation_timestamp=assigned.creation_timestamp,
        generation=assigned.generation + int(changed),
        managed_fields=(),
        self_link="",
    )
    return replace(resource, metadata=metadata)


def as_edited(resource: Resource, before: Resource | None) -> Resource:
    """A hand-edited file as the successor of what it was; a status that was left out is kept."""
    if before is not None and not has_status(resource):
        resource = with_status_of(resource, before)
    return succeed(resource, before)


def with_revision(resource: R, revision: int) -> R:
    """The same under a new resourceVersion."""
    return replace(resource, metadata=replace(resource.metadata, resource_version=str(revision)))


def has_status(resource: Resource) -> bool:
    """Whether a resource carries a status that says anything."""
    status = getattr(resource, "status", None)
    return status is not None and status != type(status)()


def with_status_of(resource: R, other: Resource) -> R:
    """``resource`` with the status of ``other`` of the same kind; nothing happens if the kind has none."""
    if "status" not in resource.__struct_fields__:
        return resource
    return replace(resource, status=getattr(other, "status", None))


def now() -> str:
    """The time as Kubernetes writes it: RFC 3339, UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _desired(resource: Resource) -> dict[str, object]:
    """What a change of which counts as a new generation: everything but metadata and status."""
    fields = (field for field in resource.__struct_fields__ if field not in ("metadata", "status"))
    return {field: getattr(resource, field) for field in fields}
