"""From bytes to a packet: what the program sees through, what it leaves alone, what it drops as broken."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import ip_address

import pytest

from pyagent.abi import Direction, Reason
from pyagent.model.packet import Packet
from tests.support.frames import (
    DESTINATION,
    FRAGMENT,
    HOP_BY_HOP,
    PLAIN,
    QINQ,
    QINQ_OLD,
    ROUTING,
    VLAN,
    Part,
    Wrapping,
    datagram,
    ethernet,
    frame,
)
from tests.support.kernel import Kernel
from tests.support.small_world import WORLD6, endpoint, packet, policy, rule

ALLOW, DENY = Reason.POLICY_ALLOW, Reason.POLICY_DENY
WEB = policy(
    "web",
    rule(protocol="TCP", destination={"ports": [80]}),
    rule(protocol="UDP", destination={"ports": [80]}),
    rule(protocol="SCTP", destination={"ports": [80]}),
    rule(protocol="ICMP", icmp={"type": 8}),
    rule(protocol="ICMPv6", icmp={"type": 128}),
)
#: One packet of each kind that WEB allows.
OPEN = {
    "tcp": packet(80),
    "udp": packet(80, protocol="UDP"),
    "sctp": packet(80, protocol="SCTP"),
    "icmp": packet(protocol="ICMP", icmp_type=8),
    "tcp6": packet(80, source=WORLD6),
    "udp6": packet(80, source=WORLD6, protocol="UDP"),
    "icmpv6": packet(source=WORLD6, protocol="ICMPv6", icmp_type=128),
}
ANY = {
    "one VLAN tag": Wrapping(tags=(VLAN,)),
    "QinQ": Wrapping(tags=(QINQ, VLAN)),
    "QinQ of old": Wrapping(tags=(QINQ_OLD, VLAN)),
    "two VLAN tags": Wrapping(tags=(VLAN, VLAN)),
    "a payload": Wrapping(payload=bytes(900)),
    "padding": Wrapping(padding=18),
}
IPV4_ONLY = {
    "one option": Wrapping(options=4),
    "all options": Wrapping(options=40),
    "a first fragment": Wrapping(part=Part.FIRST),
    "options behind a tag": Wrapping(tags=(VLAN,), options=12),
}
IPV6_ONLY = {
    "hop-by-hop options": Wrapping(extensions=((HOP_BY_HOP, 0),)),
    "a routing header": Wrapping(extensions=((ROUTING, 2),)),
    "destination options": Wrapping(extensions=((DESTINATION, 1),)),
    "an atomic fragment": Wrapping(part=Part.ATOMIC),
    "a first fragment": Wrapping(part=Part.FIRST),
    "a fragment behind options": Wrapping(extensions=((HOP_BY_HOP, 0),), part=Part.FIRST),
    "eight extension headers": Wrapping(extensions=((DESTINATION, 0),) * 8),
    "headers before and behind an atomic one": Wrapping(
        extensions=((HOP_BY_HOP, 0), (FRAGMENT, 0), (DESTINATION, 3))
    ),
}


@pytest.fixture(autouse=True)
def web_is_open(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), WEB)


@pytest.mark.parametrize("name", OPEN)
def test_a_plain_packet_passes_if_and_only_if_policy_allows_it(kernel: Kernel, name: str) -> None:
    allowed = OPEN[name]
    assert kernel.judge(allowed) is ALLOW
    assert kernel.judge(_refused(allowed)) is DENY


@pytest.mark.parametrize("wrapping", [*ANY.values(), *IPV4_ONLY.values()], ids=[*ANY, *IPV4_ONLY])
def test_ipv4_is_judged_the_same_however_it_travels(kernel: Kernel, wrapping: Wrapping) -> None:
    for allowed in (each for each in OPEN.values() if each.version == 4):
        assert kernel.judge(allowed, wrapping) in {ALLOW, Reason.FLOW}
        kernel.forget()
        assert kernel.judge(_refused(allowed), wrapping) is DENY


@pytest.mark.parametrize("wrapping", [*ANY.values(), *IPV6_ONLY.values()], ids=[*ANY, *IPV6_ONLY])
def test_ipv6_is_judged_the_same_however_it_travels(kernel: Kernel, wrapping: Wrapping) -> None:
    for allowed in (each for each in OPEN.values() if each.version == 6):
        assert kernel.judge(allowed, wrapping) in {ALLOW, Reason.FLOW}
        kernel.forget()
        assert kernel.judge(_refused(allowed), wrapping) is DENY


def test_a_ninth_extension_header_is_too_much(kernel: Kernel) -> None:
    for extension in (DESTINATION, FRAGMENT):
        eight = Wrapping(extensions=((extension, 0),) * 8)
        assert kernel.judge(OPEN["udp6"], eight) in {ALLOW, Reason.FLOW}
        nine = Wrapping(extensions=((extension, 0),) * 9)
        assert kernel.judge(OPEN["udp6"], nine) is Reason.EXTENSIONS


def test_extension_headers_may_not_push_the_ports_beyond_a_kilobyte(kernel: Kernel) -> None:
    for units, expected in ((114, ALLOW), (115, Reason.EXTENSIONS)):
        far = Wrapping(extensions=((DESTINATION, 5), (DESTINATION, units)))
        assert kernel.judge(OPEN["tcp6"], far) is expected
    assert kernel.judge(OPEN["tcp6"], Wrapping(extensions=((DESTINATION, 118),) * 2)) is Reason.EXTENSIONS


def test_a_third_vlan_tag_is_too_much(kernel: Kernel) -> None:
    assert kernel.judge(OPEN["tcp"], Wrapping(tags=(VLAN, VLAN))) is ALLOW
    for third in (VLAN, QINQ, QINQ_OLD):
        assert kernel.judge(OPEN["tcp"], Wrapping(tags=(QINQ, VLAN, third))) is Reason.VLAN


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize(
    "wrapping",
    [Wrapping(tags=(VLAN,)), Wrapping(tags=(QINQ, VLAN))],
    ids=["one tag", "two tags"],
)
def test_a_frame_cut_off_anywhere_is_dropped_as_short(kernel: Kernel, name: str, wrapping: Wrapping) -> None:
    # Behind a tag, for the kernel itself refuses to run a program on a frame without a whole IP header.
    whole = frame(OPEN[name], wrapping)
    assert kernel.run(whole).reason is ALLOW
    for length in range(14, len(whole)):
        assert kernel.run(whole[:length]).reason is Reason.SHORT, f"{length} of {len(whole)} bytes"


@pytest.mark.parametrize(
    ("name", "wrapping"),
    [
        ("udp", Wrapping(tags=(VLAN,), options=16)),
        ("udp6", Wrapping(tags=(VLAN,), extensions=((HOP_BY_HOP, 1), (ROUTING, 0), (FRAGMENT, 0)))),
        ("tcp6", Wrapping(tags=(VLAN,), part=Part.FIRST)),
    ],
    ids=["options", "extension headers", "a fragment header"],
)
def test_what_stands_between_ip_and_the_ports_can_be_cut_off_nowhere(
    kernel: Kernel, name: str, wrapping: Wrapping
) -> None:
    whole = frame(OPEN[name], wrapping)
    assert kernel.run(whole).reason is ALLOW
    for length in range(14, len(whole)):
        assert kernel.run(whole[:length]).reason is Reason.SHORT, f"{length} of {len(whole)} bytes"


@pytest.mark.parametrize("name", OPEN)
def test_an_ip_packet_that_ends_within_its_ports_is_short_though_the_frame_goes_on(
    kernel: Kernel, name: str
) -> None:
    needed = {6: 20, 17: 8, 132: 12, 1: 8, 58: 8}[OPEN[name].protocol]
    assert kernel.run(_with_l4_length(OPEN[name], needed)).reason is ALLOW
    for length in range(1, needed):
        assert kernel.run(_with_l4_length(OPEN[name], length)).reason is Reason.SHORT


def test_an_extension_header_longer_than_its_packet_is_short(kernel: Kernel) -> None:
    for number in (HOP_BY_HOP, ROUTING, DESTINATION):
        whole = frame(OPEN["udp6"], Wrapping(extensions=((number, 0),)))
        assert kernel.run(whole).reason in {ALLOW, Reason.FLOW}
        assert kernel.run(_patched(whole, 14 + 40 + 1, 200)).reason is Reason.SHORT


@pytest.mark.parametrize(
    ("what", "at", "value"),
    [
        ("another version", 14, 0x55),
        ("version 6 in an IPv4 frame", 14, 0x65),
        ("a header of 16 bytes", 14, 0x44),
        ("a header of no bytes", 14, 0x40),
        ("a length below the header's", 17, 19),
        ("a TCP header of 16 bytes", 14 + 20 + 12, 0x40),
    ],
)
def test_an_impossible_ipv4_packet_is_dropped_as_malformed(
    kernel: Kernel, what: str, at: int, value: int
) -> None:
    whole = frame(OPEN["tcp"])
    assert kernel.run(whole).reason is ALLOW
    assert kernel.run(_patched(whole, at, value)).reason is Reason.MALFORMED, what


def test_another_version_in_an_ipv6_frame_is_malformed(kernel: Kernel) -> None:
    whole = frame(OPEN["tcp6"])
    assert kernel.run(whole).reason is ALLOW
    for version in (0x00, 0x40, 0x70):
        assert kernel.run(_patched(whole, 14, version)).reason is Reason.MALFORMED


def test_options_that_would_reach_beyond_the_packet_are_malformed(kernel: Kernel) -> None:
    # 60 bytes of header are claimed of a packet of 40.
    assert kernel.run(_patched(frame(OPEN["tcp"]), 14, 0x4F)).reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("what", "ethertype"),
    [("ARP", 0x0806), ("LLDP", 0x88CC), ("EAPOL", 0x888E), ("MPLS", 0x8847), ("an unknown type", 0x9999)],
)
def test_what_is_not_ip_passes(kernel: Kernel, what: str, ethertype: int) -> None:
    assert kernel.run(ethernet(ethertype, bytes(46))).reason is Reason.NON_IP, what
    assert kernel.run(ethernet(ethertype, bytes(46), tags=(VLAN,))).reason is Reason.NON_IP, what
    assert kernel.run(ethernet(ethertype, bytes(46)), direction=Direction.EGRESS).reason is Reason.NON_IP


def test_llc_frames_such_as_spanning_tree_pass(kernel: Kernel) -> None:
    assert kernel.run(ethernet(38, bytes.fromhex("424203") + bytes(43))).reason is Reason.NON_IP


def test_ip_is_never_taken_for_something_else(kernel: Kernel) -> None:
    for refused in (_refused(OPEN["tcp"]), _refused(OPEN["tcp6"])):
        assert kernel.judge(refused, Wrapping(tags=(QINQ, VLAN))) is DENY


def test_a_length_of_zero_means_all_of_a_segmented_super_packet(kernel: Kernel) -> None:
    for name, at in (("tcp", 16), ("tcp6", 18)):
        zero = _patched(_patched(frame(OPEN[name]), at, 0), at + 1, 0)
        assert kernel.run(zero).reason in {ALLOW, Reason.FLOW}
        refused = _patched(_patched(frame(_refused(OPEN[name])), at, 0), at + 1, 0)
        assert kernel.run(refused).reason is DENY


@pytest.mark.parametrize("direction", Direction)
def test_devices_without_ethernet_header_are_judged_alike(kernel: Kernel, direction: Direction) -> None:
    # Test runs read the type where Ethernet has it, which here is within the source address.
    kernel.enforce(endpoint(), WEB, policy("out", egress=[rule(protocol="TCP", destination={"ports": [80]})]))
    for source in ("8.0.0.5", "2001:db8:86dd::5"):
        start = ip_address(source)
        allowed = replace(OPEN["tcp" if start.version == 4 else "tcp6"], source=int(start))
        if direction is Direction.EGRESS:
            allowed = replace(allowed, destination=allowed.destination + 1)
        judged = [
            kernel.run(datagram(each), "wg0", direction, layer3=True).reason
            for each in (allowed, _refused(allowed))
        ]
        local = direction is Direction.INGRESS
        assert judged == ([ALLOW, DENY] if local else [Reason.FORWARD_NONE, Reason.FORWARD_NONE])


def test_what_is_not_ip_passes_devices_without_ethernet_header_too(kernel: Kernel) -> None:
    arp = bytes(12) + struct.pack(">H", 0x0806) + bytes(40)
    assert kernel.run(arp, "wg0", layer3=True).reason is Reason.NON_IP


def _refused(allowed: Packet) -> Packet:
    """A packet of the same kind that WEB does not allow."""
    if allowed.protocol in (1, 58):
        return replace(allowed, icmp_type=17 if allowed.protocol == 1 else 139)
    return replace(allowed, destination_port=81)


def _patched(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


def _with_l4_length(what: Packet, length: int) -> bytes:
    """The whole frame, whose IP header claims ``length`` bytes behind it."""
    whole = frame(what, PLAIN)
    at, header = (16, 20) if what.version == 4 else (18, 0)
    return whole[:at] + struct.pack(">H", header + length) + whole[at + 2 :]
