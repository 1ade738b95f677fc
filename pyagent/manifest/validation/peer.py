"""One side of a rule (source or destination) and how the networks of both sides go together."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pyagent.manifest.networks import Network, parse_network
from pyagent.manifest.validation.findings import Findings
from pyagent.manifest.validation.metadata import name_fault
from pyagent.model.policy import EntityRule, Port, Rule, ServiceMatch

MAX_NETS = 256
MAX_PORTS = 50

_PORT_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_RANGE = re.compile(r"([0-9]{1,5}):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Side:
    """The source or destination of the rule at ``path`` without its last step."""

    path: str
    entity: EntityRule
    is_destination: bool


def check_side(side: Side, findings: Findings, *, services_allowed: bool, of_policy: bool) -> None:
    """Everything about one side that can be said without the rest of the rule."""
    entity, path = side.entity, side.path
    findings.selector_without_global(f"{path}.selector", entity.selector)
    findings.selector_without_global(f"{path}.notSelector", entity.not_selector)
    namespaces = findings.selector(f"{path}.namespaceSelector", entity.namespace_selector)
    if namespaces is not None and namespaces.mentions_global and not namespaces.is_global:
        findings.add(f"{path}.namespaceSelector", "global() must stand alone", entity.namespace_selector)
    for name, nets in (("nets", entity.nets), ("notNets", entity.not_nets)):
        findings.at_most(f"{path}.{name}", nets, MAX_NETS)
    for name, ports in (("ports", entity.ports), ("notPorts", entity.not_ports)):
        findings.at_most(f"{path}.{name}", ports, MAX_PORTS)
        for index, port in enumerate(ports):
            if fault := _port_fault(port):
                findings.add(f"{path}.{name}[{index}]", fault, port)
    if entity.service_accounts is not None:
        accounts = entity.service_accounts
        findings.selector_without_global(f"{path}.serviceAccounts.selector", accounts.selector)
        for index, account in enumerate(accounts.names):
            if fault := name_fault(account):
                findings.add(f"{path}.serviceAccounts.names[{index}]", fault, account)
    if entity.services is not None:
        _check_services(side, entity.services, findings, allowed=services_allowed, of_policy=of_policy)


def _port_fault(port: Port) -> str:
    if isinstance(port, int):
        return "" if 1 <= port <= 65535 else "must be from 1 to 65535"
    if match := _RANGE.fullmatch(port):
        low, high = int(match[1]), int(match[2])
        if low > high:
            return "the lower end of a range must not be above its upper end"
        return "" if low >= 1 and high <= 65535 else "must be from 1 to 65535"
    if port.isdigit():  # too long for a port: shorter ones are numbers by now
        return "must be from 1 to 65535"
    return "" if _PORT_NAME.fullmatch(port) else "must be a number, a range LOW:HIGH or the name of a port"


def _check_services(
    side: Side, services: ServiceMatch, findings: Findings, *, allowed: bool, of_policy: bool
) -> None:
    path, entity = f"{side.path}.services", side.entity
    if not allowed:
        findings.add(path, "can only be an ingress rule's source or an egress rule's destination")
    if not services.name:
        findings.add(f"{path}.name", "name is required")
    if of_policy and not services.namespace:
        findings.add(f"{path}.namespace", "namespace is required")
    for field, given in (
        ("selector", entity.selector),
        ("notSelector", entity.not_selector),
        ("namespaceSelector", entity.namespace_selector),
        ("serviceAccounts", entity.service_accounts),
        ("nets", entity.nets),
        ("notNets", entity.not_nets),
    ):
        if given:
            findings.add(path, f"cannot be used together with {field}")
    if side.is_destination and (entity.ports or entity.not_ports):
        findings.add(path, "a destination with services cannot have ports: the service brings its own")


def check_families(path: str, rule: Rule, findings: Findings) -> None:
    """Networks parse, are of one family in the whole rule, and of the family of ``ipVersion``."""
    if not (rule.source.nets or rule.destination.nets or rule.source.not_nets or rule.destination.not_nets):
        return
    versions: set[int] = set()
    for name, nets, negated in (
        ("source.nets", rule.source.nets, False),
        ("source.notNets", rule.source.not_nets, True),
        ("destination.nets", rule.destination.nets, False),
        ("destination.notNets", rule.destination.not_nets, True),
    ):
        for index, text in enumerate(nets):
            place = f"{path}.{name}[{index}]"
            network = findings.parses(place, text, _strict_network)
            if network is None:
                continue
            versions.add(network.version)
            if negated and network.prefixlen == 0:
                findings.add(place, "would exclude every address, so that the rule matches nothing", text)
            if rule.ip_version in {4, 6} and network.version != rule.ip_version:
                findings.add(place, f"is not of ipVersion {rule.ip_version}", text)
    if len(versions) > 1:
        findings.add(path, "mixes IPv4 and IPv6 networks: write one rule for each")


def _strict_network(text: str) -> Network:
    return parse_network(text, strict=True)
