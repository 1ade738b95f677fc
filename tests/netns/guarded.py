"""A host under the real program and the real agent's passes, without an agent's process or a control plane.

Its neighbour is another namespace; and a host that exists only as frames, whose every segment a test writes.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from pyagent import abi, manifest
from pyagent.abi import Direction, Reason
from pyagent.agent.enforce import Enforced, Enforcer
from pyagent.agent.state import StateDirectory
from pyagent.bpf import loader
from pyagent.bpf.pins import Pins, ensure_bpffs
from pyagent.calc import World
from pyagent.dataplane import Dataplane
from pyagent.model import Resource
from tests.lab.namespace import open_socket
from tests.netns.two_hosts import NODE_ADDRESS, PEER_ADDRESS, TwoHosts, run, two_hosts

NODE: Final = {4: NODE_ADDRESS, 6: "2001:db8:1::1"}
PEER: Final = {4: PEER_ADDRESS, 6: "2001:db8:1::2"}
#: The host that is only frames: its neighbours know its hardware address, no kernel owns its IP addresses.
FRAMES: Final = {4: "192.0.2.77", 6: "2001:db8:1::77"}
FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
FLOWS_MAX: Final = 4096
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
_ETHERTYPE: Final = {4: 0x0800, 6: 0x86DD}
_ETH_P_ALL: Final = 3


def endpoint(name: str = "wire", interface: str = "wire") -> Resource:
    """A host endpoint on the wire; with no policy for it, it denies everything."""
    return _resource("HostEndpoint", name, {"node": "guarded", "interfaceName": interface})


def policy(**spec: Any) -> Resource:
    """A policy for every endpoint."""
    return _resource("GlobalNetworkPolicy", "policy", {"selector": "all()", **spec})


def _resource(kind: str, name: str, spec: dict[str, Any]) -> Resource:
    metadata = {"name": name}
    return manifest.decode(
        {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}
    )


@dataclass
class Guarded:
    """The host whose traffic is judged; this thread is in its namespace."""

    hosts: TwoHosts
    pins: Pins
    dataplane: Dataplane
    enforcer: Enforcer

    @property
    def peer(self) -> Path:
        """The neighbour's namespace."""
        return Path("/run/netns") / self.hosts.peer

    def enforce(self, *resources: Resource) -> Enforced:
        """Put the policy of ``resources`` in force as an agent does; it must succeed."""
        enforced = self.enforcer.enforce(World.from_resources(resources))
        assert enforced.problem == ""
        assert enforced.uncovered == ()
        return enforced

    def lift(self) -> None:
        """Nothing is judged any more, and no flow is known."""
        self.enforce()
        self.forget()

    def forget(self) -> None:
        """Empty the flow tables."""
        for name in ("flows4", "flows6"):
            self.dataplane.map(name).clear()

    def flows(self, name: str) -> dict[bytes, bytes]:
        """What a flow table holds."""
        return dict(self.dataplane.map(name).items())

    def replace_programs(self) -> None:
        """Load the programs anew, as an agent that starts does, beside the maps that are there."""
        loader.load(self.pins, flows_max=FLOWS_MAX)

    def count(self, reason: Reason, direction: Direction) -> int:
        """Packets of the wire so far for ``reason``."""
        cells = self.dataplane.map("counters").sum_per_cpu(struct.pack("=I", self.hosts.ifindex))
        assert cells is not None
        return cells[direction * abi.REASON_MAX + reason]


@contextmanager
def guarded(
    directory: Path, flows_max: int = FLOWS_MAX, programs: Sequence[str] = loader.TC_PROGRAMS
) -> Iterator[Guarded]:
    """Make the host with its neighbour and load the program; nothing is attached yet, and nothing is left."""
    with two_hosts() as hosts:
        for name, addresses in ((hosts.node, NODE), (hosts.peer, PEER)):
            run("ip", "-n", name, "address", "add", f"{addresses[6]}/64", "dev", "wire", "nodad")
        for address in FRAMES.values():
            mac = hardware_address(hosts.peer)
            run("ip", "-n", hosts.node, "neigh", "add", address, "lladdr", mac, "dev", "wire")
        ensure_bpffs()
        pins = Pins(f"guarded{os.getpid()}", Path("/sys/fs/bpf/autohep_test"))
        try:
            loader.load(pins, programs, flows_max=flows_max)
            with Dataplane(pins, flows_max=flows_max) as dataplane, StateDirectory(directory) as state:
                yield Guarded(hosts, pins, dataplane, Enforcer("guarded", pins, dataplane, state))
        finally:
            pins.remove()


def hardware_address(namespace: str) -> str:
    """The hardware address of a namespace's end of the wire."""
    return run("ip", "-n", namespace, "-o", "link", "show", "wire").split("link/ether ")[1].split()[0]


@dataclass(frozen=True)
class Segment:
    """A TCP segment that the host of frames has received."""

    source_port: int
    destination_port: int
    sequence: int
    acknowledged: int
    flags: int
    payload: bytes


class Frames:
    """The host that is only frames: sends the segments it is told to and hears those meant for it."""

    def __init__(self, guarded: Guarded, version: int) -> None:
        self.version = version
        self._socket = open_socket(guarded.peer, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.bind(("wire", _ETH_P_ALL))
        ends = hardware_address(guarded.hosts.node), hardware_address(guarded.hosts.peer)
        self._ethernet = b"".join(bytes.fromhex(end.replace(":", "")) for end in ends)
        self._ethernet += struct.pack("!H", _ETHERTYPE[version])
        self._own = ip_address(FRAMES[version]).packed
        self._node = ip_address(NODE[version]).packed

    def close(self) -> None:
        """Cease to exist."""
        self._socket.close()

    def send(
        self,
        source_port: int,
        port: int,
        flags: int,
        sequence: int,
        acknowledged: int = 0,
        *,
        payload: bytes = b"",
    ) -> None:
        """Send one segment to the guarded host."""
        numbers = sequence & 0xFFFFFFFF, acknowledged & 0xFFFFFFFF
        tcp = struct.pack("!HHIIBBHHH", source_port, port, *numbers, 0x50, flags, 60000, 0, 0) + payload
        pseudo = self._own + self._node + struct.pack("!II", len(tcp), socket.IPPROTO_TCP)
        tcp = tcp[:16] + struct.pack("!H", _checksum(pseudo + tcp)) + tcp[18:]
        self._socket.send(self._ethernet + self._header(len(tcp)) + tcp)

    def receive(self, source_port: int, patience: float = 1.0) -> Segment | None:
        """The next segment for one of our ports; None if none comes in that many seconds."""
        deadline = time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                segment = self._segment(self._socket.recv(2048))
            except TimeoutError:
                return None
            if segment is not None and segment.destination_port == source_port:
                return segment
        return None

    def _header(self, length: int) -> bytes:
        if self.version == 6:
            return struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_TCP, 64) + self._own + self._node
        plain = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, socket.IPPROTO_TCP, 0)
        plain += self._own + self._node
        return plain[:10] + struct.pack("!H", _checksum(plain)) + plain[12:]

    def _segment(self, frame: bytes) -> Segment | None:
        ours = {4: (30, 34, 23), 6: (38, 54, 20)}[self.version]
        address_at, tcp_at, protocol_at = ours
        if (
            frame[12:14] != self._ethernet[12:]
            or frame[address_at : address_at + len(self._own)] != self._own
            or frame[protocol_at] != socket.IPPROTO_TCP
        ):
            return None
        end = 14 + struct.unpack_from("!H", frame, 16)[0] if self.version == 4 else len(frame)
        source, destination, sequence, acknowledged, offset, flags = struct.unpack_from(
            "!HHIIBB", frame, tcp_at
        )
        payload = frame[tcp_at + (offset >> 4) * 4 : end]
        return Segment(source, destination, sequence, acknowledged, flags, payload)


def _checksum(data: bytes) -> int:
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def listen(version: int, port: int, namespace: Path | None = None, *, reuse: bool = False) -> socket.socket:
    """A listener on all addresses of a version, here or in another namespace."""
    family = FAMILY[version]
    listener = (
        socket.socket(family, socket.SOCK_STREAM)
        if namespace is None
        else open_socket(namespace, family, socket.SOCK_STREAM)
    )
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if version == 6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if reuse:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("::" if version == 6 else "0.0.0.0", port))
    listener.listen(512)
    listener.settimeout(3)
    return listener
