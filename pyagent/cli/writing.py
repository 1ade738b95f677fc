"""How resources get into the datastore: create, apply, replace, delete, and change with retry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec import structs

from pyagent.cli.manifests import target_of
from pyagent.cli.targets import Target
from pyagent.datastore import Datastore
from pyagent.errors import AlreadyExistsError, AutohepError, ConflictError, NotFoundError, Problem
from pyagent.manifest import BUILT_IN_TIERS
from pyagent.model import CALICO_V3, GlobalNetworkPolicy, Resource, StagedGlobalNetworkPolicy, Tier

#: How often a write that lost a race is tried again.
RETRIES = 5
#: Written before all others and deleted after them, for others refer to them.
_REFERRED_TO = ("Tier", "Profile", "GlobalNetworkSet")

_Policy = GlobalNetworkPolicy | StagedGlobalNetworkPolicy


def create(datastore: Datastore, resource: Resource) -> Resource:
    """Store a new resource; a version it had elsewhere is dropped."""
    metadata = structs.replace(resource.metadata, resource_version="", uid="")
    return datastore.create(structs.replace(resource, metadata=metadata))


def replace(datastore: Datastore, resource: Resource) -> Resource:
    """Update an existing resource with the labels, annotations and contents of this one.

    With a resourceVersion the write is refused if the resource has changed since; without one it is repeated
    when somebody else writes in between.
    """
    version = resource.metadata.resource_version

    def merge(stored: Resource) -> Resource:
        metadata = structs.replace(
            stored.metadata,
            labels=resource.metadata.labels,
            annotations=resource.metadata.annotations,
            resource_version=version or stored.metadata.resource_version,
        )
        merged = structs.replace(resource, metadata=metadata)
        # Only Kubernetes' own kinds take a status from the user: an embedded datastore has no kubelet.
        if resource.API_VERSION == CALICO_V3 and "status" in resource.__struct_fields__:
            merged = structs.replace(merged, status=getattr(stored, "status", None))
        return merged

    return change(datastore, target_of(resource), merge, retry=not version)


def apply(datastore: Datastore, resource: Resource) -> Resource:
    """Update the resource, or create it if there is none."""
    try:
        return replace(datastore, resource)
    except NotFoundError:
        try:
            return create(datastore, resource)
        except AlreadyExistsError:
            return replace(datastore, resource)


def change(
    datastore: Datastore, target: Target, edit: Callable[[Resource], Resource], *, retry: bool = True
) -> Resource:
    """Read, edit and write one resource; on a conflict once more with what is stored by then."""
    for attempt in range(RETRIES + 1):
        edited = edit(datastore.get(target.kind.name, target.name, target.namespace))
        try:
            return datastore.update(edited)
        except ConflictError:
            if not retry or attempt == RETRIES:
                raise
    raise AssertionError("the loop returns or raises")


def delete(datastore: Datastore, target: Target) -> None:
    """Remove one resource. A tier that others need stays: its policies would change their meaning."""
    if target.kind.name == "Tier":
        if target.name in BUILT_IN_TIERS:
            raise AutohepError(f"tier '{target.name}' always exists and cannot be deleted")
        members = [policy.name for policy in _policies(datastore) if policy.spec.tier == target.name]
        if members:
            raise AutohepError(f"tier '{target.name}' is not empty: it holds {', '.join(sorted(members))}")
    datastore.delete(target.kind.name, target.name, target.namespace)


def _policies(datastore: Datastore) -> Iterable[_Policy]:
    for kind in (GlobalNetworkPolicy, StagedGlobalNetworkPolicy):
        for policy in datastore.list(kind.KIND)[0]:
            assert isinstance(policy, GlobalNetworkPolicy | StagedGlobalNetworkPolicy)
            yield policy


def dangling(datastore: Datastore, resources: Sequence[Resource]) -> list[Problem]:
    """What the resources refer to that neither exists nor is among them: the tiers of policies."""
    policies = [r for r in resources if isinstance(r, GlobalNetworkPolicy | StagedGlobalNetworkPolicy)]
    wanted = {policy.spec.tier for policy in policies if policy.spec.tier}
    missing = wanted - BUILT_IN_TIERS.keys() - {r.name for r in resources if isinstance(r, Tier)}
    if missing:
        missing -= {tier.name for tier in datastore.list(Tier.KIND)[0]}
    return [
        Problem("spec.tier", f"tier does not exist, needed by {policy.kind}({policy.name})", policy.spec.tier)
        for policy in policies
        if policy.spec.tier in missing
    ]


def write_order(resource: Resource) -> int:
    """A sort key: what others refer to comes first."""
    return _REFERRED_TO.index(resource.kind) if resource.kind in _REFERRED_TO else len(_REFERRED_TO)


def delete_order(target: Target) -> int:
    """A sort key: what others refer to comes last."""
    name = target.kind.name
    return -_REFERRED_TO.index(name) if name in _REFERRED_TO else -len(_REFERRED_TO)
