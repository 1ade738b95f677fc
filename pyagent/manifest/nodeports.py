"""FelixConfiguration.spec.nodePorts: which ports of the host are forwarded by DNAT to somewhere else."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NODE_PORTS = re.compile(r"(?:(tcp|udp|sctp):)?([0-9]{1,5})(?::([0-9]{1,5}))?", re.IGNORECASE)
_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}


@dataclass(frozen=True, slots=True)
class NodePorts:
    """Ports ``low`` to ``high``, both included, of some protocols (by number)."""

    protocols: frozenset[int]
    low: int
    high: int


def parse_node_ports(text: str) -> NodePorts:
    """What ``30000:32767``, ``8080`` or ``tcp:8080`` says; no protocol means all three. Raises ValueError."""
    match = _NODE_PORTS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not PORT, LOW:HIGH or PROTOCOL:PORT (tcp, udp or sctp)")
    low = int(match[2])
    high = int(match[3]) if match[3] else low
    if not 0 < low <= high <= 65535:
        raise ValueError("ports are from 1 to 65535, the lower one first")
    protocols = _NUMBERS.values() if match[1] is None else [_NUMBERS[match[1].lower()]]
    return NodePorts(frozenset(protocols), low, high)
