"""The hosts a question is about: their endpoints, addresses and interfaces, as far as resources tell."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import count

from msgspec.structs import replace

from pyagent.calc import World
from pyagent.calc.configuration import Settings, settings
from pyagent.controller.addresses import expected_ips
from pyagent.controller.desired import desired_endpoints
from pyagent.errors import AutohepError
from pyagent.model import GlobalNetworkSet, HostEndpoint, KubeControllersConfiguration, Node, Resource
from pyagent.model.config import AutoHostEndpointConfig
from pyagent.model.facts import HostFacts, InterfaceFacts

LOOPBACK = InterfaceFacts("lo", 1, ("127.0.0.1", "::1"))
#: Interfaces of which nobody says the name are called by this and a number from 0.
_STEM = "eth"
#: Stands for an address that no resource knows.
EXTERNAL = "external"
#: Addresses for documentation (RFC 5737, RFC 3849): the first that no resource knows is ``external``.
_STRANGERS = {
    4: ("203.0.113.7", "198.51.100.7", "192.0.2.7"),
    6: ("2001:db8:ffff::7", "2001:db8:eeee::7", "2001:db8:dddd::7"),
}


@dataclass(frozen=True, slots=True)
class Described:
    """What a question says of a host beyond its resources. ``pods``: interface -> the pod's addresses."""

    interfaces: tuple[InterfaceFacts, ...] = ()
    pods: tuple[tuple[str, tuple[str, ...]], ...] = ()
    broadcasts: tuple[str, ...] = ()


def automatic(resources: Iterable[Resource]) -> tuple[Resource, ...]:
    """The resources, with the automatic host endpoints of those nodes that have no endpoint at all.

    A KubeControllersConfiguration among them decides which are made; without one it is the default one.
    """
    given = tuple(resources)
    covered = {each.spec.node for each in given if isinstance(each, HostEndpoint)}
    bare = [each for each in given if isinstance(each, Node) and each.name not in covered]
    made = desired_endpoints(bare, _configuration(given)).endpoints
    return (*given, *(made[name] for name in sorted(made)))


def _configuration(resources: Iterable[Resource]) -> AutoHostEndpointConfig:
    for resource in resources:
        if isinstance(resource, KubeControllersConfiguration):
            node = resource.spec.controllers.node
            if node is not None and node.host_endpoint is not None:
                return node.host_endpoint
    return AutoHostEndpointConfig(auto_create="Enabled")


def relabelled(resources: Iterable[Resource], labels: Mapping[str, Mapping[str, str]]) -> Iterator[Resource]:
    """The resources, with more labels on some nodes."""
    for resource in resources:
        more = labels.get(resource.name) if isinstance(resource, Node) else None
        if more:
            metadata = replace(resource.metadata, labels={**resource.metadata.labels, **more})
            yield replace(resource, metadata=metadata)
        else:
            yield resource


class Hosts:
    """All hosts that the resources know, and what is described of them besides."""

    def __init__(
        self, resources: Iterable[Resource], described: Mapping[str, Described] | None = None
    ) -> None:
        self.resources = tuple(resources)
        self.world = World.from_resources(self.resources)
        self._described = described or {}
        self._nodes = self.world.of(Node)
        self._endpoints: dict[str, list[HostEndpoint]] = {}
        for endpoint in sorted(self.world.of(HostEndpoint).values(), key=lambda each: each.name):
            self._endpoints.setdefault(endpoint.spec.node, []).append(endpoint)
        self.names = frozenset({*self._nodes, *self._endpoints})

    def with_resources(self, resources: Iterable[Resource]) -> Hosts:
        """The same hosts under other resources."""
        return Hosts(resources, self._described)

    def check(self, node: str) -> None:
        """Raise AutohepError if there is no such node."""
        if node not in self.names:
            known = ", ".join(sorted(self.names)[:6]) or "none"
            raise AutohepError(f"there is no node {node!r} among the resources (known: {known})")

    def endpoints(self, node: str) -> tuple[HostEndpoint, ...]:
        """The node's host endpoints, by name."""
        return tuple(self._endpoints.get(node, ()))

    def addresses(self, node: str) -> tuple[str, ...]:
        """The node's addresses: those its host endpoints expect, then those its Node object tells."""
        found = [address for endpoint in self.endpoints(node) for address in endpoint.spec.expected_ips]
        if node in self._nodes:
            found += expected_ips(self._nodes[node], lambda _: None)
        return tuple(dict.fromkeys(each for each in found if is_address(each)))

    def address(self, node: str, version: int) -> str | None:
        """The node's first address of a version."""
        return next(
            (each for each in self.addresses(node) if ipaddress.ip_address(each).version == version), None
        )

    def owner(self, address: str) -> str | None:
        """The node that has an address, by itself or in a pod of it; of several the first by name."""
        return self._owners.get(str(ipaddress.ip_address(address)))

    @cached_property
    def _owners(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for node in sorted(self.names):
            pods = [each for _, addresses in self.pods(node) for each in addresses]
            for each in (*self.addresses(node), *pods):
                found.setdefault(str(ipaddress.ip_address(each)), node)
        return found

    def pods(self, node: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The node's pods: interface and addresses."""
        return self._described[node].pods if node in self._described else ()

    def settings(self, node: str) -> Settings:
        """The configuration that the node obeys."""
        return settings(self.world, node)

    def is_described(self, node: str) -> bool:
        """Whether the question lists the node's interfaces."""
        return node in self._described and bool(self._described[node].interfaces)

    def facts(self, node: str, *also: str) -> HostFacts:
        """The host as resources and description tell it; ``also``: interfaces known only by name."""
        given = self._described.get(node, Described())
        listed = {each.name: each for each in given.interfaces or self._usual(node)}
        listed.setdefault(LOOPBACK.name, LOOPBACK)
        for name, _ in given.pods:
            listed.setdefault(name, InterfaceFacts(name, workload=True))
        is_workload = self.settings(node).is_workload
        for name in also:
            listed.setdefault(name, InterfaceFacts(name, workload=is_workload(name)))
        numbered = tuple(
            InterfaceFacts(each.name, index, each.addresses, each.workload, each.layer3)
            for index, each in enumerate(listed.values(), 2)
        )
        return HostFacts(node, numbered, given.broadcasts)

    def _usual(self, node: str) -> Iterator[InterfaceFacts]:
        """An interface for each endpoint that means one: by the name it has, else one that nobody names.

        What addresses are left are on the first that is free.
        """
        own = [each for each in self.endpoints(node) if each.spec.interface_name not in {"*", LOOPBACK.name}]
        carried: dict[str, list[str]] = {}
        for endpoint in own:
            if endpoint.spec.interface_name:
                carried.setdefault(endpoint.spec.interface_name, []).extend(endpoint.spec.expected_ips)
        free = (name for number in count() if (name := f"{_STEM}{number}") not in carried)
        taken = {address for addresses in carried.values() for address in addresses}
        for endpoint in own:
            addresses = [each for each in endpoint.spec.expected_ips if each not in taken]
            if not endpoint.spec.interface_name and addresses:
                carried[next(free)] = addresses
                taken |= set(addresses)
        left = [each for each in self.addresses(node) if each not in taken]
        if left or not carried:
            carried[next(free)] = left
        yield LOOPBACK
        for name in sorted(carried):
            yield InterfaceFacts(name, 0, tuple(dict.fromkeys(carried[name])))

    def stranger(self, version: int) -> str:
        """An address that no resource knows: neither a node nor in any network set."""
        nets = [
            ipaddress.ip_network(net, strict=False)
            for group in self.world.of(GlobalNetworkSet).values()
            for net in group.spec.nets
        ]
        for text in _STRANGERS[version]:
            if text not in self._owners and not any(ipaddress.ip_address(text) in net for net in nets):
                return text
        raise AutohepError(
            f"every address kept for 'external' is in a GlobalNetworkSet ({', '.join(_STRANGERS[version])}): "
            "name the address itself"
        )

    def resolve(self, text: str, version: int) -> str | None:
        """The address that an address, a node's name or ``external`` stands for; None: of no such version.

        Raises AutohepError for a name that is no node's.
        """
        if is_address(text):
            return text if ipaddress.ip_address(text).version == version else None
        if text == EXTERNAL and text not in self.names:
            return self.stranger(version)
        self.check(text)
        return self.address(text, version)


def is_address(text: str) -> bool:
    """Whether ``text`` is an address itself, not a name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
