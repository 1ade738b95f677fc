"""Datagrams in fragments: the first is judged in full, the others follow it, in whatever order they come."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyagent import abi
from pyagent.abi import Direction, Reason
from pyagent.model.packet import Packet
from tests.support.frames import DESTINATION, HOP_BY_HOP, VLAN, Part, Wrapping, frame
from tests.support.kernel import Kernel
from tests.support.small_world import WORLD, WORLD6, endpoint, felix, outgoing, packet, policy, rule

OUT = Direction.EGRESS
ALLOW, DENY, FLOW = Reason.POLICY_ALLOW, Reason.POLICY_DENY, Reason.FLOW
WORLDS = [WORLD, WORLD6]
IN_80 = policy(
    "in",
    rule(protocol="TCP", destination={"ports": [80]}),
    rule(protocol="UDP", destination={"ports": [80]}),
)
OUT_ALL = policy("out", egress=[rule()])


def back(what: Packet) -> Packet:
    """The packet that answers."""
    return replace(
        what,
        source=what.destination,
        destination=what.source,
        source_port=what.destination_port,
        destination_port=what.source_port,
    )


def later_fragment(what: Packet) -> Packet:
    return replace(what, fragment=True, source_port=0, destination_port=0)


FIRST = Wrapping(part=Part.FIRST, payload=bytes(1000))


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_later_fragments_follow_their_first(kernel: Kernel, world: str, protocol: str) -> None:
    kernel.enforce(endpoint(), IN_80)
    allowed, refused = (packet(port, source=world, protocol=protocol) for port in (80, 81))
    assert kernel.judge(refused, replace(FIRST, fragment_id=1)) is DENY
    assert kernel.judge(allowed, replace(FIRST, fragment_id=2)) is ALLOW
    later = later_fragment(allowed)
    assert kernel.judge(later, Wrapping(fragment_id=1)) is Reason.FRAGMENT_DENY
    assert kernel.judge(later, Wrapping(fragment_id=2)) is Reason.FRAGMENT
    assert kernel.judge(later, Wrapping(fragment_id=2, tags=(VLAN,))) is Reason.FRAGMENT


@pytest.mark.parametrize("world", WORLDS)
def test_a_fragment_before_its_first_gets_the_best_that_its_datagram_might_get(
    kernel: Kernel, world: str
) -> None:
    kernel.enforce(endpoint(), IN_80)
    later = later_fragment(packet(source=world, protocol="UDP"))
    assert kernel.judge(later) is ALLOW
    assert kernel.judge(replace(later, protocol=132)) is DENY
    kernel.enforce(endpoint(), policy("p", rule("Deny", source={"nets": [world]}), rule()))
    assert kernel.judge(later) is DENY
    assert kernel.judge(replace(later, source=later.source ^ 1)) is ALLOW


@pytest.mark.parametrize("world", WORLDS)
def test_a_fragment_is_known_by_addresses_identification_and_place(kernel: Kernel, world: str) -> None:
    kernel.enforce(endpoint(), policy("p", rule("Deny", protocol="UDP", destination={"ports": [81]}), rule()))
    refused = packet(81, source=world, protocol="UDP")
    assert kernel.judge(refused, FIRST) is DENY
    later = later_fragment(refused)
    assert kernel.judge(later) is Reason.FRAGMENT_DENY
    assert kernel.judge(later, Wrapping(fragment_id=9)) is ALLOW
    assert kernel.judge(replace(later, source=later.source ^ 1)) is ALLOW
    assert kernel.judge(later, interface="eth1") is ALLOW


def test_an_ipv6_fragment_is_known_whatever_its_next_header_says(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), IN_80)
    allowed = packet(80, source=WORLD6, protocol="UDP")
    first = replace(FIRST, extensions=((HOP_BY_HOP, 0),))
    assert kernel.judge(allowed, first) is ALLOW
    for protocol in (17, DESTINATION, 132):
        assert kernel.judge(replace(later_fragment(allowed), protocol=protocol)) is Reason.FRAGMENT


def test_an_ipv4_fragment_of_another_protocol_belongs_to_another_datagram(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), IN_80)
    allowed = packet(80, protocol="UDP")
    assert kernel.judge(allowed, FIRST) is ALLOW
    assert kernel.judge(replace(later_fragment(allowed), protocol=132)) is DENY


def test_a_first_fragment_is_forgotten_after_half_a_minute(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), IN_80)
    for idle, expected in ((abi.IDLE_FRAGMENT - 2, Reason.FRAGMENT), (abi.IDLE_FRAGMENT + 2, ALLOW)):
        kernel.forget()
        assert kernel.judge(packet(80, protocol="UDP"), FIRST) is ALLOW
        assert kernel.age("fragments", idle) == 1
        assert kernel.judge(later_fragment(packet(80, protocol="UDP"))) is expected


def test_a_first_fragment_too_short_for_its_ports_is_dropped_and_not_remembered(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), policy("p", rule("Deny", protocol="UDP")))
    for cut in range(8):
        tiny = Packet(4, packet().source, packet().destination, 17, fragment=True)
        whole = bytearray(frame(tiny, Wrapping(payload=bytes(cut))))
        whole[20:22] = b"\x20\x00"  # more fragments, offset 0
        assert kernel.run(bytes(whole)).reason is Reason.SHORT
    assert not len(kernel.dataplane.map("fragments"))


def test_a_fragment_of_an_established_flow_is_remembered_too(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), OUT_ALL)
    asked = outgoing(80, protocol="UDP")
    assert kernel.judge(asked, direction=OUT) is ALLOW
    later = later_fragment(back(asked))
    assert kernel.judge(later) is DENY
    assert kernel.judge(back(asked), FIRST) is FLOW
    assert kernel.judge(later) is Reason.FRAGMENT


def test_later_fragments_never_meet_failsafes_node_ports_or_neighbours(kernel: Kernel) -> None:
    everything = [{"protocol": "UDP", "port": 0}]
    kernel.enforce(endpoint(), felix(failsafeInboundHostPorts=everything, nodePorts=["0"]))
    assert kernel.judge(later_fragment(packet(protocol="UDP"))) is DENY
    neighbour = Packet(6, packet(source=WORLD6).source, packet(source=WORLD6).destination, 58, fragment=True)
    assert kernel.judge(neighbour, Wrapping(payload=bytes([135]) + bytes(30))) is DENY
