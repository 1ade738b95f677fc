"""Worlds for tests of the policy calculation, and what the resulting view says of a packet.

``accepts`` and ``decide`` read a view exactly as its docstrings say and use nothing else of the calculation.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from pyagent.abi import Action, TableKind
from pyagent.calc import Calculator, NodeView, World, node_view
from pyagent.calc.view import AddressSet, L4Match, Match, PolicyView, RuleAction, RuleView, Side, TableView
from pyagent.model import (
    CALICO_V3,
    EndpointSlice,
    FelixConfiguration,
    GlobalNetworkPolicy,
    Metadata,
    Profile,
    Resource,
    StagedGlobalNetworkPolicy,
    Tier,
)
from pyagent.model.config import FelixConfigurationSpec
from pyagent.model.endpoint import EndpointPort, SliceEndpoint, SlicePort
from pyagent.model.facts import HostFacts, InterfaceFacts
from pyagent.model.packet import ICMP_PROTOCOLS, PORT_PROTOCOLS, Packet
from pyagent.model.policy import EntityRule, PolicySpec, ProfileSpec, Rule, TierSpec

__all__ = ["Calculator", "EndpointPort", "EntityRule", "Rule", "World"]

ETH0 = InterfaceFacts("eth0", 2, ("10.0.0.1", "fd00::1"))
LO = InterfaceFacts("lo", 1, ("127.0.0.1", "::1"))
FACTS = HostFacts("n1", (LO, ETH0), ("10.0.0.255",))


def policy(
    name: str, *ingress: Rule, staged: str = "", **spec: Any
) -> GlobalNetworkPolicy | StagedGlobalNetworkPolicy:
    """A policy with these ingress rules; ``staged``: its stagedAction makes it a staged one."""
    kind = StagedGlobalNetworkPolicy if staged else GlobalNetworkPolicy
    types = ("Ingress", *(("Egress",) if spec.get("egress") else ()))
    whole = PolicySpec(ingress=ingress, staged_action=staged, **{"tier": "default", "types": types, **spec})
    return kind(api_version=CALICO_V3, kind=kind.KIND, metadata=Metadata(name=name), spec=whole)


def tier(name: str, order: float | None = None, action: str = "Deny") -> Tier:
    spec = TierSpec(order=order, default_action=action)
    return Tier(api_version=CALICO_V3, kind="Tier", metadata=Metadata(name=name), spec=spec)


def profile(
    name: str, *ingress: Rule, egress: tuple[Rule, ...] = (), labels: dict[str, str] | None = None
) -> Profile:
    spec = ProfileSpec(ingress=ingress, egress=egress, labels_to_apply=labels or {})
    return Profile(api_version=CALICO_V3, kind="Profile", metadata=Metadata(name=name), spec=spec)


def felix(name: str = "default", **spec: Any) -> FelixConfiguration:
    return FelixConfiguration(
        api_version=CALICO_V3,
        kind="FelixConfiguration",
        metadata=Metadata(name=name),
        spec=FelixConfigurationSpec(**spec),
    )


def endpoint_slice(
    service: str, *addresses: str, ports: tuple[tuple[str, int | None], ...], name: str = "s"
) -> EndpointSlice:
    return EndpointSlice(
        api_version="discovery.k8s.io/v1",
        kind="EndpointSlice",
        metadata=Metadata(name=name, namespace="web", labels={"kubernetes.io/service-name": service}),
        endpoints=tuple(SliceEndpoint(addresses=(address,)) for address in addresses),
        ports=tuple(SlicePort(protocol=protocol, port=port) for protocol, port in ports),
    )


def allow(**fields: Any) -> Rule:
    return Rule(action="Allow", **fields)


def deny(**fields: Any) -> Rule:
    return Rule(action="Deny", **fields)


def view_of(*resources: Resource, facts: HostFacts = FACTS) -> NodeView:
    return node_view(World.from_resources(resources), facts)


def table(view: NodeView, kind: TableKind = TableKind.LOCAL_INGRESS) -> TableView:
    """The table of the view's only endpoint."""
    (endpoint,) = view.endpoints
    return endpoint.tables[kind]


def tcp(source: str, destination: str = "10.0.0.1", port: int = 80, source_port: int = 40000) -> Packet:
    return packet(source, destination, 6, source_port=source_port, destination_port=port)


def packet(source: str, destination: str = "10.0.0.1", protocol: int = 6, **fields: Any) -> Packet:
    start = ip_address(source)
    return Packet(start.version, int(start), int(ip_address(destination)), protocol, **fields)


def decide(found: TableView, what: Packet) -> Action:
    """What a table says of a packet."""
    for each in found.tiers:
        ends = _first(tuple(policy for policy in each.policies if not policy.staged), what) or each.end
        if ends is not RuleAction.PASS:
            return Action.ALLOW if ends is RuleAction.ALLOW else Action.DENY
    action = _first(found.profiles, what)
    if action is None:
        return found.end
    return Action.ALLOW if action is RuleAction.ALLOW else Action.DENY


def _first(policies: tuple[PolicyView, ...], what: Packet) -> RuleAction | None:
    rules = (rule for each in policies for rule in each.rules if rule.action is not RuleAction.LOG)
    return next((rule.action for rule in rules if accepts(rule, what)), None)


def accepts(rule: RuleView, what: Packet) -> bool:
    return any(_match(match, what) for match in rule.matches)


def _match(match: Match, what: Packet) -> bool:
    if match.version not in (None, what.version):
        return False
    sides = _side(match.source, what.version, what.source) and _side(
        match.destination, what.version, what.destination
    )
    return sides and _layer4(match.l4, what)


def _side(side: Side, version: int, address: int) -> bool:
    def held(group: AddressSet) -> bool:
        width, nets = (32, group.v4) if version == 4 else (128, group.v6)
        return any(address >> (width - length) == number >> (width - length) for number, length in nets)

    return all(map(held, side.all_of)) and not any(map(held, side.none_of))


def _layer4(l4: L4Match, what: Packet) -> bool:
    protocol = what.protocol
    if (l4.protocols is not None and protocol not in l4.protocols) or protocol in l4.not_protocols:
        return False
    ports = _ports(l4.ports, l4.not_ports, protocol, what.destination_port)
    return (
        ports and _ports(l4.source_ports, l4.not_source_ports, protocol, what.source_port) and _icmp(l4, what)
    )


def _ports(wanted: Any, unwanted: Any, protocol: int, port: int) -> bool:
    if protocol not in PORT_PROTOCOLS:
        return wanted is None
    return (wanted is None or any(a <= port <= b for a, b in wanted)) and not any(
        a <= port <= b for a, b in unwanted
    )


def _icmp(l4: L4Match, what: Packet) -> bool:
    def is_it(wanted: tuple[int, int | None]) -> bool:
        return what.icmp_type == wanted[0] and wanted[1] in (None, what.icmp_code)

    if what.protocol not in ICMP_PROTOCOLS:
        return l4.icmp is None
    return (l4.icmp is None or is_it(l4.icmp)) and not (l4.not_icmp is not None and is_it(l4.not_icmp))


def plain(view: NodeView) -> NodeView:
    """The view with address sets as plain values, so that two views can be compared."""
    return _plain(view)  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if isinstance(value, AddressSet):
        return (value.name, value.v4, value.v6)
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return replace(value, **{name: _plain(getattr(value, name)) for name in value.__dataclass_fields__})
    return value
