"""What the program remembers of packets, as a plain model: flows, and datagrams whose first fragment came."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from pyagent import abi
from pyagent.abi import Direction, FlowOrigin, Reason
from pyagent.model.packet import ICMP_PROTOCOLS, Packet
from tests.support.frames import Part, Wrapping

#: ICMP replies -> the requests they answer.
REPLIES = {(1, 0): 8, (1, 14): 13, (1, 16): 15, (1, 18): 17, (58, 129): 128}
ERRORS = {1: (3, 11, 12), 58: (1, 2, 3, 4)}
_TRACKED = {
    Reason.FAILSAFE,
    Reason.POLICY_ALLOW,
    Reason.PREDNAT_ALLOW,
    Reason.OWN_POD,
    Reason.POD_ACCEPT,
    Reason.TUNNEL,
}


def flow_key(packet: Packet, direction: Direction, identifier: int) -> bytes | None:
    """The key of the packet's flow as the map has it; None: it has no flow."""
    if packet.fragment:
        return None
    width = 4 if packet.version == 4 else 16
    ends = (packet.source, packet.source_port), (packet.destination, packet.destination_port)
    local, remote = ends if direction is Direction.EGRESS else ends[::-1]
    ports, opener = struct.pack(">HH", local[1], remote[1]), 0
    if packet.protocol in ICMP_PROTOCOLS:
        answered = REPLIES.get((packet.protocol, packet.icmp_type))
        asked = packet.icmp_type if (packet.protocol, packet.icmp_type) in _requests() else answered
        if asked is None:
            return None
        ports = struct.pack(">H", identifier) + struct.pack("=H", asked)
        opener = 1 + (1 - direction if answered is not None else direction)
    addresses = local[0].to_bytes(width) + remote[0].to_bytes(width)
    return addresses + ports + bytes([packet.protocol, opener, 0, 0])


def _requests() -> set[tuple[int, int]]:
    return {(protocol, request) for (protocol, _), request in REPLIES.items()}


def is_error(packet: Packet) -> bool:
    """An ICMP message about another packet."""
    return not packet.fragment and packet.icmp_type in ERRORS.get(packet.protocol, ())


def opens(packet: Packet) -> bool:
    """A pure SYN."""
    return packet.protocol == 6 and not packet.fragment and packet.tcp_flags & 0x12 == 2


def flow_entry(opener: Direction, endpoint: int, now: int) -> bytes:
    """A flow as the map has it; ``now`` in jiffies."""
    low = now & 0xFFFFFFFF
    return abi.FLOW.pack(1 << endpoint, 1, 60, low, low, 0, 1, opener, FlowOrigin.SEEDED, abi.FLOW_REPLIED)


@dataclass(frozen=True, slots=True)
class Sight:
    """A packet as the program sees it: how it travels, where, and which endpoint is in force there."""

    packet: Packet
    wrapping: Wrapping
    interface: str
    direction: Direction
    endpoint: int

    @property
    def key(self) -> bytes | None:
        """The key of its flow."""
        return flow_key(self.packet, self.direction, self.wrapping.identifier)

    @property
    def datagram(self) -> tuple[object, ...]:
        """What its fragments share."""
        packet = self.packet
        protocol = packet.protocol if packet.version == 4 else 0
        ends = packet.version, packet.source, packet.destination, protocol
        return *ends, self.wrapping.fragment_id, self.interface, self.direction


@dataclass
class _Flow:
    opener: Direction
    approved: set[int]


@dataclass
class Memory:
    """Flows and fragments of one generation's packets; time stands still."""

    flows: dict[bytes, _Flow] = field(default_factory=dict)
    fragments: dict[tuple[object, ...], bool] = field(default_factory=dict)

    def known(self, sight: Sight, about: bytes | None) -> Reason:
        """What is known of a packet before policy: NONE, FLOW, RELATED, FRAGMENT or FRAGMENT_DENY.

        ``about``: the flow's key that an ICMP error carries.
        """
        packet = sight.packet
        if packet.fragment:
            allowed = self.fragments.get(sight.datagram)
            if allowed is None:
                return Reason.NONE
            return Reason.FRAGMENT if allowed else Reason.FRAGMENT_DENY
        flow = self.flows.get(sight.key or b"")
        if flow and not opens(packet) and (flow.opener != sight.direction or sight.endpoint in flow.approved):
            return Reason.FLOW
        return Reason.RELATED if is_error(packet) and about in self.flows else Reason.NONE

    def learn(self, sight: Sight, reason: Reason, *, tracks_forwarded: bool) -> None:
        """The packet was judged; ``tracks_forwarded``: forwarded traffic leaves flows here."""
        covered = reason not in {Reason.EXCLUDED, Reason.NO_ENDPOINT, Reason.NEIGHBOUR}
        if sight.wrapping.part is Part.FIRST and not sight.packet.fragment and covered:
            self.fragments[sight.datagram] = reason < abi.REASON_DROPPED
        forwarded = reason in {Reason.FORWARD_ALLOW, Reason.FORWARD_NONE} and tracks_forwarded
        key = sight.key
        if key is None or not (forwarded or reason in _TRACKED):
            return
        flow = self.flows.get(key)
        if flow and flow.opener == sight.direction:
            flow.approved.add(sight.endpoint)
        else:
            self.flows[key] = _Flow(sight.direction, {sight.endpoint})
