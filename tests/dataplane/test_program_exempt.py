"""What passes before any policy is asked: neighbour discovery, tunnels between nodes, failsafe ports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pyagent import abi
from pyagent.abi import Direction, Reason
from tests.support.kernel import Kernel
from tests.support.small_world import (
    HOST,
    HOST6,
    PEER,
    PEER6,
    POD,
    WORLD,
    WORLD6,
    endpoint,
    felix,
    outgoing,
    packet,
    peer,
    policy,
    rule,
)

OUT = Direction.EGRESS
DENY = Reason.POLICY_DENY
STRANGER = "203.0.113.9"
NOBODY = "0.0.0.0"


@pytest.mark.parametrize("kind", [*range(130, 138), 143])
def test_neighbour_discovery_and_multicast_listeners_pass_a_host_that_denies_all(
    kernel: Kernel, kind: int
) -> None:
    kernel.enforce(endpoint())
    for what, direction in (
        (packet(source=WORLD6, protocol="ICMPv6", icmp_type=kind), Direction.INGRESS),
        (outgoing(destination="ff02::1", protocol="ICMPv6", icmp_type=kind), OUT),
    ):
        assert kernel.judge(what, direction=direction) is Reason.NEIGHBOUR


@pytest.mark.parametrize("kind", [1, 2, 4, 127, 128, 129, 138, 142, 144, 255])
def test_other_icmpv6_meets_policy(kernel: Kernel, kind: int) -> None:
    kernel.enforce(endpoint())
    assert kernel.judge(packet(source=WORLD6, protocol="ICMPv6", icmp_type=kind)) is DENY


def test_neighbour_discovery_exists_in_ipv6_only(kernel: Kernel) -> None:
    kernel.enforce(endpoint())
    assert kernel.judge(packet(source=WORLD, protocol="ICMPv6", icmp_type=135)) is DENY
    assert kernel.judge(packet(source=WORLD6, protocol="ICMP", icmp_type=135)) is DENY
    assert kernel.judge(packet(source=WORLD6, protocol="ICMPv6", icmp_type=135)) is Reason.NEIGHBOUR


def test_dhcp_passes_as_a_failsafe_in_both_families(kernel: Kernel) -> None:
    kernel.enforce(endpoint())
    four = packet(68, source=NOBODY, destination="255.255.255.255", protocol="UDP", source_port=67)
    six = packet(546, source="fe80::2", destination=HOST6, protocol="UDP", source_port=547)
    assert [kernel.judge(four), kernel.judge(six)] == [Reason.FAILSAFE] * 2
    assert kernel.judge(replace(four, destination_port=69)) is DENY


@pytest.mark.parametrize(
    ("source", "expected"),
    [(PEER, Reason.TUNNEL), (STRANGER, DENY), ("10.0.0.3", DENY)],
    ids=["a known node", "a stranger", "a neighbour of a node"],
)
@pytest.mark.parametrize(
    "detail", [{"destination_port": 4789, "protocol": "UDP"}, {"protocol": 4}], ids=["VXLAN", "IPIP"]
)
@pytest.mark.parametrize("own", [HOST, "192.0.2.1"], ids=["node address", "another own address"])
def test_tunnels_pass_between_known_nodes_and_for_nobody_else(
    kernel: Kernel, source: str, expected: Reason, detail: dict[str, Any], own: str
) -> None:
    kernel.enforce(endpoint(), peer())
    assert kernel.judge(packet(source=source, destination=own, **detail)) is expected
    out = outgoing(destination=source, source=own, **detail)
    kernel.forget()
    assert kernel.judge(out, direction=OUT) is expected


def test_a_tunnels_port_is_exempt_and_no_other(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), peer())
    assert kernel.judge(packet(4789, source=PEER, protocol="UDP")) is Reason.TUNNEL
    assert kernel.judge(packet(4790, source=PEER, protocol="UDP")) is DENY
    assert kernel.judge(packet(4789, source=PEER, protocol="TCP")) is DENY
    assert kernel.judge(packet(4789, source=PEER6, destination=HOST6, protocol="UDP")) is Reason.TUNNEL
    assert kernel.judge(packet(4789, source=PEER, destination=POD, protocol="UDP")) is Reason.FORWARD_NONE


# -- failsafes


def test_failsafe_ports_are_open_in_the_direction_of_their_connection(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), policy("p", rule("Deny"), egress=[rule("Deny")]))
    assert kernel.judge(packet(22)) is Reason.FAILSAFE
    assert kernel.judge(packet(22, source=WORLD6)) is Reason.FAILSAFE
    assert kernel.judge(outgoing(53, protocol="UDP"), direction=OUT) is Reason.FAILSAFE
    assert kernel.judge(packet(23)) is DENY
    assert kernel.judge(packet(22, protocol="UDP")) is DENY
    assert kernel.judge(outgoing(22), direction=OUT) is DENY
    assert kernel.judge(packet(53, protocol="UDP")) is DENY


@pytest.mark.parametrize("protocol", ["TCP", "UDP", "SCTP"])
def test_a_failsafe_with_a_network_is_open_to_that_network_only(kernel: Kernel, protocol: str) -> None:
    nets = ("10.0.0.0/24", "10.9.9.9/32", "fd00::/64")
    given = [{"protocol": protocol, "port": 2222, "net": net} for net in nets]
    kernel.enforce(endpoint(), felix(failsafeInboundHostPorts=given, failsafeOutboundHostPorts=given))
    for address, expected in (
        ("10.0.0.0", Reason.FAILSAFE),
        ("10.0.0.255", Reason.FAILSAFE),
        ("10.9.9.9", Reason.FAILSAFE),
        ("fd00::ffff", Reason.FAILSAFE),
        ("10.0.1.0", DENY),
        ("10.9.9.8", DENY),
        ("fd00:0:0:1::", DENY),
    ):
        what = packet(2222, source=address, protocol=protocol)
        assert kernel.judge(what) is expected, address
        if address != "10.0.0.255":  # its own broadcast address: nothing leaves from or to it
            there = outgoing(2222, destination=address, protocol=protocol)
            kernel.forget()
            assert kernel.judge(there, direction=OUT) is expected, address
        assert kernel.judge(replace(what, destination_port=2223)) is DENY


def test_an_empty_list_of_failsafes_opens_nothing(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), felix(failsafeInboundHostPorts=[]))
    assert kernel.judge(packet(22)) is DENY


def test_failsafes_at_both_ends_of_the_port_space(kernel: Kernel) -> None:
    given = [{"protocol": "TCP", "port": 0}, {"protocol": "SCTP", "port": 65535}]
    kernel.enforce(endpoint(), felix(failsafeInboundHostPorts=given, failsafeOutboundHostPorts=[]))
    assert kernel.judge(packet(0)) is Reason.FAILSAFE
    assert kernel.judge(packet(65535, protocol="SCTP")) is Reason.FAILSAFE
    assert kernel.judge(packet(65535)) is DENY
    assert kernel.judge(packet(0, protocol="SCTP")) is DENY
    assert kernel.judge(outgoing(65535, protocol="SCTP"), direction=OUT) is DENY


def test_a_failsafe_beats_every_deny(kernel: Kernel) -> None:
    for stage in ({}, {"preDNAT": True}, {"doNotTrack": True}):
        denying = policy("p", rule("Deny"), applyOnForward=bool(stage), types=["Ingress"], **stage)
        kernel.enforce(endpoint(), denying)
        assert kernel.judge(packet(22)) is Reason.FAILSAFE, stage
        assert not kernel.judge(packet(23)) < abi.REASON_DROPPED, stage
