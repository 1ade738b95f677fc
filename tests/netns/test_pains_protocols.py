"""Protocols by number, options, headers, fragments: what hurt users of other firewalls, by docstring."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.lab.namespace import open_socket
from tests.netns import rawframes
from tests.netns.pains import ALLOW, CLOSED, NODE, OPEN, PEER, SSH, VERSIONS, bound, join, opened_udp
from tests.netns.rawframes import ETH_P_IP, ETH_P_IPV6
from tests.netns.site import UDP, Probe, Site, endpoint, policy, rule, to_port
from tests.netns.wires import FAMILY


@pytest.fixture(scope="module")
def here(shared_site: Site) -> Iterator[Site]:
    yield shared_site
    shared_site.enforce()


# ---- protocols by number


@VERSIONS
def test_protocols_without_ports_are_opened_by_their_number(here: Site, version: int) -> None:
    """t_vrrp_igmp_ipip_gre_esp_by_number, t_unknown_l4_obeys_deny_any."""
    numbers = [47, 50, 112, 253] + ([2, 4] if version == 4 else [41])
    half = numbers[::2]
    here.enforce(endpoint(), policy("some", ingress=[rule("Allow", protocol=number) for number in half]))
    assert arriving(here, version, numbers) == set(half)
    here.enforce(endpoint(), policy("any", ingress=[ALLOW]))
    assert arriving(here, version, numbers) == set(numbers)
    deny = policy("first", order=1, ingress=[rule("Deny", notProtocol=6)])
    here.enforce(endpoint(), deny, policy("any", order=2, ingress=[ALLOW]))
    assert arriving(here, version, numbers) == set()
    here.expect(allowed=[Probe("peer", "node", 8055)])


def arriving(site: Site, version: int, numbers: list[int]) -> set[int]:
    """Which protocols, sent from the peer to the node, reach a program there."""
    with ExitStack() as stack:
        receivers = {}
        for number in numbers:
            receiver = open_socket(site.path("node"), FAMILY[version], socket.SOCK_RAW, number)
            receivers[stack.enter_context(receiver)] = number
            sender = open_socket(site.path("peer"), FAMILY[version], socket.SOCK_RAW, number)
            stack.enter_context(sender).sendto(b"by number " + bytes([number]) * 40, (NODE[version], 0))
        seen: set[int] = set()
        deadline = time.monotonic() + 0.5
        while len(seen) < len(numbers) and (left := deadline - time.monotonic()) > 0:
            for one in select.select(list(receivers), [], [], left)[0]:
                if b"by number" in one.recv(2000):
                    seen.add(receivers[one])
        return seen


def test_vrrp_to_its_multicast_group_is_addressed_to_the_host(here: Site) -> None:
    """t_vrrp_igmp_ipip_gre_esp_by_number: multicast is local, and normal policy opens it."""
    for opened in (True, False):
        rules = [rule("Allow", protocol=112)] if opened else [rule("Allow", protocol=47)]
        here.enforce(endpoint(), policy("vrrp", ingress=rules))
        with ExitStack() as stack:
            member = stack.enter_context(open_socket(here.path("node"), socket.AF_INET, socket.SOCK_RAW, 112))
            join(member, "224.0.0.18", here.ifindex("node", "eth0"))
            sender = stack.enter_context(open_socket(here.path("peer"), socket.AF_INET, socket.SOCK_RAW, 112))
            interface = bytes(8) + struct.pack("=I", here.ifindex("peer", "eth0"))
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
            sender.sendto(b"I am the master", ("224.0.0.18", 0))
            member.settimeout(0.5)
            if opened:
                assert b"I am the master" in member.recv(2000)
            else:
                with pytest.raises(TimeoutError):
                    member.recv(2000)


# ---- options, extension headers, fragments


@VERSIONS
def test_options_and_extension_headers_hide_nothing(here: Site, version: int) -> None:
    """t_ip_options_and_ext_headers."""
    here.enforce(endpoint(), opened_udp())

    def wrapped(port: int, mark: bytes) -> list[bytes]:
        inner = rawframes.udp(PEER[version], NODE[version], 4000, port, mark)
        if version == 4:
            return [
                rawframes.ipv4(PEER[4], NODE[4], 17, inner, options=b"\x01" * 4),
                rawframes.ipv4(PEER[4], NODE[4], 17, inner, options=b"\x01" * 40),
            ]
        pad = b"\x01\x04\0\0\0\0"
        return [
            rawframes.ipv6(PEER[6], NODE[6], 0, b"\x11\0" + pad + inner),
            rawframes.ipv6(PEER[6], NODE[6], 0, b"\x3c\0" + pad + b"\x11\0" + pad + inner),
            rawframes.ipv6(PEER[6], NODE[6], 60, b"\x2c\0" + pad + b"\x11\0\0\0\0\0\0\x07" + inner),
        ]

    for port, arrives in ((OPEN, True), (CLOSED, False)):
        marks = []
        with rawframes.tapped(here.path("node"), "eth0", ETH_P_IP, ETH_P_IPV6) as tap:
            for number in range(len(wrapped(port, b""))):
                mark = b"packet %d %d" % (number, port)
                rawframes.send_packets(here.path("peer"), [wrapped(port, mark)[number]], NODE[version])
                marks.append(mark)
            assert tap.saw(marks) == (set(marks) if arrives else set())


@VERSIONS
def test_large_datagrams_arrive_in_fragments_or_not_at_all(here: Site, version: int) -> None:
    """t_fragments_first_and_rest."""
    sizes = [Probe("peer", "node", UDP, "udp", (version,), size=size) for size in (1400, 4000, 30000)]
    pings = [Probe("peer", "node", 0, "icmp", (version,), size=size) for size in (16, 4000)]
    here.enforce(endpoint(), opened_udp())
    here.expect(allowed=[*sizes, SSH], denied=pings)
    here.enforce(
        endpoint(), policy("pings", ingress=[rule("Allow", protocol="ICMP" if version == 4 else "ICMPv6")])
    )
    here.expect(allowed=pings, denied=sizes)
    outgoing = [Probe("node", "peer", UDP, "udp", (version,), size=4000)]
    here.expect(denied=outgoing)
    here.enforce(endpoint(), policy("out", egress=[rule("Allow", **to_port(UDP, "UDP"))]))
    here.expect(allowed=outgoing, denied=sizes)
    through = [Probe("peer", "pod", UDP, "udp", (version,), size=4000)]
    here.enforce(
        endpoint("eth0"),
        policy("through", applyOnForward=True, ingress=[rule("Allow", **to_port(UDP, "UDP"))]),
    )
    here.expect(allowed=through)
    here.enforce(
        endpoint("eth0"),
        policy("through", applyOnForward=True, ingress=[rule("Allow", **to_port(CLOSED, "UDP"))]),
    )
    here.expect(denied=through)


@VERSIONS
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_fragments_in_any_order_make_the_datagram_that_policy_allows(
    here: Site, version: int, order: tuple[int, ...]
) -> None:
    """t_fragments_first_and_rest, out of order."""
    here.enforce(endpoint(), opened_udp())
    with ExitStack() as stack:
        client = bound(stack, here, "peer", (PEER[version], 0))
        mine = client.getsockname()[1]
        closed = bound(stack, here, "node", (NODE[version], CLOSED))
        closed.settimeout(0.3)
        for port in (OPEN, CLOSED):
            whole = rawframes.udp(PEER[version], NODE[version], mine, port, b"ask:" + bytes(2500))
            parts = rawframes.fragments(PEER[version], NODE[version], whole)
            assert len(parts) == 3
            rawframes.send_packets(here.path("peer"), [parts[number] for number in order], NODE[version])
        assert client.recv(4000) == b"yes:" + bytes(2500)
        with pytest.raises(TimeoutError):
            closed.recv(4000)
