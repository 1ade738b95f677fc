"""What is true of one host at one moment, apart from resources: its interfaces, addresses and tunnels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InterfaceFacts:
    """One network interface of the host.

    ``addresses`` are plain IPs without prefix length. ``workload``: the host's side of a pod (its name
    matches FelixConfiguration.workloadInterfaces). ``layer3``: frames carry no Ethernet header (tun,
    WireGuard, ipip).
    """

    name: str
    index: int = 0
    addresses: tuple[str, ...] = ()
    workload: bool = False
    layer3: bool = False


@dataclass(frozen=True, slots=True)
class Tunnel:
    """An encapsulation that known nodes may always use: UDP to ``port``, or a protocol (port 0)."""

    protocol: int
    port: int = 0


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Everything the policy calculation needs to know of the host itself.

    ``broadcasts`` are subnet broadcast addresses. 127.0.0.0/8, ::1, 0.0.0.0, 255.255.255.255, ::, multicast
    (224.0.0.0/4, ff00::/8) are local on every host and not listed. ``node_ports`` are (protocol number, port)
    pairs that the host forwards by DNAT.
    """

    node: str
    interfaces: tuple[InterfaceFacts, ...] = ()
    broadcasts: tuple[str, ...] = ()
    tunnels: tuple[Tunnel, ...] = ()
    node_ports: frozenset[tuple[int, int]] = frozenset()

    @property
    def addresses(self) -> frozenset[str]:
        """All addresses of all interfaces."""
        return frozenset(address for interface in self.interfaces for address in interface.addresses)
