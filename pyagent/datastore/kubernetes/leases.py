"""Leases in a cluster: coordination.k8s.io/v1."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from pyagent.datastore.kubernetes.connection import Connection
from pyagent.datastore.kubernetes.errors import UnreachableError
from pyagent.datastore.leases import Lease

KIND = "Lease"
_API_VERSION = "coordination.k8s.io/v1"
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class _Meta(msgspec.Struct, rename="camel"):
    name: str
    namespace: str
    resource_version: str


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Lease(msgspec.Struct):
    metadata: _Meta
    spec: _Spec = _Spec()


class KubernetesLeases:
    """Leases of the API server behind ``connection``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.namespace = _own_namespace()

    def get(self, namespace: str, name: str) -> Lease:
        """See Leases."""
        return _decode(self._connection.request("GET", _path(namespace, name), KIND, name).body)

    def create(self, lease: Lease) -> Lease:
        """See Leases."""
        path = _path(lease.namespace, "")
        return _decode(self._connection.request("POST", path, KIND, lease.name, body=_body(lease)).body)

    def update(self, lease: Lease) -> Lease:
        """See Leases."""
        path = _path(lease.namespace, lease.name)
        return _decode(self._connection.request("PUT", path, KIND, lease.name, body=_body(lease)).body)


def _own_namespace() -> str:
    """The namespace of the pod this runs in; kube-system outside of one."""
    try:
        return os.environ.get("POD_NAMESPACE") or _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except OSError:
        return "kube-system"


def _path(namespace: str, name: str) -> str:
    return f"/apis/{_API_VERSION}/namespaces/{namespace}/leases" + (f"/{name}" if name else "")


def _body(lease: Lease) -> dict[str, Any]:
    metadata = {"name": lease.name, "namespace": lease.namespace}
    if lease.version:
        metadata["resourceVersion"] = lease.version
    spec = {
        "holderIdentity": lease.holder,
        "leaseDurationSeconds": lease.seconds,
        "acquireTime": lease.acquired or None,
        "renewTime": lease.renewed or None,
        "leaseTransitions": lease.transitions,
    }
    given = {name: value for name, value in spec.items() if value is not None}
    return {"apiVersion": _API_VERSION, "kind": KIND, "metadata": metadata, "spec": given}


def _decode(body: bytes) -> Lease:
    try:
        lease = msgspec.json.decode(body, type=_Lease)
    except msgspec.MsgspecError as error:
        raise UnreachableError(f"the API server sent what is no Lease: {error}") from error
    spec = lease.spec
    return Lease(
        namespace=lease.metadata.namespace,
        name=lease.metadata.name,
        holder=spec.holder_identity or "",
        seconds=spec.lease_duration_seconds or 15,
        acquired=spec.acquire_time or "",
        renewed=spec.renew_time or "",
        transitions=spec.lease_transitions or 0,
        version=lease.metadata.resource_version,
    )
