"""What the program remembers: flows, their replies, and ICMP errors about them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pyagent import abi
from pyagent.abi import Direction, Reason
from pyagent.model.packet import Packet
from tests.support.frames import Wrapping, datagram, frame
from tests.support.kernel import Kernel
from tests.support.small_world import (
    POD,
    WORLD,
    WORLD6,
    endpoint,
    felix,
    outgoing,
    packet,
    policy,
    rule,
)

OUT = Direction.EGRESS
ALLOW, DENY, FLOW = Reason.POLICY_ALLOW, Reason.POLICY_DENY, Reason.FLOW
SYN, ACK, SYN_ACK, RST, FIN = 2, 16, 18, 20, 17
WORLDS = [WORLD, WORLD6]
IN_80 = policy(
    "in",
    rule(protocol="TCP", destination={"ports": [80]}),
    rule(protocol="UDP", destination={"ports": [80]}),
)
OUT_ALL = policy("out", egress=[rule()])


def back(what: Packet, **fields: Any) -> Packet:
    """The packet that answers."""
    return replace(
        what,
        source=what.destination,
        destination=what.source,
        source_port=what.destination_port,
        destination_port=what.source_port,
        **fields,
    )


# -- flows


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("protocol", ["TCP", "UDP", "SCTP", 253])
def test_replies_pass_by_the_flow_that_was_allowed_the_other_way(
    kernel: Kernel, world: str, protocol: str | int
) -> None:
    kernel.enforce(endpoint(), OUT_ALL)
    asked = outgoing(80, destination=world, protocol=protocol)
    reply = back(asked, tcp_flags=SYN_ACK)
    assert kernel.judge(reply) is DENY
    assert kernel.judge(asked, direction=OUT) is ALLOW
    assert kernel.judge(reply) is FLOW
    assert kernel.judge(replace(asked, tcp_flags=ACK), direction=OUT) is FLOW


@pytest.mark.parametrize("field", ["source", "destination", "source_port", "destination_port", "protocol"])
def test_a_flow_is_known_by_all_of_its_tuple(kernel: Kernel, field: str) -> None:
    kernel.enforce(endpoint(), OUT_ALL)
    for world in WORLDS:
        asked = outgoing(80, destination=world, protocol="UDP")
        assert kernel.judge(asked, direction=OUT) is ALLOW
        reply = back(asked)
        assert kernel.judge(reply) is FLOW
        other: Any = 132 if field == "protocol" else getattr(reply, field) ^ 1
        assert kernel.judge(replace(reply, **{field: other})) is not FLOW


def test_the_same_direction_again_is_no_reply(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), OUT_ALL)
    asked = outgoing(80, protocol="UDP")
    assert kernel.judge(asked, direction=OUT) is ALLOW
    assert kernel.judge(asked) is Reason.FORWARD_NONE
    assert kernel.judge(back(asked), direction=OUT, received="eth1") is Reason.FORWARD_NONE


def test_a_denied_packet_leaves_no_flow(kernel: Kernel) -> None:
    kernel.enforce(endpoint())
    assert kernel.judge(packet(80)) is DENY
    assert kernel.judge(back(packet(80), tcp_flags=SYN_ACK), direction=OUT) is DENY
    assert not len(kernel.dataplane.map("flows4"))


def test_an_allowed_flow_survives_a_policy_that_denies_it_but_a_new_syn_does_not(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), IN_80)
    opening, going_on = packet(80), packet(80, tcp_flags=ACK)
    assert kernel.judge(opening) is ALLOW
    kernel.enforce(endpoint(), keep=True)
    assert kernel.judge(going_on) is FLOW
    assert kernel.judge(back(opening, tcp_flags=ACK), direction=OUT) is FLOW
    assert kernel.judge(opening) is DENY
    assert kernel.judge(going_on) is FLOW
    assert kernel.judge(packet(80, source_port=40001, tcp_flags=ACK)) is DENY


def test_every_syn_is_judged_anew(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), IN_80)
    for flags, expected in (
        (SYN, ALLOW),
        (SYN, ALLOW),
        (SYN | 0xC0, ALLOW),  # with ECN
        (SYN_ACK, FLOW),
        (ACK, FLOW),
    ):
        assert kernel.judge(packet(80, tcp_flags=flags)) is expected


def test_a_forwarded_flow_is_remembered_only_where_policy_on_forwarding_applies(kernel: Kernel) -> None:
    asked = packet(80, destination=POD, protocol="UDP")
    kernel.enforce(endpoint())
    assert kernel.judge(asked) is Reason.FORWARD_NONE
    assert not len(kernel.dataplane.map("flows4"))
    denying = policy("p", rule(protocol="UDP"), egress=[rule("Deny")], applyOnForward=True)
    kernel.enforce(endpoint(), denying)
    assert kernel.judge(back(asked), direction=OUT, received="cali1") is Reason.FORWARD_DENY
    assert kernel.judge(asked) is Reason.FORWARD_ALLOW
    assert kernel.judge(back(asked), direction=OUT, received="cali1") is FLOW


def test_replies_to_a_masqueraded_pod_pass(kernel: Kernel) -> None:
    kernel.enforce(endpoint())
    masqueraded = outgoing(53, protocol="UDP")
    assert kernel.judge(back(masqueraded)) is DENY
    assert kernel.judge(masqueraded, direction=OUT, received="cali1") is Reason.FORWARD_NONE
    assert kernel.judge(back(masqueraded)) is FLOW


def test_replies_through_a_node_port_pass(kernel: Kernel) -> None:
    kernel.enforce(endpoint())
    asked = packet(30080)
    assert kernel.judge(back(asked, tcp_flags=SYN_ACK), direction=OUT) is DENY
    assert kernel.judge(asked) is Reason.FORWARD_NONE
    assert kernel.judge(back(asked, tcp_flags=SYN_ACK), direction=OUT) is FLOW


def test_each_endpoint_approves_the_openers_side_for_itself(kernel: Kernel) -> None:
    strict = endpoint("strict", interfaceName="eth1", labels={"role": "strict"})
    kernel.enforce(endpoint(labels={"role": "open"}), strict, policy("p", rule(), selector='role == "open"'))
    asked, going_on = packet(80), packet(80, tcp_flags=ACK)
    assert kernel.judge(asked, interface="eth0") is ALLOW
    assert kernel.judge(going_on, interface="eth0") is FLOW
    assert kernel.judge(going_on, interface="eth1") is DENY
    reply = back(asked, tcp_flags=SYN_ACK)
    assert kernel.judge(reply, interface="eth1", direction=OUT) is FLOW
    kernel.enforce(endpoint(), strict, policy("p", rule()), keep=True)
    assert kernel.judge(asked, interface="eth1") is ALLOW
    kernel.enforce(endpoint(), strict, keep=True)
    assert [kernel.judge(going_on, interface=name) for name in ("eth0", "eth1")] == [FLOW, FLOW]


@pytest.mark.parametrize(
    ("protocol", "before", "seconds"),
    [
        ("TCP", (), abi.IDLE_TCP_HANDSHAKE),
        ("TCP", (SYN_ACK,), abi.IDLE_TCP),
        ("TCP", (SYN_ACK, FIN), abi.IDLE_TCP),
        ("TCP", (SYN_ACK, RST), abi.IDLE_TCP_CLOSING),
        ("TCP", (SYN_ACK, FIN, -FIN), abi.IDLE_TCP_CLOSING),
        ("UDP", (), abi.IDLE_UDP),
        ("UDP", (0,), abi.IDLE_UDP_REPLIED),
        ("SCTP", (0,), abi.IDLE_OTHER),
        (47, (0,), abi.IDLE_OTHER),
    ],
)
@pytest.mark.parametrize("world", WORLDS)
def test_a_flow_that_was_idle_too_long_counts_no_more(
    kernel: Kernel, world: str, protocol: str | int, before: tuple[int, ...], seconds: int
) -> None:
    name = "flows4" if world == WORLD else "flows6"
    for idle, expected in ((seconds - 2, FLOW), (seconds + 2, DENY)):
        kernel.enforce(endpoint(), OUT_ALL)
        asked = outgoing(80, destination=world, protocol=protocol)
        assert kernel.judge(asked, direction=OUT) is ALLOW
        for flags in before:  # negative: by the opener
            direction = OUT if flags < 0 else Direction.INGRESS
            what = replace(asked if flags < 0 else back(asked), tcp_flags=abs(flags))
            assert kernel.judge(what, direction=direction) is FLOW
        assert kernel.age(name, idle) == 1
        assert kernel.judge(back(asked, tcp_flags=ACK)) is expected


def test_every_packet_keeps_its_flow_young(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), OUT_ALL)
    asked = outgoing(80, protocol="UDP")
    assert kernel.judge(asked, direction=OUT) is ALLOW
    for _ in range(4):
        assert kernel.age("flows4", abi.IDLE_UDP - 5) == 1
        assert kernel.judge(asked, direction=OUT) is FLOW
    assert kernel.judge(back(asked)) is FLOW


def test_a_new_connection_on_an_old_tuple_begins_a_new_life(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), OUT_ALL)
    asked = outgoing(80)
    assert kernel.judge(asked, direction=OUT) is ALLOW
    assert kernel.judge(back(asked, tcp_flags=RST)) is FLOW
    assert kernel.judge(asked, direction=OUT) is ALLOW
    assert kernel.age("flows4", abi.IDLE_TCP_CLOSING + 2) == 1
    assert kernel.judge(back(asked, tcp_flags=SYN_ACK)) is FLOW


def test_a_flow_counts_its_packets_and_bytes_and_who_opened_it(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), OUT_ALL, felix(failsafeOutboundHostPorts=[{"protocol": "UDP", "port": 53}]))
    asked, wrapping = outgoing(53, protocol="UDP"), Wrapping(payload=bytes(100))
    assert kernel.judge(asked, wrapping, direction=OUT) is Reason.FAILSAFE
    assert kernel.judge(back(asked)) is FLOW
    ((_, value),) = kernel.dataplane.map("flows4").items()
    _, packets, sizes, last, created, _, generation, opener, origin, state = abi.FLOW.unpack(value)
    assert (packets, sizes) == (2, len(frame(asked, wrapping)) + len(frame(asked)))
    assert (opener, origin, state) == (OUT, abi.FlowOrigin.FAILSAFE, abi.FLOW_REPLIED)
    assert generation == kernel.dataplane.generation
    assert 0 <= last - created < kernel.rate


# -- ICMP


@pytest.mark.parametrize(("version", "request_type", "reply_type"), [(4, 8, 0), (4, 13, 14), (6, 128, 129)])
def test_only_the_reply_of_an_echo_passes_and_only_with_its_identifier(
    kernel: Kernel, version: int, request_type: int, reply_type: int
) -> None:
    kernel.enforce(endpoint(), OUT_ALL)
    protocol, world = ("ICMP", WORLD) if version == 4 else ("ICMPv6", WORLD6)
    asked = outgoing(destination=world, protocol=protocol, icmp_type=request_type)
    mine, other = Wrapping(identifier=77), Wrapping(identifier=78)
    reply = back(asked, icmp_type=reply_type)
    assert kernel.judge(reply, mine) is DENY
    assert kernel.judge(asked, mine, direction=OUT) is ALLOW
    assert kernel.judge(reply, mine) is FLOW
    assert kernel.judge(reply, other) is DENY
    assert kernel.judge(back(asked), mine) is DENY  # the peer's own request
    assert kernel.judge(asked, mine, direction=OUT) is FLOW


def test_two_sides_may_ping_each_other_with_one_identifier(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), policy("p", rule(protocol="ICMP"), egress=[rule("Deny")]))
    theirs = packet(protocol="ICMP", icmp_type=8)
    assert kernel.judge(theirs) is ALLOW
    assert kernel.judge(back(theirs, icmp_type=0), direction=OUT) is FLOW
    assert kernel.judge(back(theirs), direction=OUT) is DENY


def test_an_echo_flow_ends_after_half_a_minute(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), OUT_ALL)
    asked = outgoing(protocol="ICMP", icmp_type=8)
    for idle, expected in ((abi.IDLE_ICMP - 2, FLOW), (abi.IDLE_ICMP + 2, DENY)):
        kernel.forget()
        assert kernel.judge(asked, direction=OUT) is ALLOW
        assert kernel.age("flows4", idle) == 1
        assert kernel.judge(back(asked, icmp_type=0)) is expected


def error_about(what: Packet, kind: int, code: int = 1, cut: int | None = None) -> tuple[Packet, Wrapping]:
    """The ICMP error that the other side sends about a packet, with as much of it as ``cut``."""
    protocol = 1 if what.version == 4 else 58
    inner = datagram(what, Wrapping(payload=bytes(8)))[:cut]
    return Packet(
        what.version, what.destination, what.source, protocol, icmp_type=kind, icmp_code=code
    ), Wrapping(payload=inner)


@pytest.mark.parametrize(
    ("world", "kinds", "others"), [(WORLD, (3, 11, 12), (4, 5, 10)), (WORLD6, (1, 2, 3, 4), (0, 5, 127))]
)
@pytest.mark.parametrize("protocol", ["TCP", "UDP", "SCTP", 253])
def test_an_error_about_an_allowed_flow_passes_and_about_none_does_not(
    kernel: Kernel, world: str, kinds: tuple[int, ...], others: tuple[int, ...], protocol: str | int
) -> None:
    kernel.enforce(endpoint(), OUT_ALL)
    asked = outgoing(80, destination=world, protocol=protocol)
    for kind in kinds:
        assert kernel.judge(*error_about(asked, kind)) is DENY
    assert kernel.judge(asked, direction=OUT) is ALLOW
    for kind in kinds:
        assert kernel.judge(*error_about(asked, kind)) is Reason.RELATED
    for kind in others:
        assert kernel.judge(*error_about(asked, kind)) is DENY


@pytest.mark.parametrize("world", WORLDS)
def test_the_hosts_own_errors_about_allowed_flows_leave(kernel: Kernel, world: str) -> None:
    kernel.enforce(endpoint(), IN_80, policy("none", egress=[rule("Deny")]))
    asked = packet(80, source=world, protocol="UDP")
    kind = 3 if world == WORLD else 1
    assert kernel.judge(*error_about(asked, kind), direction=OUT) is DENY
    assert kernel.judge(asked) is ALLOW
    assert kernel.judge(*error_about(asked, kind), direction=OUT) is Reason.RELATED
    assert kernel.judge(*error_about(replace(asked, source_port=1), kind), direction=OUT) is DENY


def test_an_error_about_an_echo_request_passes(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), OUT_ALL)
    asked = outgoing(protocol="ICMP", icmp_type=8)
    assert kernel.judge(*error_about(asked, 3)) is DENY
    assert kernel.judge(asked, direction=OUT) is ALLOW
    assert kernel.judge(*error_about(asked, 3)) is Reason.RELATED


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("direction", list(Direction))
def test_an_error_goes_to_whom_it_is_about_or_is_about_nothing(
    kernel: Kernel, world: str, direction: Direction
) -> None:
    into = direction is Direction.INGRESS
    kernel.enforce(endpoint(), *((OUT_ALL,) if into else (IN_80, policy("none", egress=[rule("Deny")]))))
    asked = (
        outgoing(80, destination=world, protocol="UDP") if into else packet(80, source=world, protocol="UDP")
    )
    opener = Direction.EGRESS if into else Direction.INGRESS
    assert kernel.judge(asked, direction=opener) is ALLOW
    error, wrapping = error_about(asked, 3 if world == WORLD else 1)
    assert kernel.judge(error, wrapping, direction=direction) is Reason.RELATED
    for bit in range(0, 32 if world == WORLD else 128, 9):
        stray = replace(error, destination=error.destination ^ 1 << bit)
        assert kernel.judge(stray, wrapping, direction=direction) is not Reason.RELATED, bit


@pytest.mark.parametrize("world", WORLDS)
def test_an_error_that_is_cut_off_within_its_ports_is_about_nothing(kernel: Kernel, world: str) -> None:
    kernel.enforce(endpoint(), OUT_ALL)
    asked = outgoing(80, destination=world, protocol="UDP")
    assert kernel.judge(asked, direction=OUT) is ALLOW
    kind, header = (3, 20) if world == WORLD else (1, 40)
    assert kernel.judge(*error_about(asked, kind, cut=header + 8)) is Reason.RELATED
    for cut in range(header + 8):
        assert kernel.judge(*error_about(asked, kind, cut=cut)) is DENY, cut


def test_an_error_about_a_later_fragment_or_an_impossible_header_is_about_nothing(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), OUT_ALL)
    asked = outgoing(80, protocol="UDP")
    assert kernel.judge(asked, direction=OUT) is ALLOW
    error, wrapping = error_about(asked, 3)
    inner = bytearray(wrapping.payload)
    assert kernel.judge(error, wrapping) is Reason.RELATED
    inner[7] = 1  # fragment offset
    assert kernel.judge(error, Wrapping(payload=bytes(inner))) is DENY
    inner[7], inner[0] = 0, 0x44
    assert kernel.judge(error, Wrapping(payload=bytes(inner))) is DENY
