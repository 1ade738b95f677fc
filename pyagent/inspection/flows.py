"""The flow table in words, and what may be done with it."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from pyagent import abi
from pyagent.abi import Direction, FlowOrigin
from pyagent.inspection.names import Names, protocol_name
from pyagent.inspection.pinned import Pinned
from pyagent.model.packet import ICMP_PROTOCOLS, Packet

MAPS: Final = ("flows4", "flows6")
_TCP: Final = 6
_UDP: Final = 17
_FIN_BOTH: Final = abi.FLOW_FIN_OPENER | abi.FLOW_FIN_REPLIER


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow; times in seconds. ``key`` is the raw key in ``map``."""

    map: str
    key: bytes
    protocol: int
    local: str
    local_port: int
    remote: str
    remote_port: int
    opener: Direction
    state: str
    idle: float
    age: float
    limit: float
    packets: int
    bytes: int
    origin: FlowOrigin
    rule: str
    generation: int
    endpoints: tuple[int, ...]

    @property
    def expired(self) -> bool:
        """Idle for longer than it counts."""
        return self.idle > self.limit

    @property
    def allowed_by(self) -> str:
        """The rule, or what else it was."""
        return self.rule or self.origin.name.lower()

    def ends(self) -> tuple[str, str]:
        """Both ends as text, the opener's first."""
        local, remote = _end(self.local, self.local_port), _end(self.remote, self.remote_port)
        if self.protocol in ICMP_PROTOCOLS:
            local, remote = self.local, f"{self.remote} type {self.remote_port} id {self.local_port}"
            if self.opener is Direction.INGRESS:
                local, remote = f"{self.local} type {self.remote_port} id {self.local_port}", self.remote
        return (remote, local) if self.opener is Direction.INGRESS else (local, remote)

    def to_json(self) -> dict[str, Any]:
        """Plain builtins."""
        ports = (
            {"icmpType": self.remote_port, "identifier": self.local_port}
            if self.protocol in ICMP_PROTOCOLS
            else {"localPort": self.local_port, "remotePort": self.remote_port}
        )
        return {
            "protocol": protocol_name(self.protocol),
            "local": self.local,
            "remote": self.remote,
            **ports,
            "opened": self.opener.name.lower(),
            "state": self.state,
            "idleSeconds": round(self.idle, 1),
            "ageSeconds": round(self.age, 1),
            "limitSeconds": self.limit,
            "expired": self.expired,
            "packets": self.packets,
            "bytes": self.bytes,
            "origin": self.origin.name.lower(),
            "rule": self.rule,
            "generation": self.generation,
            "endpointNumbers": list(self.endpoints),
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which flows; what is None does not matter."""

    protocol: int | None = None
    address: str | None = None
    port: int | None = None
    by: str | None = None

    def __call__(self, flow: Flow) -> bool:
        """Whether the flow is one of them."""
        if self.protocol is not None and flow.protocol != self.protocol:
            return False
        if self.address is not None and str(ip_address(self.address)) not in (flow.local, flow.remote):
            return False
        if self.port is not None and (
            flow.protocol in ICMP_PROTOCOLS or self.port not in (flow.local_port, flow.remote_port)
        ):
            return False
        return self.by is None or self.by in flow.allowed_by

    @property
    def everything(self) -> bool:
        """Nothing is asked for."""
        return self == Wanted()


def flows(pinned: Pinned, names: Names, now: int, rate: int) -> Iterator[Flow]:
    """All flows. ``now``: jiffies64; ``rate``: jiffies in a second."""
    for name in MAPS:
        with pinned.open(name) as table:
            for key, value in table.items():
                yield decode(name, key, value, names, (now, rate))


def flow_of(
    pinned: Pinned, names: Names, clock: tuple[int, int], packet: Packet, direction: Direction
) -> Flow | None:
    """The flow that a packet at a hook belongs to, by its ends; None if there is none.

    ``clock``: jiffies64 and jiffies in a second. Not for ICMP, whose flows are known by an identifier.
    """
    width = 4 if packet.version == 4 else 16
    source = packet.source.to_bytes(width, "big"), packet.source_port.to_bytes(2, "big")
    destination = packet.destination.to_bytes(width, "big"), packet.destination_port.to_bytes(2, "big")
    local, remote = (destination, source) if direction is Direction.INGRESS else (source, destination)
    layout, name = (abi.FLOW4_KEY, "flows4") if packet.version == 4 else (abi.FLOW6_KEY, "flows6")
    key = layout.pack(local[0], remote[0], local[1], remote[1], packet.protocol)
    with pinned.open(name) as table:
        value = table.get(key)
    return None if value is None else decode(name, key, value, names, clock)


def decode(name: str, key: bytes, value: bytes, names: Names, clock: tuple[int, int]) -> Flow:
    """Put one element of a flow table into words."""
    layout = abi.FLOW4_KEY if name == "flows4" else abi.FLOW6_KEY
    local, remote, local_port, remote_port, protocol = layout.unpack(key)
    approved, packets, size, last, created, rule, generation, opener, origin, state = abi.FLOW.unpack(value)
    now, rate = clock
    icmp = protocol in ICMP_PROTOCOLS
    return Flow(
        map=name,
        key=key,
        protocol=protocol,
        local=str(ip_address(local)),
        local_port=int.from_bytes(local_port, "big"),
        remote=str(ip_address(remote)),
        remote_port=struct.unpack("=H", remote_port)[0] if icmp else int.from_bytes(remote_port, "big"),
        opener=Direction(opener),
        state=_state(protocol, state),
        idle=_since(now, last) / rate,
        age=_since(now, created) / rate,
        limit=_limit(protocol, state),
        packets=packets,
        bytes=size,
        origin=FlowOrigin(origin),
        rule=names.rule(rule),
        generation=generation,
        endpoints=tuple(bit for bit in range(abi.ENDPOINTS_MAX) if approved >> bit & 1),
    )


def remove(pinned: Pinned, chosen: Iterable[Flow]) -> int:
    """Delete flows; returns how many were still there. Live TCP goes on by the kernel's own sockets."""
    keys: dict[str, list[bytes]] = {name: [] for name in MAPS}
    for flow in chosen:
        keys[flow.map].append(flow.key)
    removed = 0
    for name, gone in keys.items():
        with pinned.open(name) as table:
            removed += table.delete_many(gone)
    return removed


def statistics(pinned: Pinned, found: Iterable[Flow]) -> dict[str, Any]:
    """How full the tables are, and of what."""
    sizes = {}
    for name in MAPS:
        with pinned.open(name) as table:
            sizes[name] = {"entries": 0, "size": table.info.max_entries}
    counts: dict[str, Counter[str]] = {"protocols": Counter(), "states": Counter(), "allowedBy": Counter()}
    expired = 0
    for flow in found:
        sizes[flow.map]["entries"] += 1
        expired += flow.expired
        name = protocol_name(flow.protocol)
        counts["protocols"][name] += 1
        counts["states"][f"{name} {flow.state}"] += 1
        counts["allowedBy"][flow.origin.name.lower()] += 1
    ordered = {
        what: dict(sorted(counter.items(), key=lambda each: (-each[1], each[0])))
        for what, counter in counts.items()
    }
    return {"tables": sizes, "expired": expired, **ordered}


def _state(protocol: int, bits: int) -> str:
    if protocol != _TCP:
        return "replied" if bits & abi.FLOW_REPLIED else "unreplied"
    if bits & abi.FLOW_RST:
        return "reset"
    if bits & _FIN_BOTH == _FIN_BOTH:
        return "closed"
    if bits & _FIN_BOTH:
        return "closing"
    return "established" if bits & abi.FLOW_REPLIED else "handshake"


def _limit(protocol: int, bits: int) -> int:
    """Seconds of idleness after which the flow counts no more: flow_limit() of the program."""
    if protocol == _TCP:
        if bits & abi.FLOW_RST or bits & _FIN_BOTH == _FIN_BOTH:
            return abi.IDLE_TCP_CLOSING
        return abi.IDLE_TCP if bits & abi.FLOW_REPLIED else abi.IDLE_TCP_HANDSHAKE
    if protocol == _UDP:
        return abi.IDLE_UDP_REPLIED if bits & abi.FLOW_REPLIED else abi.IDLE_UDP
    return abi.IDLE_ICMP if protocol in ICMP_PROTOCOLS else abi.IDLE_OTHER


def _since(now: int, then: int) -> int:
    """Jiffies from ``then``, of which only the low half is kept; another CPU may be ahead by a tick."""
    passed = (now - then) & 0xFFFFFFFF
    return 0 if passed >= 1 << 31 else passed


def _end(address: str, port: int) -> str:
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
