"""ClusterServices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pyagent.manifest.networks import parse_address
from pyagent.manifest.validation.findings import Findings
from pyagent.model import ClusterServices
from pyagent.model.services import ProtocolPorts, ServiceEndpoints

SERVICE_PROTOCOLS: Final = ("TCP", "UDP", "SCTP")


def check_cluster_services(resource: ClusterServices, findings: Findings) -> None:
    """There is one, and it holds ports and plain addresses."""
    spec = resource.spec
    if resource.name != "default":
        findings.add("metadata.name", "the only ClusterServices is called default", resource.name)
    _check_ports("spec.nodePorts", spec.node_ports, findings)
    for index, outside in enumerate(spec.addresses):
        path = f"spec.addresses[{index}]"
        findings.parses(f"{path}.address", outside.address, parse_address)
        _check_ports(f"{path}.ports", outside.ports, findings)
    for index, service in enumerate(spec.services):
        path = f"spec.services[{index}].endpoints"
        _check_ports(path, service.endpoints, findings)
        for place, group in enumerate(service.endpoints):
            for number, address in enumerate(group.addresses):
                findings.parses(f"{path}[{place}].addresses[{number}]", address, parse_address)


def _check_ports(path: str, groups: Sequence[ProtocolPorts | ServiceEndpoints], findings: Findings) -> None:
    for index, group in enumerate(groups):
        if group.protocol not in SERVICE_PROTOCOLS:
            reason = f"must be one of {', '.join(SERVICE_PROTOCOLS)}"
            findings.add(f"{path}[{index}].protocol", reason, group.protocol)
        for number, port in enumerate(group.ports):
            if not 1 <= port <= 65535:
                findings.add(f"{path}[{index}].ports[{number}]", "must be from 1 to 65535", port)
