"""What every resource shares: apiVersion, kind and metadata.

All resources are frozen msgspec structs that refuse unknown fields, so that one model serves manifests, the
embedded datastore and the API server. Field names on the wire are Kubernetes' camel case.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

CALICO_V3 = "projectcalico.org/v3"


class Struct(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True
):
    """Base of every part of a resource: immutable, strict, camel case, defaults left out when encoded."""


class OwnerReference(Struct, frozen=True):
    """Kubernetes' metadata.ownerReferences entry; kept, never interpreted."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class Metadata(Struct, frozen=True):
    """Kubernetes object metadata, as far as this project reads or writes it."""

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    resource_version: str = ""
    uid: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    generation: int = 0
    generate_name: str = ""
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()
    self_link: str = ""
    managed_fields: tuple[Any, ...] = ()


class Resource(Struct, frozen=True):
    """Base of every kind. Subclasses set the class variables and a ``spec`` (and ``status``)."""

    KIND: ClassVar[str] = ""
    API_VERSION: ClassVar[str] = CALICO_V3
    PLURAL: ClassVar[str] = ""
    NAMESPACED: ClassVar[bool] = False

    api_version: str
    kind: str
    metadata: Metadata = Metadata()

    @property
    def name(self) -> str:
        """``metadata.name``."""
        return self.metadata.name
