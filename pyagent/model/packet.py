"""A packet as policy sees it: addresses, protocol, ports; and the verdict on it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum

from pyagent.abi import Action, Direction

__all__ = ["Action", "Direction", "Packet", "Stage"]

PROTOCOL_NUMBERS = {"ICMP": 1, "TCP": 6, "UDP": 17, "ICMPv6": 58, "SCTP": 132, "UDPLite": 136}
#: Protocols whose ports a rule may name.
PORT_PROTOCOLS = frozenset({6, 17, 132})
ICMP_PROTOCOLS = frozenset({1, 58})


class Stage(StrEnum):
    """The stages of policy at a host endpoint, in the order a packet meets them."""

    UNTRACKED = "untracked"
    PREDNAT = "preDNAT"
    FORWARD = "forward"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet at one hook; addresses are ints of ``version``'s width, in host order of their digits.

    ``source_port`` and ``destination_port`` are 0 unless the protocol has ports; likewise ``icmp_type`` and
    ``icmp_code``. ``tcp_flags`` are the header's low 8 bits (FIN 1, SYN 2, RST 4, PSH 8, ACK 16).
    ``fragment`` True: a later fragment, which carries no ports.
    """

    version: int
    source: int
    destination: int
    protocol: int
    source_port: int = 0
    destination_port: int = 0
    icmp_type: int = 0
    icmp_code: int = 0
    tcp_flags: int = 2
    fragment: bool = False

    def __str__(self) -> str:
        address = ipaddress.IPv4Address if self.version == 4 else ipaddress.IPv6Address
        names = {number: name for name, number in PROTOCOL_NUMBERS.items()}
        name = names.get(self.protocol, str(self.protocol))
        if self.protocol in ICMP_PROTOCOLS:
            tail = f" type {self.icmp_type} code {self.icmp_code}"
        elif self.protocol in PORT_PROTOCOLS and not self.fragment:
            tail = f" {self.source_port} -> {self.destination_port}"
        else:
            tail = " (later fragment)" if self.fragment else ""
        return f"{name} {address(self.source)} -> {address(self.destination)}{tail}"
