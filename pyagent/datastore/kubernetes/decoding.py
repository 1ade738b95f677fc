"""From what an API server sends to resources: fast where it can be, forgiving where that is safe.

A server may be newer than this model, so fields it does not know are dropped. Except in what policies say:
a rule without one of its conditions would match more than its author said, and so may a policy without one of
its fields. Such an object counts as invalid.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import cache
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import msgspec

from pyagent import manifest
from pyagent.errors import ManifestError, Problem
from pyagent.manifest.felix_fields import is_upstream_field
from pyagent.model import (
    AUTOHEP_V1,
    CALICO_V3,
    KINDS,
    FelixConfiguration,
    HostEndpoint,
    Metadata,
    Node,
    Resource,
)
from pyagent.model.config import FelixConfigurationSpec
from pyagent.model.endpoint import NodeAddress, NodeStatus
from pyagent.model.policy import PolicySpec, Rule

#: Whose annotations of Nodes are looked at. Others are large and change as they like.
_READ_ANNOTATIONS: Final = "projectcalico.org/"


class _Meta(msgspec.Struct, rename="camel"):
    """What is needed of any object, valid or not."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    generation: int = 0
    creation_timestamp: str | None = None


class _NodeStatus(msgspec.Struct, frozen=True):
    addresses: tuple[NodeAddress, ...] | None = None


class _Envelope(msgspec.Struct):
    metadata: _Meta


class _LeanNode(_Envelope):
    status: _NodeStatus = _NodeStatus()


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """One object of the server: who it is, and the resource or what is wrong with it."""

    name: str
    namespace: str
    uid: str
    version: str
    resource: Resource | None
    problems: tuple[Problem, ...] = ()


def identity(raw: bytes | msgspec.Raw) -> tuple[str, str, str, str]:
    """(namespace, name, uid, resourceVersion) of any object. Raises msgspec.MsgspecError."""
    meta = msgspec.json.decode(raw, type=_Envelope).metadata
    return meta.namespace, meta.name, meta.uid, meta.resource_version


def decode(raw: bytes | msgspec.Raw, kind: str, *, lean: bool = False, own_node: str = "") -> Decoded:
    """One object of ``kind``. Raises msgspec.MsgspecError only if it is not an object with metadata at all.

    ``lean``: of a Node only what the controller looks at: labels, addresses, Calico's annotations. The rest
    is most of its 15 KB, and changes with every heartbeat. ``own_node``: of other nodes' host endpoints not
    the status, which is a third of what thousands of them take.
    """
    if lean and kind == Node.KIND:
        return _lean_node(raw)
    namespace, name, uid, version = identity(raw)
    try:
        resource = _resource(raw, KINDS[kind])
    except ManifestError as error:
        return Decoded(name, namespace, uid, version, None, error.problems)
    if own_node and isinstance(resource, HostEndpoint) and resource.spec.node != own_node:
        resource = msgspec.structs.replace(resource, status=None)
    return Decoded(name, namespace, uid, version, resource)


def _lean_node(raw: bytes | msgspec.Raw) -> Decoded:
    node = msgspec.json.decode(raw, type=_LeanNode)
    meta = node.metadata
    metadata = Metadata(
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
        labels=meta.labels or {},
        annotations={
            key: value for key, value in (meta.annotations or {}).items() if key.startswith(_READ_ANNOTATIONS)
        },
        generation=meta.generation,
        creation_timestamp=meta.creation_timestamp,
    )
    status = NodeStatus(addresses=node.status.addresses or ())
    resource = Node(api_version=Node.API_VERSION, kind=Node.KIND, metadata=metadata, status=status)
    return Decoded(meta.name, "", meta.uid, meta.resource_version, resource)


def _resource(raw: bytes | msgspec.Raw, cls: type[Resource]) -> Resource:
    if cls is not FelixConfiguration:
        try:
            return _accepted(msgspec.json.decode(_with_type(raw, cls), type=cls))
        except msgspec.ValidationError:
            pass  # unknown fields, nulls, or really wrong: looked at more closely below
    value = {"apiVersion": cls.API_VERSION, "kind": cls.KIND, **msgspec.json.decode(raw)}
    value.get("metadata", {}).pop("managedFields", None)
    return _accepted(manifest.decode(_known(value, cls)))


def _with_type(raw: bytes | msgspec.Raw, cls: type[Resource]) -> bytes:
    """``raw`` with apiVersion and kind, which the entries of a list of core objects do not bear."""
    if cls.API_VERSION in (CALICO_V3, AUTOHEP_V1):
        return bytes(raw)
    return b'{"apiVersion":"%b","kind":"%b",%b' % (
        cls.API_VERSION.encode(),
        cls.KIND.encode(),
        bytes(raw)[1:],
    )


def _accepted(resource: Resource) -> Resource:
    """The resource with defaults and without the server's book-keeping; ManifestError if it is not valid."""
    metadata = resource.metadata
    if metadata.managed_fields or metadata.self_link:
        metadata = msgspec.structs.replace(metadata, managed_fields=(), self_link="")
        resource = msgspec.structs.replace(resource, metadata=metadata)
    resource = manifest.default(resource)
    if problems := manifest.validate(resource):
        raise ManifestError(problems)
    return resource


_Prune = Callable[[Any], Any]
#: Where fields that the model does not know are kept: to be ignored by name, and to be refused by name.
_IS_KEPT: Final[dict[type[msgspec.Struct], Callable[[str], bool]]] = {
    FelixConfigurationSpec: is_upstream_field,
    PolicySpec: lambda _: True,
}


def _known(value: Any, cls: type[msgspec.Struct]) -> Any:
    """``value`` without the fields that ``cls`` does not have, and without nulls."""
    return _pruner(cls)(value)


@cache
def _pruner(wanted: Any) -> _Prune:
    """A function that drops from a value what its type does not know; values of another type stay."""
    wanted = _without_none(wanted)
    origin, arguments = get_origin(wanted), get_args(wanted)
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        return _prune_nothing if wanted is Rule else _prune_struct(wanted)
    if origin is tuple and arguments:
        inner = _pruner(arguments[0])
        return lambda value: [inner(item) for item in value] if isinstance(value, list) else value
    return _prune_nothing


def _prune_struct(cls: type[msgspec.Struct]) -> _Prune:
    hints = get_type_hints(cls)
    fields = {field.encode_name: hints[field.name] for field in msgspec.structs.fields(cls)}
    is_kept = _IS_KEPT.get(cls, _nothing)

    def prune(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            name: _pruner(fields[name])(item) if name in fields else item
            for name, item in value.items()
            if item is not None and (name in fields or is_kept(name))
        }

    return prune


def _nothing(_: str) -> bool:
    return False


def _prune_nothing(value: Any) -> Any:
    return value


def _without_none(wanted: Any) -> Any:
    if get_origin(wanted) not in (Union, types.UnionType):
        return wanted
    rest = [argument for argument in get_args(wanted) if argument is not type(None)]
    return rest[0] if len(rest) == 1 else Any
