"""The kinds a stand-in serves: a few of Kubernetes' own, and whatever definitions it is given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pyagent.crds import definitions


@dataclass(frozen=True)
class Served:
    """One kind. ``custom``: by a definition, with ``schema``; others are taken as they come."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    custom: bool = False
    schema: dict[str, Any] | None = None
    #: Whether the status is a resource of its own, and whether a new object keeps the one it came with.
    status: bool = True
    keeps_status: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


_TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)$"}
#: What a server checks of leases, which candidates rely on.
_LEASE = {
    "type": "object",
    "x-kubernetes-preserve-unknown-fields": True,
    "properties": {
        "spec": {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {
                "leaseDurationSeconds": {"type": "integer", "minimum": 1},
                "leaseTransitions": {"type": "integer", "minimum": 0},
                "acquireTime": _TIME,
                "renewTime": _TIME,
            },
        }
    },
}
BUILT_IN = (
    Served("", "v1", "nodes", "Node", namespaced=False, keeps_status=True),
    Served("", "v1", "namespaces", "Namespace", namespaced=False, keeps_status=True),
    Served("", "v1", "services", "Service", namespaced=True),
    Served("", "v1", "events", "Event", namespaced=True, status=False),
    Served("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", namespaced=True, status=False),
    Served(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        namespaced=False,
    ),
    Served("coordination.k8s.io", "v1", "leases", "Lease", namespaced=True, status=False, schema=_LEASE),
)


def served_by(crds: Iterable[dict[str, Any]] | None = None) -> list[Served]:
    """Kubernetes' own kinds and those of ``crds``, ours unless given."""
    return [*BUILT_IN, *(custom(crd) for crd in (definitions() if crds is None else crds))]


def custom(crd: dict[str, Any]) -> Served:
    """The kind that a definition makes."""
    spec = crd["spec"]
    version = spec["versions"][0]
    return Served(
        spec["group"],
        version["name"],
        spec["names"]["plural"],
        spec["names"]["kind"],
        spec["scope"] == "Namespaced",
        custom=True,
        schema=version["schema"]["openAPIV3Schema"],
        status="status" in version.get("subresources", {}),
    )
