"""What hurt users of other host firewalls, with real packets; each test says by its docstring which case.

The cases that need no wire stand in tests/dataplane; those of policy in test_scenarios_*. VLAN subinterfaces
and ipip, GRE or WireGuard devices are not in every kernel: tags are sent and looked for as frames, and a
device without Ethernet header is a tun.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from pyagent.abi import Direction, Reason
from pyagent.bpf import syscall
from pyagent.bpf.numbers import TC_UNSPEC
from tests.dataplane.kernel_objects import classifier
from tests.lab.lab import HEPCTL
from tests.lab.namespace import open_socket
from tests.netns import rawframes
from tests.netns.rawframes import ETH_P_IP, ETH_P_IPV6, ETH_P_QINQ, ETH_P_VLAN
from tests.netns.site import ADDRESSES, UDP, Probe, Site, endpoint, policy, rule, to_port
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


@pytest.fixture(scope="module")
def here(shared_site: Site) -> Iterator[Site]:
    yield shared_site
    shared_site.enforce()


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


# ---- DHCP


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


def bound(
    stack: ExitStack, site: Site, place: str, address: tuple[str, int], scope: int = 0
) -> socket.socket:
    """A UDP socket with an address of its own."""
    version = 6 if ":" in address[0] else 4
    made = stack.enter_context(open_socket(site.path(place), FAMILY[version], socket.SOCK_DGRAM))
    made.bind(address if version == 4 else (*address, 0, scope))
    made.settimeout(5)
    return made


def link_local(site: Site, place: str) -> str:
    """The link-local address of a place's eth0."""
    shown = site.inside(place, "ip", "-6", "-o", "address", "show", "dev", "eth0", "scope", "link")
    return shown.split("inet6 ")[1].split("/")[0]


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


# ---- other owners, and leaving


def test_a_filter_of_somebody_else_with_our_priority_stays_and_changes_nothing(here: Site) -> None:
    """t_other_tc_owner_same_prio."""
    program = classifier(TC_UNSPEC, "somebody_else")
    pin = here.pins.map("somebody_else")
    syscall.obj_pin(program, pin)
    os.close(program)
    here.inside("node", "tc", "qdisc", "add", "dev", "eth0", "clsact")
    theirs = ["tc", "filter", "add", "dev", "eth0", "ingress", "prio", "1", "handle", "1", "bpf", "da"]
    try:
        here.inside("node", *theirs, "pinned", str(pin))
        here.enforce(endpoint(), policy("some", ingress=[rule("Allow", **to_port(8056))]))
        here.expect(allowed=[Probe("peer", "node", 8056)], denied=[Probe("peer", "node", 8055)])
        here.enforce()
        shown = here.inside("node", "tc", "filter", "show", "dev", "eth0", "ingress")
        assert "somebody_else" in shown
        assert "autohep" not in shown
    finally:
        here.inside("node", "tc", "qdisc", "del", "dev", "eth0", "clsact")
        pin.unlink()


def test_uninstalling_leaves_nothing(here: Site) -> None:
    """t_uninstall_leaves_nothing."""
    bare = snapshot(here)
    state = here.directory / "state"
    untracked = policy("early", doNotTrack=True, applyOnForward=True, ingress=[rule("Deny", **to_port(8057))])
    here.enforce(endpoint(), untracked)
    attached = here.status()
    assert len(attached["interfaces"]) == 6
    assert attached["xdp"][0]["mode"] == "native"
    here.processes.stop("agent")
    try:
        here.expect(denied=[Probe("peer", "node", 8055)])
        here.inside("node", str(HEPCTL), "uninstall-node", "--instance", here.name, "--state-dir", str(state))
        here.expect(allowed=[Probe("peer", "node", 8055), Probe("node", "peer", 8055)])
        assert snapshot(here) == bare
        assert not here.pins.root.parent.exists()
        assert not state.exists()
    finally:
        here.start_agent("--xdp-interface", "eth0")


def snapshot(site: Site) -> str:
    """What programs could hang on: XDP, queueing disciplines, filters."""
    commands = [("ip", "-o", "link", "show"), ("tc", "qdisc", "show")]
    commands += [("tc", "filter", "show", "dev", "eth0", hook) for hook in ("ingress", "egress")]
    return "".join(site.inside("node", *command) for command in commands)
