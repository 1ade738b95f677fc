"""A packet's way through all tables of an image: each stage decides what it must, in its place."""

from __future__ import annotations

import pytest

from pyagent.abi import Direction, Reason, TableKind
from pyagent.calc import World, node_view
from pyagent.compiler import compile_image
from pyagent.compiler.pipeline import Pipeline
from tests.support.small_world import (
    FACTS,
    HOST,
    PEER,
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
    service_at,
)

ALLOW, DENY = rule(), rule("Deny")
UNTRACKED = policy("u", rule("Deny", protocol="SCTP"), egress=[DENY], doNotTrack=True, applyOnForward=True)
PREDNAT = policy("d", rule("Deny", protocol=47), rule(protocol=50), preDNAT=True, applyOnForward=True)
FORWARD = policy("f", rule(protocol="UDP"), egress=[DENY], applyOnForward=True, order=1)
LOCAL = policy("p", rule(protocol="UDP", destination={"ports": [80]}), order=2)
SCTP = policy("u", rule(protocol="SCTP"), doNotTrack=True, applyOnForward=True)
AWAY, OUT = {"destination": POD}, {"direction": Direction.EGRESS}


def pipeline(*resources):
    view = node_view(World.from_resources(resources), FACTS)
    return Pipeline(compile_image(view, 1), view, FACTS)


def judge(what, *resources, interface="eth0", direction=Direction.INGRESS, **question):
    return pipeline(*resources).judge(interface, direction, what, **question)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (packet(protocol="SCTP"), Reason.UNTRACKED_DENY),
        (packet(22), Reason.FAILSAFE),
        (packet(protocol=47), Reason.PREDNAT_DENY),
        (packet(protocol=50), Reason.PREDNAT_ALLOW),
        (packet(protocol="UDP", **AWAY), Reason.FORWARD_ALLOW),
        (packet(**AWAY), Reason.FORWARD_DENY),
        (packet(80, protocol="UDP"), Reason.POLICY_ALLOW),
        (packet(23), Reason.POLICY_DENY),
        (packet(30080), Reason.FORWARD_DENY),
        (packet(source=WORLD6, protocol=58, icmp_type=135), Reason.NEIGHBOUR),
        (packet(4789, source=PEER, protocol="UDP"), Reason.TUNNEL),
        (packet(source=PEER, protocol=4), Reason.TUNNEL),
    ],
)
def test_each_stage_decides_at_ingress(what, expected):
    judged = judge(what, endpoint(), peer(), UNTRACKED, PREDNAT, FORWARD, LOCAL)
    assert judged.reason is expected
    assert judged.allowed is (expected < 32)


def test_untracked_policy_spares_failsafes_their_replies_and_pods():
    denied = judge(outgoing(), endpoint(), UNTRACKED, **OUT)
    assert (denied.reason, denied.walked[-1][0]) == (Reason.UNTRACKED_DENY, TableKind.UNTRACKED_EGRESS)
    assert judge(outgoing(53, protocol="UDP"), endpoint(), UNTRACKED, **OUT).reason is Reason.FAILSAFE
    assert judge(outgoing(9, source_port=22), endpoint(), UNTRACKED, **OUT).reason is Reason.POLICY_DENY
    to_pod = outgoing(destination=POD)
    assert judge(to_pod, endpoint(), UNTRACKED, interface="cali1", **OUT).reason is Reason.OWN_POD


def test_a_known_flow_passes_but_for_a_pure_syn_and_untracked_policy():
    data, syn = packet(tcp_flags=16), packet(tcp_flags=2)
    assert judge(data, endpoint(), known=Reason.FLOW).reason is Reason.FLOW
    assert judge(syn, endpoint(), known=Reason.FLOW).reason is Reason.POLICY_DENY
    untracked = packet(protocol="SCTP")
    assert judge(untracked, endpoint(), UNTRACKED, known=Reason.FLOW).reason is Reason.UNTRACKED_DENY
    assert judge(untracked, endpoint(), SCTP, known=Reason.FLOW).reason is Reason.UNTRACKED_ALLOW


def test_egress_of_received_packets_is_forwarded():
    local, passed_on = (
        judge(outgoing(), endpoint(), FORWARD, received=received, **OUT) for received in (0, 1)
    )
    assert (local.reason, passed_on.reason) == (Reason.POLICY_DENY, Reason.FORWARD_DENY)
    assert judge(outgoing(), endpoint(), received=True, **OUT).reason is Reason.FORWARD_NONE


@pytest.mark.parametrize(
    ("action", "expected"),
    [("Accept", Reason.POD_ACCEPT), ("Drop", Reason.POD_DROP), ("Return", Reason.POLICY_DENY)],
)
def test_pod_to_its_host_obeys_the_configured_action(action, expected):
    configured = felix(defaultEndpointToHostAction=action)
    from_pod = packet(source=POD)
    assert judge(from_pod, endpoint(), configured, interface="cali1").reason is expected
    assert judge(from_pod, endpoint(), configured).reason is Reason.POLICY_DENY


def test_interfaces_are_found_by_name_by_wildcard_or_not_at_all():
    named = endpoint("eth0-hep", interfaceName="eth0")
    assert judge(packet(), named).reason is Reason.POLICY_DENY
    assert judge(packet(), named, interface="eth1").reason is Reason.NO_ENDPOINT
    assert judge(packet(), named, interface="new0").reason is Reason.NO_ENDPOINT
    assert judge(packet(), endpoint(), interface="new0").reason is Reason.POLICY_DENY
    assert judge(packet(), endpoint(), felix(interfaceExclude=["eth0"])).reason is Reason.EXCLUDED


def test_failsafe_networks_limit_who_may_come():
    limited = felix(failsafeInboundHostPorts=[{"protocol": "TCP", "port": 22, "net": "198.51.100.0/24"}])
    assert judge(packet(22, source=WORLD), endpoint(), limited).reason is Reason.FAILSAFE
    assert judge(packet(22, source="198.51.101.7"), endpoint(), limited).reason is Reason.POLICY_DENY
    assert judge(packet(22, source=WORLD6), endpoint(), limited).reason is Reason.POLICY_DENY


def test_a_services_address_is_forwarded_at_its_own_ports_only():
    outside = service_at(HOST, WORLD, port=8080)
    reasons = {
        (address, port): judge(packet(port, destination=address), endpoint(), outside).reason
        for address in (HOST, "192.0.2.1")
        for port in (8080, 8081)
    }
    assert reasons.pop((HOST, 8080)) is Reason.FORWARD_NONE
    assert set(reasons.values()) == {Reason.POLICY_DENY}
    assert judge(packet(8080, protocol="UDP"), endpoint(), outside).reason is Reason.POLICY_DENY
    denied = policy("f", rule("Deny"), applyOnForward=True)
    assert judge(packet(8080), endpoint(), outside, denied).reason is Reason.FORWARD_DENY


def test_node_ports_of_every_protocol_are_forwarded():
    ports = felix(nodePorts=["9000"])
    for protocol in ("TCP", "UDP", "SCTP"):
        assert judge(packet(9000, protocol=protocol), endpoint(), ports).reason is Reason.FORWARD_NONE
        assert judge(packet(9001, protocol=protocol), endpoint(), ports).reason is Reason.POLICY_DENY


def test_the_deciding_rule_is_the_last_table_s():
    judged = judge(packet(80, protocol="UDP"), endpoint(), PREDNAT, LOCAL)
    assert [kind for kind, _ in judged.walked] == [TableKind.PREDNAT, TableKind.LOCAL_INGRESS]
    assert judged.rule == judged.walked[-1][1].rule != 0
    assert judge(packet(22), endpoint(), LOCAL).rule == 0
