"""One rule of a policy or profile: action, protocol and ICMP, and how they go together with the sides."""

from __future__ import annotations

from pyagent.manifest.validation.findings import Findings
from pyagent.manifest.validation.http import check_http
from pyagent.manifest.validation.metadata import check_annotations
from pyagent.manifest.validation.peer import Side, check_families, check_side
from pyagent.model.packet import PORT_PROTOCOLS, PROTOCOL_NUMBERS
from pyagent.model.policy import ICMPFields, Protocol, Rule

ACTIONS = ("Allow", "Deny", "Log", "Pass")
_ICMP, _ICMPV6 = 1, 58
_PROTOCOL_REASON = f"must be one of {', '.join(PROTOCOL_NUMBERS)} (exactly so) or a number from 1 to 255"


def check_rule(path: str, rule: Rule, findings: Findings, *, ingress: bool, of_policy: bool) -> None:
    """Check one rule. ``of_policy``: of a global policy, not of a profile."""
    if not rule.action:
        findings.add(f"{path}.action", "action is required")
    findings.one_of(f"{path}.action", rule.action, ACTIONS)
    if rule.ip_version not in {None, 4, 6}:
        findings.add(f"{path}.ipVersion", "must be 4 or 6", rule.ip_version)
    _check_protocol(f"{path}.protocol", rule.protocol, rule.ip_version, findings)
    _check_protocol(f"{path}.notProtocol", rule.not_protocol, rule.ip_version, findings)
    _check_icmp(f"{path}.icmp", rule.icmp, rule.protocol, findings)
    _check_icmp(f"{path}.notICMP", rule.not_icmp, rule.protocol, findings)
    for name, entity, services_allowed in (
        ("source", rule.source, ingress),
        ("destination", rule.destination, not ingress),
    ):
        side = Side(f"{path}.{name}", entity, is_destination=name == "destination")
        check_side(side, findings, services_allowed=services_allowed, of_policy=of_policy)
        _check_ports_have_protocol(side, rule.protocol, findings)
    check_families(path, rule, findings)
    if rule.http is not None:
        check_http(path, rule, rule.http, findings, ingress=ingress)
    if rule.metadata is not None:
        check_annotations(f"{path}.metadata.annotations", rule.metadata.annotations, findings)


def _number(protocol: Protocol | None) -> int | None:
    return PROTOCOL_NUMBERS.get(protocol) if isinstance(protocol, str) else protocol


def _check_protocol(path: str, protocol: Protocol | None, version: int | None, findings: Findings) -> None:
    if protocol is None:
        return
    number = _number(protocol)
    if number is None or not 1 <= number <= 255:
        findings.add(path, _PROTOCOL_REASON, protocol)
    elif (number, version) in {(_ICMP, 6), (_ICMPV6, 4)}:
        name = "ICMP" if number == _ICMP else "ICMPv6"
        findings.add(path, f"{name} cannot be used with ipVersion {version}", protocol)


def _check_icmp(path: str, icmp: ICMPFields | None, protocol: Protocol | None, findings: Findings) -> None:
    if icmp is None:
        return
    if _number(protocol) not in {_ICMP, _ICMPV6}:
        findings.add(path, "needs protocol ICMP or ICMPv6")
    if icmp.code is not None and icmp.type is None:
        findings.add(f"{path}.code", "needs a type", icmp.code)
    if icmp.type is not None and not 0 <= icmp.type <= 254:
        findings.add(f"{path}.type", "must be from 0 to 254", icmp.type)
    if icmp.code is not None and not 0 <= icmp.code <= 255:
        findings.add(f"{path}.code", "must be from 0 to 255", icmp.code)


def _check_ports_have_protocol(side: Side, protocol: Protocol | None, findings: Findings) -> None:
    for name, ports in (("ports", side.entity.ports), ("notPorts", side.entity.not_ports)):
        if not ports:
            continue
        path = f"{side.path}.{name}"
        if protocol is None:
            if any(not _is_named(port) for port in ports):
                findings.add(path, "numeric ports need protocol TCP, UDP or SCTP")
        elif (number := _number(protocol)) is not None and number not in PORT_PROTOCOLS:
            findings.add(path, f"protocol {protocol} has no ports")


def _is_named(port: int | str) -> bool:
    return isinstance(port, str) and ":" not in port
