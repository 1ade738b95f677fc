"""HostEndpoint and GlobalNetworkSet."""

from __future__ import annotations

import re

from pyagent.manifest.networks import parse_address, parse_network
from pyagent.manifest.validation.findings import Findings
from pyagent.manifest.validation.metadata import is_port_name, name_fault
from pyagent.model import GlobalNetworkSet, HostEndpoint
from pyagent.model.endpoint import EndpointPort, HostEndpointSpec
from pyagent.model.packet import PORT_PROTOCOLS

_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_PORT_PROTOCOL_NAMES = frozenset({"TCP", "UDP", "SCTP"})


def check_host_endpoint(resource: HostEndpoint, findings: Findings) -> None:
    """A host endpoint names a node and, by name or address, its interfaces."""
    spec = resource.spec
    if not spec.node:
        findings.add("spec.node", "node is required")
    elif fault := name_fault(spec.node):
        findings.add("spec.node", fault, spec.node)
    if not spec.interface_name and not spec.expected_ips:
        findings.add("spec.interfaceName", "interfaceName or expectedIPs is required")
    if spec.interface_name not in {"", "*"} and not _INTERFACE.fullmatch(spec.interface_name):
        reason = "must be * or at most 15 letters, digits, '_', '.' and '-'"
        findings.add("spec.interfaceName", reason, spec.interface_name)
    _check_addresses(spec, findings)
    for index, profile in enumerate(spec.profiles):
        if fault := name_fault(profile):
            findings.add(f"spec.profiles[{index}]", fault, profile)
    for index, port in enumerate(spec.ports):
        _check_port(f"spec.ports[{index}]", port, findings)


def _check_addresses(spec: HostEndpointSpec, findings: Findings) -> None:
    addresses = [
        findings.parses(f"spec.expectedIPs[{index}]", text, parse_address)
        for index, text in enumerate(spec.expected_ips)
    ]
    if None not in addresses:
        findings.unique("spec.expectedIPs", addresses)


def _check_port(path: str, port: EndpointPort, findings: Findings) -> None:
    if not is_port_name(port.name):
        reason = "must be at most 15 of a-z, 0-9 and single '-', with one letter at least"
        findings.add(f"{path}.name", reason, port.name)
    if not 1 <= port.port <= 65535:
        findings.add(f"{path}.port", "must be from 1 to 65535", port.port)
    allowed = _PORT_PROTOCOL_NAMES if isinstance(port.protocol, str) else PORT_PROTOCOLS
    if port.protocol not in allowed:
        findings.add(f"{path}.protocol", "must be TCP, UDP or SCTP (or 6, 17 or 132)", port.protocol)


def check_network_set(resource: GlobalNetworkSet, findings: Findings) -> None:
    """A network set lists networks, whose host bits may be set."""
    for index, net in enumerate(resource.spec.nets):
        findings.parses(f"spec.nets[{index}]", net, parse_network)
