"""A packet's way through all tables of an image, in the order of the kernel's program, for tests and
explanations.

Uses what the kernel uses: the image's bytes, the failsafes, and what is known of each interface. State that
only a running kernel has (flows, sockets, the first fragment's verdict) is the caller's to give.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network

from pyagent import abi
from pyagent.abi import Action, Reason, TableKind
from pyagent.calc.view import Failsafe, NodeView
from pyagent.compiler.image import Image
from pyagent.compiler.walk import Walked, Walker
from pyagent.model.facts import HostFacts
from pyagent.model.packet import PORT_PROTOCOLS, Direction, Packet

_NEIGHBOUR_TYPES = frozenset({*range(130, 138), 143})
_NODE_PORT_ROWS = {6: 0, 17: 1, 132: 2}
_NODE_PORT_ROW_BYTES = 8192
_TCP, _ICMPV6 = 6, 58
_SYN, _ACK = 0x02, 0x10

_UNTRACKED = {
    Direction.INGRESS: TableKind.UNTRACKED_INGRESS,
    Direction.EGRESS: TableKind.UNTRACKED_EGRESS,
}
_FORWARD = {Direction.INGRESS: TableKind.FORWARD_INGRESS, Direction.EGRESS: TableKind.FORWARD_EGRESS}
_LOCAL = {Direction.INGRESS: TableKind.LOCAL_INGRESS, Direction.EGRESS: TableKind.LOCAL_EGRESS}


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict as a reason, and every table that was asked on the way, with its answer; the last
    decided."""

    reason: Reason
    walked: tuple[tuple[TableKind, Walked], ...] = ()

    @property
    def allowed(self) -> bool:
        """The packet passes."""
        return self.reason < abi.REASON_DROPPED

    @property
    def rule(self) -> int:
        """The key of the rule or end that decided; 0: no table did."""
        return self.walked[-1][1].rule if self.walked else 0


class Pipeline:
    """Judges packets of one host by one image."""

    def __init__(
        self, image: Image | bytes | bytearray | memoryview, view: NodeView, facts: HostFacts
    ) -> None:
        self.walker = Walker(image)
        self._bytes = memoryview(image.data if isinstance(image, Image) else image).cast("B")
        self._view = view
        self._workloads = frozenset(each.name for each in facts.interfaces if each.workload)
        self._known = frozenset(each.name for each in facts.interfaces)

    def judge(
        self,
        interface: str,
        direction: Direction,
        packet: Packet,
        *,
        received: bool = False,
        known: Reason = Reason.NONE,
    ) -> Judged:
        """The verdict on ``packet`` at ``interface``.

        ``received``: it came in by another interface. ``known``: FLOW or RELATED if its flow is approved.
        """
        if interface in self._view.excluded:
            return Judged(Reason.EXCLUDED)
        slot = self._slot(interface)
        if slot is None:
            return Judged(Reason.NO_ENDPOINT)
        passage = _Passage(
            self, slot, direction, packet, workload=interface in self._workloads, received=received
        )
        reason = passage.run(known)
        return Judged(reason, tuple(passage.walked))

    def _slot(self, interface: str) -> int | None:
        if interface in self._known:
            return self._view.interfaces.get(interface)
        return self._view.wildcard

    def failsafe(self, listed: Direction, packet: Packet, port: int, peer: int) -> bool:
        """Whether the inbound (ingress) or outbound list opens ``port`` to ``peer``."""
        if packet.fragment or packet.protocol not in PORT_PROTOCOLS:
            return False
        return any(
            each.direction == listed.name.lower()
            and (each.protocol, each.port) == (packet.protocol, port)
            and _open_to(each, packet.version, peer)
            for each in self._view.failsafes
        )

    def is_tunnel(self, packet: Packet) -> bool:
        """Whether the packet is of an encapsulation that nodes use among themselves."""
        header, size = self.walker.header, abi.IMAGE_TUNNEL.size
        for index in range(header["tunnels"]):
            protocol, port = abi.IMAGE_TUNNEL.unpack_from(self._bytes, header["tunnels_at"] + index * size)
            if protocol == packet.protocol and port in (0, _destination_port(packet)):
                return True
        return False

    def is_redirected(self, slot: int, packet: Packet) -> bool:
        """Whether what is addressed to this host goes elsewhere: to a NodePort or a Service's address."""
        if self.is_node_port(packet):
            return True
        has_ports = packet.protocol in PORT_PROTOCOLS and not packet.fragment
        return has_ports and self.walker.is_redirected(slot, packet)

    def is_node_port(self, packet: Packet) -> bool:
        """Whether the host forwards the destination port by DNAT."""
        at = self.walker.header["node_ports_at"]
        if not at or packet.fragment or packet.protocol not in _NODE_PORT_ROWS:
            return False
        port = packet.destination_port
        row = at + _NODE_PORT_ROWS[packet.protocol] * _NODE_PORT_ROW_BYTES
        return bool(self._bytes[row + (port >> 3)] >> (port & 7) & 1)


def _destination_port(packet: Packet) -> int:
    return packet.destination_port if packet.protocol in PORT_PROTOCOLS and not packet.fragment else 0


def _open_to(failsafe: Failsafe, version: int, peer: int) -> bool:
    if failsafe.net is None:
        return True
    net = ip_network(failsafe.net)
    width = net.max_prefixlen - net.prefixlen
    return net.version == version and peer >> width == int(net.network_address) >> width


class _Passage:
    """One packet at an interface with an endpoint."""

    def __init__(
        self,
        pipeline: Pipeline,
        slot: int,
        direction: Direction,
        packet: Packet,
        *,
        workload: bool,
        received: bool,
    ) -> None:
        self._pipeline, self._slot, self._packet = pipeline, slot, packet
        self._direction, self._workload = direction, workload
        self._ingress = direction is Direction.INGRESS
        flags = pipeline.walker.address_flags
        self._source, self._destination = (
            flags(packet.version, packet.source),
            flags(packet.version, packet.destination),
        )
        own = self._destination if self._ingress else self._source
        redirected = pipeline.is_redirected(slot, packet) if self._ingress else received
        self._local = bool(own & abi.ADDRESS_HOST) and not redirected
        self.walked: list[tuple[TableKind, Walked]] = []

    def run(self, known: Reason) -> Reason:
        return (
            self._exempt()
            or self._untracked()
            or self._flow(known)
            or self._before_policy()
            or self._prednat()
            or self._forwarded()
            or self._from_pod()
            or self._by_local_policy()
        )

    def _exempt(self) -> Reason:
        packet = self._packet
        icmpv6 = packet.version == 6 and packet.protocol == _ICMPV6 and not packet.fragment
        if icmpv6 and packet.icmp_type in _NEIGHBOUR_TYPES:
            return Reason.NEIGHBOUR
        own, remote = self._destination, self._source
        if not self._ingress:
            own, remote = remote, own
        if own & abi.ADDRESS_HOST and remote & abi.ADDRESS_NODE and self._pipeline.is_tunnel(packet):
            return Reason.TUNNEL
        return Reason.NONE

    def _untracked(self) -> Reason:
        if self._workload or self._failsafe() or self._failsafe_reply():
            return Reason.NONE
        action = self._ask(_UNTRACKED[self._direction])
        if action is Action.NONE:
            return Reason.NONE
        return Reason.UNTRACKED_ALLOW if action is Action.ALLOW else Reason.UNTRACKED_DENY

    def _flow(self, known: Reason) -> Reason:
        packet = self._packet
        opens = packet.protocol == _TCP and not packet.fragment and packet.tcp_flags & (_SYN | _ACK) == _SYN
        return Reason.NONE if opens else known

    def _before_policy(self) -> Reason:
        if not self._local:
            return Reason.NONE
        if not self._ingress and self._workload:
            return Reason.OWN_POD
        return Reason.FAILSAFE if self._failsafe() else Reason.NONE

    def _prednat(self) -> Reason:
        if not self._ingress or self._failsafe():
            return Reason.NONE
        action = self._ask(TableKind.PREDNAT)
        if action is Action.NONE:
            return Reason.NONE
        return Reason.PREDNAT_ALLOW if action is Action.ALLOW else Reason.PREDNAT_DENY

    def _forwarded(self) -> Reason:
        if self._local:
            return Reason.NONE
        action = self._ask(_FORWARD[self._direction])
        if action is Action.NONE:
            return Reason.FORWARD_NONE
        return Reason.FORWARD_ALLOW if action is Action.ALLOW else Reason.FORWARD_DENY

    def _from_pod(self) -> Reason:
        if not (self._ingress and self._workload):
            return Reason.NONE
        flags = self._pipeline.walker.header["flags"]
        if flags & abi.IMAGE_POD_TO_HOST_DROP:
            return Reason.POD_DROP
        return Reason.POD_ACCEPT if flags & abi.IMAGE_POD_TO_HOST_ACCEPT else Reason.NONE

    def _by_local_policy(self) -> Reason:
        action = self._ask(_LOCAL[self._direction])
        return Reason.POLICY_ALLOW if action is Action.ALLOW else Reason.POLICY_DENY

    def _ask(self, kind: TableKind) -> Action:
        walked = self._pipeline.walker.walk(self._slot, kind, self._packet)
        if walked is None:
            return Action.NONE
        self.walked.append((kind, walked))
        return walked.action

    def _failsafe(self) -> bool:
        packet = self._packet
        peer = packet.source if self._ingress else packet.destination
        return self._pipeline.failsafe(self._direction, packet, packet.destination_port, peer)

    def _failsafe_reply(self) -> bool:
        packet = self._packet
        peer = packet.source if self._ingress else packet.destination
        opposite = Direction.EGRESS if self._ingress else Direction.INGRESS
        return self._pipeline.failsafe(opposite, packet, packet.source_port, peer)
