"""Frames that are no plain IP, and devices without Ethernet header: what hurt users of other host firewalls.

VLAN subinterfaces and ipip, GRE or WireGuard devices are not in every kernel: tags are sent and looked for as
frames, and a device without Ethernet header is a tun. Each test says by its docstring which case.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pyagent.abi import Direction, Reason
from tests.netns import rawframes
from tests.netns.pains import (
    CLOSED,
    DENY,
    ETH_P_802_2,
    ETH_P_ARP,
    ETH_P_LLDP,
    IFF_NO_PI,
    IFF_TUN,
    NODE,
    OPEN,
    PEER,
    PROFILE,
    TUNSETIFF,
    VERSIONS,
    datagram,
    mac,
    opened_udp,
)
from tests.netns.rawframes import ETH_P_IP, ETH_P_IPV6, ETH_P_QINQ, ETH_P_VLAN
from tests.netns.site import Probe, Site, endpoint, policy, rule, to_port


@pytest.fixture(scope="module")
def here(shared_site: Site) -> Iterator[Site]:
    yield shared_site
    shared_site.enforce()


# ---- frames


@VERSIONS
@pytest.mark.parametrize("tags", [(ETH_P_VLAN,), (ETH_P_QINQ, ETH_P_VLAN), (ETH_P_VLAN, ETH_P_VLAN)])
@pytest.mark.parametrize("by_xdp", [False, True])
def test_a_tagged_frame_is_judged_by_what_it_carries(
    here: Site, tags: tuple[int, ...], version: int, by_xdp: bool
) -> None:
    """t_vlan_tagged_frames."""
    untracked = policy("early", doNotTrack=True, applyOnForward=True, ingress=[
        rule("Deny", **to_port(CLOSED, "UDP"))
    ])  # fmt: skip
    here.enforce(endpoint(**PROFILE), untracked) if by_xdp else here.enforce(endpoint(), opened_udp())
    kind = ETH_P_IP if version == 4 else ETH_P_IPV6
    head = mac(here, "node") + mac(here, "peer") + b"".join(struct.pack(">HH", tag, 7) for tag in tags)
    frames = {
        mark: head + struct.pack(">H", kind) + datagram(version, port, mark)
        for mark, port in ((b"--let in--", OPEN), (b"-kept out-", CLOSED))
    }
    reason = Reason.UNTRACKED_DENY if by_xdp else Reason.POLICY_DENY
    before = here.counted("eth0", Direction.INGRESS, reason)
    with rawframes.tapped(here.path("node"), "eth0", ETH_P_VLAN, ETH_P_QINQ, ETH_P_IP, ETH_P_IPV6) as tap:
        rawframes.send_frames(here.path("peer"), "eth0", list(frames.values()))
        assert tap.saw(frames) == {b"--let in--"}
    assert here.counted("eth0", Direction.INGRESS, reason) == before + 1


def test_frames_that_are_not_ip_pass_both_ways_through_a_closed_endpoint(here: Site) -> None:
    """t_llc_stp_lldp_pass."""
    here.enforce(endpoint(), policy("closed", ingress=[DENY], egress=[DENY]))

    def frame(destination: str, kind: int, body: bytes) -> bytes:
        return bytes.fromhex(destination) + bytes.fromhex("020000000009") + struct.pack(">H", kind) + body

    stp, lldp, arp, udp = b"spanning tree frame", b"link layer discovery", b"gratuitous ARP", b"an IP packet"
    out = rawframes.udp(NODE[4], PEER[4], 4000, CLOSED, udp)
    packets = {"peer": datagram(4, CLOSED, udp), "node": rawframes.ipv4(NODE[4], PEER[4], 17, out)}
    types = ETH_P_802_2, ETH_P_LLDP, ETH_P_ARP, ETH_P_IP
    for source, target in (("peer", "node"), ("node", "peer")):
        frames = [
            frame("0180c2000000", 3 + len(stp), b"\x42\x42\x03" + stp),
            frame("0180c200000e", ETH_P_LLDP, lldp),
            frame("ffffffffffff", ETH_P_ARP, arp),
            frame("ffffffffffff", ETH_P_IP, packets[source]),
        ]
        with rawframes.tapped(here.path(target), "eth0", *types) as tap:
            rawframes.send_frames(here.path(source), "eth0", frames)
            assert tap.saw([stp, lldp, arp, udp]) == {stp, lldp, arp}


# ---- devices without Ethernet header


def open_tun(site: Site, place: str) -> int:
    """A tun device ``tun0`` in a place; the descriptor of its other end."""
    with site.entered(place):
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN | IFF_NO_PI))
    return descriptor


@contextmanager
def tunnel(site: Site) -> Iterator[None]:
    """tun0 on node and peer, joined: as WireGuard would look to both."""
    ends = [open_tun(site, "node"), open_tun(site, "peer")]
    woken, waker = os.pipe()

    def carry() -> None:
        while True:
            ready, _, _ = select.select([*ends, woken], [], [])
            if woken in ready:
                return
            for end in ready:
                os.write(ends[1 - ends.index(end)], os.read(end, 65535))

    thread = threading.Thread(target=carry)
    try:
        for place, own in (("node", 1), ("peer", 2)):
            site.batch(
                place,
                f"address add 198.51.100.{own}/24 dev tun0",
                f"address add 2001:db8:7::{own}/64 dev tun0 nodad",
                "link set tun0 up",
            )
        thread.start()
        yield
    finally:
        os.write(waker, b"x")
        if thread.ident is not None:
            thread.join()
        for descriptor in (*ends, waker, woken):
            os.close(descriptor)


def test_devices_without_ethernet_header_are_filtered(here: Site) -> None:
    """t_l3_device_no_eth_header."""
    here.enforce()
    near = {4: "198.51.100.1", 6: "2001:db8:7::1"}
    far = {4: "198.51.100.2", 6: "2001:db8:7::2"}
    to_8055, to_8056 = (
        [Probe("far", address, port, families=(version,)) for version, address in near.items()]
        for port in (8055, 8056)
    )
    out = [Probe("node", address, 8055, families=(version,)) for version, address in far.items()]
    with tunnel(here):
        here.expect(allowed=[*to_8055, *to_8056, *out])
        here.enforce(endpoint("tun0"), policy("some", ingress=[rule("Allow", **to_port(8056))]))
        here.wait(lambda status: {one["name"] for one in status["interfaces"]} == {"tun0"})
        here.expect(allowed=[*to_8056, Probe("peer", "node", 8055)], denied=[*to_8055, *out])
        here.enforce(endpoint("*"), policy("out", egress=[rule("Allow", **to_port(8055))]))
        here.expect(allowed=out, denied=[*to_8055, *to_8056])
