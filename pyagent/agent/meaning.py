"""What of a resource matters to enforcement, and names for sets of resources by that."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec.structs import replace

from pyagent.model import CALICO_V3, Metadata, Resource

#: Annotations that this project gives a meaning; those of others have none here.
_ANNOTATIONS: Final = "autohep.io/"
_DIGEST_BYTES: Final = 16


def meaning(resource: Resource) -> Resource:
    """The resource without what no policy can depend on: status, resourceVersion and other book-keeping.

    Two versions with equal meanings lead to the same enforcement and are reported alike. It is also what an
    agent keeps in memory: at 5,000 nodes the statuses of others would be most of it.
    """
    metadata = resource.metadata
    kept = Metadata(
        name=metadata.name,
        namespace=metadata.namespace,
        labels=metadata.labels,
        annotations={key: text for key, text in metadata.annotations.items() if key.startswith(_ANNOTATIONS)},
        uid=metadata.uid,
        generation=metadata.generation,
    )
    if resource.API_VERSION == CALICO_V3 and "status" in resource.__struct_fields__:
        return replace(resource, metadata=kept, status=None)
    return replace(resource, metadata=kept)


def mark(resource: Resource) -> int:
    """A number for one resource's meaning; the marks of a set add up to its digest."""
    metadata = resource.metadata
    # Not everything has a generation: Services, for one.
    version = metadata.generation or msgspec.json.encode(meaning(resource)).hex()
    text = (
        f"{resource.kind}/{metadata.namespace}/{metadata.name}={metadata.uid}/{version}"
        f"/{sorted(metadata.labels.items())}"
    )
    return int.from_bytes(blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest(), "big")


def digest_of_marks(total: int) -> str:
    """The digest of a set whose marks add up to ``total``."""
    return f"{total % (1 << 8 * _DIGEST_BYTES):0{2 * _DIGEST_BYTES}x}"


def digest(resources: Iterable[Resource]) -> str:
    """Name a set of resources by what they mean: statuses, for one, never change it."""
    return digest_of_marks(sum(map(mark, resources)))
