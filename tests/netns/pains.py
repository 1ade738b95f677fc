"""What tests of others' pains share: frames, sockets of all kinds, and waiting."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from tests.lab.namespace import open_socket
from tests.netns import rawframes
from tests.netns.site import ADDRESSES, UDP, Probe, Site, policy, rule, to_port
from tests.netns.wires import FAMILY

ALLOW, DENY = {"action": "Allow"}, {"action": "Deny"}
PROFILE = {"profiles": ["projectcalico-default-allow"]}
NODE, PEER = ADDRESSES["node"], ADDRESSES["peer"]
SSH = Probe("peer", "node", 22)
VERSIONS = pytest.mark.parametrize("version", [4, 6])
OPEN, CLOSED = UDP, 5001
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
#: 802.2 frames have a length instead of a type; sockets for them ask for this.
ETH_P_802_2, ETH_P_LLDP, ETH_P_ARP = 4, 0x88CC, 0x0806


def opened_udp() -> dict[str, Any]:
    return policy("opened", ingress=[rule("Allow", **to_port(OPEN, "UDP"))])


def mac(site: Site, place: str) -> bytes:
    """The hardware address of a place's eth0."""
    shown = site.inside(place, "ip", "-o", "link", "show", "eth0")
    return bytes.fromhex(shown.split("link/ether ")[1].split()[0].replace(":", ""))


def datagram(version: int, port: int, payload: bytes) -> bytes:
    """An IP packet from the peer to the node."""
    inner = rawframes.udp(PEER[version], NODE[version], 4000, port, payload)
    if version == 4:
        return rawframes.ipv4(PEER[4], NODE[4], 17, inner)
    return rawframes.ipv6(PEER[6], NODE[6], 17, inner)


def join(member: socket.socket, group: str, index: int) -> None:
    """Make a socket a member of a multicast group."""
    if ":" in group:
        request = socket.inet_pton(socket.AF_INET6, group) + struct.pack("=I", index)
        member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
    else:
        request = socket.inet_aton(group) + bytes(4) + struct.pack("=I", index)
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)


def eventually(condition: Callable[[], bool], patience: float = 10.0) -> None:
    """Until it holds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def bound(
    stack: ExitStack, site: Site, place: str, address: tuple[str, int], scope: int = 0
) -> socket.socket:
    """A UDP socket with an address of its own."""
    version = 6 if ":" in address[0] else 4
    made = stack.enter_context(open_socket(site.path(place), FAMILY[version], socket.SOCK_DGRAM))
    made.bind(address if version == 4 else (*address, 0, scope))
    made.settimeout(5)
    return made
