"""Failsafe ports: open whatever policy says."""

from __future__ import annotations

from dataclasses import dataclass

from pyagent.model.config import FelixConfigurationSpec, ProtoPort
from pyagent.model.packet import PORT_PROTOCOLS, PROTOCOL_NUMBERS, Packet
from pyagent.reference.address import Address, destination_of, network, source_of


@dataclass(frozen=True, slots=True)
class Open:
    """A protocol and port that stays open to ``net`` (empty: to everybody)."""

    protocol: str
    port: int
    net: str = ""

    def __str__(self) -> str:
        return f"{self.protocol}/{self.port}" + (f" {self.net}" if self.net else "")


def _listed(text: str) -> tuple[Open, ...]:
    pairs = [item.split(":") for item in text.split()]
    return tuple(Open(protocol.upper(), int(port)) for protocol, port in pairs)


#: profile -> (inbound, outbound).
DEFAULTS = {
    "": (
        _listed("tcp:22 udp:68 tcp:179 tcp:2379 tcp:2380 tcp:5473 tcp:6443 tcp:6666 tcp:6667 udp:546"),
        _listed("udp:53 udp:67 tcp:179 tcp:2379 tcp:2380 tcp:5473 tcp:6443 tcp:6666 tcp:6667 udp:547"),
    ),
    "v3.14": (
        _listed("tcp:22 udp:68 tcp:179 tcp:2379 tcp:2380 tcp:6666 tcp:6667"),
        _listed("udp:53 udp:67 tcp:179 tcp:2379 tcp:2380 tcp:6666 tcp:6667"),
    ),
}


@dataclass(frozen=True, slots=True)
class Failsafes:
    """Both lists in force."""

    inbound: tuple[Open, ...]
    outbound: tuple[Open, ...]

    def tracked(self, packet: Packet, direction: str) -> Open | None:
        """The failsafe that opens the way for this packet's connection."""
        if direction == "ingress":
            return _find(self.inbound, packet, packet.destination_port, source_of(packet))
        return _find(self.outbound, packet, packet.destination_port, destination_of(packet))

    def untracked(self, packet: Packet, direction: str) -> Open | None:
        """The failsafe that keeps the packet from doNotTrack policy; replies by their source port."""
        if direction == "ingress":
            reply = _find(self.outbound, packet, packet.source_port, source_of(packet))
        else:
            reply = _find(self.inbound, packet, packet.source_port, destination_of(packet))
        return self.tracked(packet, direction) or reply


def _find(listed: tuple[Open, ...], packet: Packet, port: int, peer: Address) -> Open | None:
    if packet.fragment or packet.protocol not in PORT_PROTOCOLS:
        return None
    for item in listed:
        same = PROTOCOL_NUMBERS[item.protocol] == packet.protocol and item.port == port
        if same and (not item.net or peer in network(item.net)):
            return item
    return None


def failsafes(configuration: FelixConfigurationSpec) -> Failsafes:
    """The failsafes of a configuration: a list that is not given is the profile's, an empty one is empty."""
    inbound, outbound = DEFAULTS.get(configuration.failsafe_profile.lower(), DEFAULTS[""])
    if configuration.failsafe_inbound_host_ports is not None:
        inbound = tuple(_open(port) for port in configuration.failsafe_inbound_host_ports)
    if configuration.failsafe_outbound_host_ports is not None:
        outbound = tuple(_open(port) for port in configuration.failsafe_outbound_host_ports)
    return Failsafes(inbound, outbound)


def _open(given: ProtoPort) -> Open:
    return Open((given.protocol or "TCP").upper(), given.port, given.net)
