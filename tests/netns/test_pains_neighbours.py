"""Neighbour discovery and DHCP under default deny: what hurt users of other host firewalls, by docstring."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.lab.namespace import open_socket
from tests.netns.pains import DENY, NODE, PEER, SSH, bound, eventually, join
from tests.netns.site import Probe, Site, endpoint, policy


@pytest.fixture(scope="module")
def here(shared_site: Site) -> Iterator[Site]:
    yield shared_site
    shared_site.enforce()


# ---- neighbour discovery


def test_neighbours_routers_and_prefixes_are_found_under_default_deny(here: Site) -> None:
    """t_ipv6_nd_rs_ra_dad."""
    here.enforce(endpoint(), policy("closed", ingress=[DENY], egress=[DENY]))
    for place in ("node", "peer"):
        here.inside(place, "ip", "-6", "neigh", "flush", "dev", "eth0")
    here.expect(allowed=[SSH, Probe("node", "peer", 6443)], denied=[Probe("peer", "node", protocol="icmp")])
    assert "lladdr" in here.inside("node", "ip", "-6", "neigh", "show", PEER[6])
    # A router's advertisement gives the node an address of its prefix.
    here.inside("node", "sysctl", "-q", "net.ipv6.conf.eth0.accept_ra=2")
    prefix = struct.pack(">BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + bytes.fromhex(
        "20010db8000900000000000000000000"
    )
    advertisement = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 0, 0, 0) + prefix
    with icmpv6(here, "peer") as router:
        router.sendto(advertisement, ("ff02::1", 0, 0, 0))
        eventually(lambda: "2001:db8:9:" in here.inside("node", "ip", "-6", "address", "show", "dev", "eth0"))
        # A host's solicitation reaches the routers.
        with icmpv6(here, "node") as host:
            join(router, "ff02::2", here.ifindex("peer", "eth0"))
            host.sendto(struct.pack(">BBHI", 133, 0, 0, 0), ("ff02::2", 0, 0, 0))
            router.settimeout(3)
            while router.recv(2000)[0] != 133:
                pass
    here.inside("node", "ip", "-6", "address", "flush", "dev", "eth0", "dynamic")
    here.inside("node", "sysctl", "-q", "net.ipv6.conf.eth0.accept_ra=0")


def test_duplicate_addresses_are_detected_under_default_deny(here: Site) -> None:
    """t_ipv6_nd_rs_ra_dad: the defence of the address by its owner gets through."""
    here.enforce(endpoint(), policy("closed", ingress=[DENY], egress=[DENY]))
    here.inside("node", "sysctl", "-q", "net.ipv6.conf.all.accept_dad=1", "net.ipv6.conf.eth0.accept_dad=1")
    try:
        here.batch("node", f"address add {PEER[6]}/64 dev eth0", "address add 2001:db8::d/64 dev eth0")
        shown = ["node", "ip", "-6", "address", "show", "dev", "eth0"]
        eventually(lambda: "dadfailed" in here.inside(*shown))
        eventually(lambda: "tentative" not in here.inside(*shown).replace("dadfailed tentative", ""))
        assert here.inside(*shown).count("dadfailed") == 1
    finally:
        here.batch("node", f"address del {PEER[6]}/64 dev eth0", "address del 2001:db8::d/64 dev eth0")
        here.inside(
            "node", "sysctl", "-q", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.eth0.accept_dad=0"
        )


@contextmanager
def icmpv6(site: Site, place: str) -> Iterator[socket.socket]:
    """A raw socket that may send what neighbours say to each other."""
    with open_socket(site.path(place), socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as made:
        index = site.ifindex(place, "eth0")
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        yield made


def test_a_lease_is_renewed_from_a_server_with_a_link_local_address(here: Site) -> None:
    """t_dhcp_renew_linklocal_server."""
    here.enforce(endpoint())
    server_address = "169.254.7.7"
    here.batch("peer", f"address add {server_address}/16 dev eth0")
    here.batch("node", "route add 169.254.0.0/16 dev eth0")
    try:
        with ExitStack() as stack:
            client = bound(stack, here, "node", ("0.0.0.0", 68))
            server = bound(stack, here, "peer", (server_address, 67))
            client.sendto(b"renew", (server_address, 67))
            asked, client_address = server.recvfrom(100)
            assert (asked, client_address) == (b"renew", (NODE[4], 68))
            server.sendto(b"renewed", client_address)
            assert client.recvfrom(100) == (b"renewed", (server_address, 67))
            # What nobody asked for, to everybody: an offer, as a rebooted server might send it.
            server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
            server.sendto(b"offer", ("255.255.255.255", 68))
            assert client.recvfrom(100)[0] == b"offer"
            other = bound(stack, here, "node", ("0.0.0.0", 69))
            server.sendto(b"not DHCP", ("255.255.255.255", 69))
            other.settimeout(0.3)
            with pytest.raises(TimeoutError):
                other.recv(100)
    finally:
        here.batch("peer", f"address del {server_address}/16 dev eth0")
        here.batch("node", "route del 169.254.0.0/16 dev eth0")


def test_dhcpv6_works_between_link_local_addresses(here: Site) -> None:
    """t_dhcpv6."""
    here.enforce(endpoint())
    node, peer = (link_local(here, place) for place in ("node", "peer"))
    with ExitStack() as stack:
        client = bound(stack, here, "node", (node, 546), here.ifindex("node", "eth0"))
        server = bound(stack, here, "peer", ("::", 547))
        join(server, "ff02::1:2", here.ifindex("peer", "eth0"))
        client.sendto(b"solicit", ("ff02::1:2", 547, 0, here.ifindex("node", "eth0")))
        assert server.recv(100) == b"solicit"
        # The answer comes from the server's own address, of which no flow knows.
        server.sendto(b"advertise", (node, 546, 0, here.ifindex("peer", "eth0")))
        assert client.recvfrom(100)[0] == b"advertise"
        assert client.getsockname()[0].split("%")[0] != peer
        other = bound(stack, here, "node", (node, 548), here.ifindex("node", "eth0"))
        server.sendto(b"not DHCP", (node, 548, 0, here.ifindex("peer", "eth0")))
        other.settimeout(0.3)
        with pytest.raises(TimeoutError):
            other.recv(100)


def link_local(site: Site, place: str) -> str:
    """The link-local address of a place's eth0."""
    shown = site.inside(place, "ip", "-6", "-o", "address", "show", "dev", "eth0", "scope", "link")
    return shown.split("inet6 ")[1].split("/")[0]
