"""The resources as one node's policy needs them: by kind, with the objects that always exist filled in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from pyagent.model import (
    CALICO_V3,
    ClusterServices,
    EndpointSlice,
    FelixConfiguration,
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    HostEndpoint,
    Metadata,
    Node,
    Profile,
    Resource,
    StagedGlobalNetworkPolicy,
    Tier,
)
from pyagent.model.config import FelixConfigurationSpec
from pyagent.model.policy import ProfileSpec, Rule, TierSpec
from pyagent.reference.address import is_address
from pyagent.selector import parse

Kind = TypeVar("Kind", bound=Resource)
AnyPolicy = GlobalNetworkPolicy | StagedGlobalNetworkPolicy

#: Tiers that exist on every cluster: name -> (order, what their end does).
BUILT_IN_TIERS = {"default": (1e6, "Deny"), "kube-admin": (1e3, "Pass"), "kube-baseline": (1e7, "Pass")}
DEFAULT_ALLOW = "projectcalico-default-allow"
#: Label of host endpoints that the controller made; their addresses are those of their node.
CREATED_BY = "projectcalico.org/created-by"


def _metadata(name: str) -> Metadata:
    return Metadata(name=name)


def _built_in() -> list[Resource]:
    tiers: list[Resource] = [
        Tier(
            api_version=CALICO_V3,
            kind="Tier",
            metadata=_metadata(name),
            spec=TierSpec(order=order, default_action=action),
        )
        for name, (order, action) in BUILT_IN_TIERS.items()
    ]
    rules = (Rule(action="Allow"),)
    spec = ProfileSpec(ingress=rules, egress=rules)
    return [
        *tiers,
        Profile(api_version=CALICO_V3, kind="Profile", metadata=_metadata(DEFAULT_ALLOW), spec=spec),
    ]


class Resources:
    """All resources, by kind and name; of two with one kind and name the later counts."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._all: dict[tuple[str, str, str], Resource] = {}
        for resource in [*_built_in(), *resources]:
            self._all[(resource.KIND, resource.metadata.namespace, resource.name)] = resource

    def of(self, kind: type[Kind]) -> list[Kind]:
        """The resources of one kind, in byte order of their names."""
        found = [resource for resource in self._all.values() if isinstance(resource, kind)]
        return sorted(found, key=lambda resource: (resource.metadata.namespace, resource.name))

    def named(self, kind: type[Kind], name: str) -> Kind | None:
        """The resource of that kind and name."""
        return next((resource for resource in self.of(kind) if resource.name == name), None)

    def policies(self) -> list[AnyPolicy]:
        """Enforced and staged policies."""
        return [*self.of(GlobalNetworkPolicy), *self.of(StagedGlobalNetworkPolicy)]

    def slices(self, namespace: str, service: str) -> list[EndpointSlice]:
        """The EndpointSlices of one Service."""
        return [
            piece
            for piece in self.of(EndpointSlice)
            if piece.metadata.namespace == namespace
            and piece.metadata.labels.get("kubernetes.io/service-name") == service
        ]

    def digests(self) -> list[ClusterServices]:
        """What a cluster's controller says of Services and EndpointSlices that are not here themselves."""
        return self.of(ClusterServices)

    def labels(self, endpoint: HostEndpoint) -> dict[str, str]:
        """The endpoint's labels with those its profiles give it: its own win, then the first profile's."""
        labels: dict[str, str] = {}
        for name in reversed(endpoint.spec.profiles):
            profile = self.named(Profile, name)
            if profile is not None:
                labels.update(profile.spec.labels_to_apply)
        labels.update(endpoint.metadata.labels)
        return labels

    def selected(self, selector: str) -> tuple[list[HostEndpoint], list[GlobalNetworkSet]]:
        """The host endpoints (of all nodes) and network sets that a peer selector picks."""
        wanted = parse(selector)
        endpoints = [endpoint for endpoint in self.of(HostEndpoint) if wanted.matches(self.labels(endpoint))]
        return endpoints, [
            group for group in self.of(GlobalNetworkSet) if wanted.matches(group.metadata.labels)
        ]

    def configuration(self, node: str) -> FelixConfigurationSpec:
        """What the node's agent obeys: ``default``, and what ``node.<name>`` says besides wins."""
        merged = FelixConfigurationSpec()
        for name in ("default", f"node.{node}"):
            given = self.named(FelixConfiguration, name)
            if given is not None:
                changes = {
                    field: value
                    for field in FelixConfigurationSpec.__struct_fields__
                    if (value := getattr(given.spec, field)) != getattr(FelixConfigurationSpec(), field)
                }
                merged = msgspec.structs.replace(merged, **changes)
        return merged

    def node_addresses(self) -> frozenset[str]:
        """All known nodes: InternalIPs of Nodes, expectedIPs of ``*`` and automatic host endpoints."""
        found = {
            given.address
            for node in self.of(Node)
            for given in node.status.addresses
            if given.type == "InternalIP"
        }
        for endpoint in self.of(HostEndpoint):
            if endpoint.spec.interface_name == "*" or CREATED_BY in endpoint.metadata.labels:
                found |= set(endpoint.spec.expected_ips)
        return frozenset(text for text in found if is_address(text))
