"""Which host endpoint is active on which interface of this node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyagent.calc.configuration import Settings
from pyagent.calc.nets import parse_net
from pyagent.calc.view import Net
from pyagent.model import HostEndpoint
from pyagent.model.facts import HostFacts, InterfaceFacts

WILDCARD = "*"


@dataclass(slots=True)
class Active:
    """``endpoints`` in force, by name in byte order; ``interfaces``: interface -> endpoint's name."""

    endpoints: list[HostEndpoint] = field(default_factory=list)
    interfaces: dict[str, str] = field(default_factory=dict)
    wildcard: str | None = None
    excluded: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def active_endpoints(endpoints: Mapping[str, HostEndpoint], facts: HostFacts, settings: Settings) -> Active:
    """Resolve the node's endpoints: by interface name or address first, then ``*``; excluded ones never."""
    own = sorted(
        (each for each in endpoints.values() if each.spec.node == facts.node), key=lambda each: each.name
    )
    wildcards = [each.name for each in own if each.spec.interface_name == WILDCARD]
    active = Active(wildcard=wildcards[0] if wildcards else None)
    specific = [each for each in own if each.spec.interface_name != WILDCARD]
    for interface in facts.interfaces:
        if reason := settings.why_excluded(interface.name):
            active.excluded[interface.name] = reason
            continue
        name = next((each.name for each in specific if _is_on(each, interface)), active.wildcard)
        if name is not None:
            active.interfaces[interface.name] = name
    in_force = {*active.interfaces.values(), *wildcards[:1]}
    active.endpoints = [each for each in own if each.name in in_force]
    active.warnings = [_why_not(each, active) for each in own if each.name not in in_force]
    return active


def _is_on(endpoint: HostEndpoint, interface: InterfaceFacts) -> bool:
    """By name; by address only where no name is given."""
    if endpoint.spec.interface_name:
        return endpoint.spec.interface_name == interface.name
    return not _addresses(endpoint.spec.expected_ips).isdisjoint(_addresses(interface.addresses))


def _addresses(texts: tuple[str, ...]) -> set[tuple[int, Net]]:
    found = set()
    for text in texts:
        try:
            found.add(parse_net(text))
        except ValueError:  # reported where the same endpoint is read as a peer
            continue
    return found


def _why_not(endpoint: HostEndpoint, active: Active) -> str:
    named = endpoint.spec.interface_name
    if named == WILDCARD:
        return (
            f"HostEndpoint {endpoint.name} is not in force: {active.wildcard} already covers all interfaces"
        )
    if named in active.excluded:
        return f"HostEndpoint {endpoint.name} is not in force: {named} is {active.excluded[named]}"
    if named in active.interfaces:
        return (
            f"HostEndpoint {endpoint.name} is not in force: {active.interfaces[named]} comes first on {named}"
        )
    what = f"interface {named}" if named else "interface with one of its expectedIPs that is not taken"
    return f"HostEndpoint {endpoint.name} is not in force: the node has no {what}"
