"""The stages in their order, from the endpoint of an interface to local policy."""

from __future__ import annotations

import pytest

from pyagent.reference import FlowState
from tests.support.small_world import (
    HOST,
    PEER,
    PEER6,
    POD,
    WORLD,
    WORLD6,
    endpoint,
    felix,
    judge,
    judge_out,
    outgoing,
    packet,
    peer,
    policy,
    resource,
    rule,
)

ALLOW, DENY = rule(), rule("Deny")
AUTO = endpoint(profiles=["projectcalico-default-allow"])
UNTRACKED = {"doNotTrack": True, "applyOnForward": True}
PREDNAT = {"preDNAT": True, "applyOnForward": True, "types": ["Ingress"]}
FORWARD = {"applyOnForward": True}
NODE_PORT = packet(30080)
THROUGH = packet(destination=POD)


def reason(decision):
    return decision.reason.name


# -- endpoints and interfaces


def test_an_interface_without_endpoint_is_untouched():
    assert reason(judge(packet())) == "NO_ENDPOINT"
    assert reason(judge(packet(), endpoint(node="n2"))) == "NO_ENDPOINT"
    assert reason(judge(packet(), endpoint())) == "POLICY_DENY"


def test_a_named_endpoint_covers_its_interface_only_and_beats_the_wildcard_there():
    named = endpoint("eth0-hep", interfaceName="eth0", profiles=["projectcalico-default-allow"])
    assert judge(packet(), named, endpoint()).endpoint == "eth0-hep"
    assert judge(packet(), named, endpoint(), interface="eth1").endpoint == "n1-auto-hep"
    assert judge(packet(), named, interface="eth1").endpoint is None


def test_an_unnamed_endpoint_covers_the_interface_with_one_of_its_addresses():
    unnamed = endpoint("by-ip", interfaceName="", expectedIPs=["203.0.113.9", HOST])
    assert judge(packet(), unnamed).endpoint == "by-ip"
    assert judge(packet(), unnamed, interface="eth1").endpoint is None
    by_other_spelling = endpoint("by-ip6", interfaceName="", expectedIPs=["fd00:0:0::0001"])
    assert judge(packet(), by_other_spelling).endpoint == "by-ip6"


def test_an_endpoint_named_for_another_interface_is_never_chosen_by_address():
    assert judge(packet(), endpoint("other", interfaceName="eth9")).endpoint is None


def test_of_several_endpoints_the_first_name_is_in_force():
    by_name = endpoint("b", interfaceName="eth0")
    by_address = endpoint("a", interfaceName="", expectedIPs=[HOST])
    assert judge(packet(), by_name, by_address).endpoint == "a"
    assert judge(packet(), endpoint("z"), endpoint("y")).endpoint == "y"


def test_the_wildcard_covers_loopback_pods_and_interfaces_yet_unknown():
    for interface in ("lo", "cali1", "wg0"):
        assert judge(packet(), endpoint(), interface=interface).endpoint == "n1-auto-hep"


def test_excluded_interfaces_are_untouched():
    excluding = felix(interfaceExclude=["eth*"])
    assert reason(judge(packet(), endpoint(), excluding)) == "EXCLUDED"
    assert reason(judge(packet(), endpoint(), excluding, interface="lo")) == "POLICY_DENY"


def test_the_node_s_own_configuration_wins_field_by_field():
    everywhere = felix(interfaceExclude=["eth0"], defaultEndpointToHostAction="Drop")
    here = felix("node.n1", interfaceExclude=["eth1"])
    assert reason(judge(packet(), endpoint(), everywhere, here)) == "POLICY_DENY"
    assert reason(judge(packet(), endpoint(), everywhere, here, interface="eth1")) == "EXCLUDED"
    assert reason(judge(packet(source=POD), endpoint(), everywhere, here, interface="cali1")) == "POD_DROP"
    assert (
        reason(judge(packet(), endpoint(), everywhere, felix("node.n2", interfaceExclude=[]))) == "EXCLUDED"
    )


# -- exemptions


@pytest.mark.parametrize("kind", [*range(130, 138), 143])
def test_neighbour_discovery_and_mld_pass(kind):
    what = packet(source=WORLD6, protocol="ICMPv6", icmp_type=kind)
    assert reason(judge(what, endpoint(), policy("u", DENY, **UNTRACKED))) == "NEIGHBOUR"


@pytest.mark.parametrize("kind", [128, 129, 138, 142, 144])
def test_other_icmpv6_does_not(kind):
    assert not judge(packet(source=WORLD6, protocol="ICMPv6", icmp_type=kind), endpoint()).allowed
    assert not judge(packet(protocol="ICMPv6", icmp_type=135), endpoint()).allowed


def test_tunnels_pass_between_known_nodes_only():
    vxlan, ipip = {"protocol": "UDP"}, {"protocol": 4}
    assert reason(judge(packet(4789, source=PEER, **vxlan), endpoint(), peer())) == "TUNNEL"
    assert reason(judge(packet(source=PEER, **ipip), endpoint(), peer())) == "TUNNEL"
    assert reason(judge_out(outgoing(4789, destination=PEER, **vxlan), endpoint(), peer())) == "TUNNEL"
    assert not judge(packet(4789, source=WORLD, **vxlan), endpoint(), peer()).allowed
    assert not judge(packet(4790, source=PEER, **vxlan), endpoint(), peer()).allowed
    assert not judge(packet(4789, source=PEER), endpoint(), peer()).allowed
    assert (
        reason(judge(packet(4789, source=PEER, destination=POD, **vxlan), endpoint(), peer()))
        == "FORWARD_NONE"
    )


def test_nodes_are_known_by_internal_addresses_and_automatic_endpoints():
    what = packet(4789, source=PEER, protocol="UDP")
    node = resource("Node", "n2", status={"addresses": [{"type": "InternalIP", "address": PEER}]})
    external = resource("Node", "n2", status={"addresses": [{"type": "ExternalIP", "address": PEER}]})
    assert judge(what, endpoint(), node).allowed
    assert not judge(what, endpoint(), external).allowed
    assert not judge(what, endpoint(), peer(interfaceName="eth0")).allowed


def test_configured_tunnels_pass_as_well():
    what = packet(51820, source=PEER, protocol="UDP")
    assert reason(judge(what, endpoint(), peer(), felix(wireguardEnabled=True))) == "TUNNEL"
    assert not judge(what, endpoint(), peer()).allowed
    assert not judge(what, endpoint(), peer(), felix(wireguardEnabled=True, wireguardListeningPort=1)).allowed


# -- untracked


def test_untracked_allow_and_deny_are_final_and_no_match_goes_on():
    allow_80 = policy("u", rule(protocol="TCP", destination={"ports": [80]}), **UNTRACKED)
    assert reason(judge(packet(80), endpoint(), allow_80)) == "UNTRACKED_ALLOW"
    assert reason(judge(packet(81), endpoint(), allow_80)) == "POLICY_DENY"
    assert reason(judge(packet(81), AUTO, allow_80)) == "POLICY_ALLOW"
    deny = policy("u", DENY, **UNTRACKED)
    assert reason(judge(packet(80), AUTO, deny)) == "UNTRACKED_DENY"
    assert reason(judge(packet(80), AUTO, deny, flow=FlowState.ESTABLISHED)) == "UNTRACKED_DENY"
    assert reason(judge(THROUGH, AUTO, deny)) == "UNTRACKED_DENY"


def test_untracked_policy_is_asked_in_both_directions():
    out_only = policy("u", types=["Egress"], egress=[DENY], **UNTRACKED)
    assert reason(judge_out(outgoing(), AUTO, out_only)) == "UNTRACKED_DENY"
    assert reason(judge(packet(), AUTO, out_only)) == "POLICY_ALLOW"


def test_untracked_policy_is_not_asked_on_pod_interfaces():
    deny = policy("u", DENY, egress=[DENY], **UNTRACKED)
    assert reason(judge_out(outgoing(8080, destination=POD), AUTO, deny, interface="cali1")) == "OWN_POD"
    assert reason(judge_out(outgoing(8080, destination=POD), AUTO, deny)) == "UNTRACKED_DENY"


@pytest.mark.parametrize(
    ("direction", "what", "spared"),
    [
        ("ingress", packet(22), True),
        ("ingress", packet(23), False),
        ("ingress", packet(9, source_port=6443), True),
        ("ingress", packet(9, source_port=22), False),
        ("egress", outgoing(53, protocol="UDP"), True),
        ("egress", outgoing(54, protocol="UDP"), False),
        ("egress", outgoing(9, source_port=22), True),
        ("egress", outgoing(9, source_port=53, protocol="UDP"), False),
    ],
)
def test_failsafes_and_their_replies_are_kept_out_of_untracked_policy(direction, what, spared):
    deny = policy("u", DENY, egress=[DENY], **UNTRACKED)
    assert (reason(judge(what, AUTO, deny, direction=direction)) != "UNTRACKED_DENY") is spared


# -- flows


def test_known_flows_pass_before_failsafe_and_policy_but_a_pure_syn_is_judged_anew():
    data, syn, syn_ack = (packet(81, tcp_flags=flags) for flags in (0x10, 0x02, 0x12))
    assert reason(judge(data, endpoint(), flow=FlowState.ESTABLISHED)) == "FLOW"
    assert reason(judge(syn_ack, endpoint(), flow=FlowState.ESTABLISHED)) == "FLOW"
    assert reason(judge(syn, endpoint(), flow=FlowState.ESTABLISHED)) == "POLICY_DENY"
    assert reason(judge(data, endpoint())) == "POLICY_DENY"
    error = packet(protocol=1, icmp_type=3)
    assert reason(judge(error, endpoint(), flow=FlowState.RELATED)) == "RELATED"
    assert reason(judge(error, endpoint())) == "POLICY_DENY"


# -- failsafes


INBOUND = [
    (6, 22),
    (17, 68),
    (6, 179),
    (6, 2379),
    (6, 2380),
    (6, 5473),
    (6, 6443),
    (6, 6666),
    (6, 6667),
    (17, 546),
]
OUTBOUND = [
    (17, 53),
    (17, 67),
    (6, 179),
    (6, 2379),
    (6, 2380),
    (6, 5473),
    (6, 6443),
    (6, 6666),
    (6, 6667),
    (17, 547),
]


def opened(direction, *resources):
    packets = {
        (protocol, port): (packet if direction == "ingress" else outgoing)(port, protocol=protocol)
        for protocol in (6, 17)
        for port in (22, 53, 67, 68, 179, 546, 547, 2379, 2380, 5473, 6443, 6666, 6667, 10250)
    }
    return {key for key, what in packets.items() if judge(what, *resources, direction=direction).allowed}


def test_the_default_failsafes_are_open_against_every_deny():
    denies = (
        policy("p", DENY, egress=[DENY]),
        policy("d", DENY, **PREDNAT),
        policy("u", DENY, egress=[DENY], **UNTRACKED),
    )
    assert opened("ingress", endpoint(), *denies) == set(INBOUND)
    assert opened("egress", endpoint(), *denies) == set(OUTBOUND)


def test_the_older_profile_lacks_typha_the_api_server_and_dhcpv6():
    old = felix(failsafeProfile="v3.14")
    newer = {(6, 5473), (6, 6443), (17, 546), (17, 547)}
    assert opened("ingress", endpoint(), old) == set(INBOUND) - newer
    assert opened("egress", endpoint(), old) == set(OUTBOUND) - newer


def test_configured_failsafes_replace_one_list_and_an_empty_one_closes_it():
    own = felix(failsafeInboundHostPorts=[{"protocol": "TCP", "port": 10250, "net": "198.51.100.0/24"}])
    assert opened("ingress", endpoint(), own) == {(6, 10250)}
    assert opened("egress", endpoint(), own) == set(OUTBOUND)
    assert not judge(packet(10250, source="198.51.101.1"), endpoint(), own).allowed
    assert not judge(packet(10250, source=WORLD6), endpoint(), own).allowed
    assert opened("ingress", endpoint(), felix(failsafeInboundHostPorts=[])) == set()


def test_a_failsafe_spares_a_forwarded_packet_prednat_policy_only():
    deny_before, deny_forward = policy("d", DENY, **PREDNAT), policy("f", DENY, **FORWARD)
    ssh = packet(22, destination=POD)
    assert reason(judge(ssh, endpoint(), deny_before)) == "FORWARD_NONE"
    assert reason(judge(packet(23, destination=POD), endpoint(), deny_before)) == "PREDNAT_DENY"
    assert reason(judge(ssh, endpoint(), deny_before, deny_forward)) == "FORWARD_DENY"


# -- preDNAT


def test_prednat_allow_skips_the_rest_deny_is_final_and_no_match_goes_on():
    allow_80 = policy("d", rule(protocol="TCP", destination={"ports": [80]}), **PREDNAT)
    deny = policy("d", DENY, **PREDNAT)
    assert reason(judge(packet(80), endpoint(), policy("p", DENY), allow_80)) == "PREDNAT_ALLOW"
    assert reason(judge(packet(81), endpoint(), policy("p", ALLOW), allow_80)) == "POLICY_ALLOW"
    assert reason(judge(packet(80), AUTO, deny)) == "PREDNAT_DENY"
    assert reason(judge(THROUGH, AUTO, deny)) == "PREDNAT_DENY"
    assert reason(judge(packet(80, source=POD), AUTO, deny, interface="cali1")) == "PREDNAT_DENY"


def test_prednat_policy_is_not_asked_at_egress():
    both = policy("d", DENY, preDNAT=True, applyOnForward=True, types=["Ingress", "Egress"])
    assert reason(judge_out(outgoing(), AUTO, both)) == "POLICY_ALLOW"
    assert reason(judge(packet(), AUTO, both)) == "PREDNAT_DENY"


def test_node_ports_meet_prednat_policy_with_their_original_port():
    deny = policy("d", rule("Deny", protocol="TCP", destination={"ports": [30080]}), **PREDNAT)
    assert reason(judge(NODE_PORT, endpoint(), deny)) == "PREDNAT_DENY"
    assert reason(judge(NODE_PORT, endpoint())) == "FORWARD_NONE"


# -- forwarded


def test_forwarded_packets_meet_apply_on_forward_policy_only():
    assert reason(judge(THROUGH, endpoint())) == "FORWARD_NONE"
    assert reason(judge(THROUGH, endpoint(), policy("p", DENY))) == "FORWARD_NONE"
    assert reason(judge(THROUGH, endpoint(), policy("p", DENY, **FORWARD))) == "FORWARD_DENY"
    assert reason(judge(THROUGH, endpoint(), policy("p", ALLOW, **FORWARD))) == "FORWARD_ALLOW"


def test_once_a_forward_policy_applies_what_it_does_not_allow_is_denied_and_profiles_do_not_help():
    udp_only = policy("p", rule(protocol="UDP"), **FORWARD)
    assert judge(THROUGH, AUTO, udp_only).because == "end of tier default"
    passing = policy("p", rule("Pass"), **FORWARD)
    assert judge(THROUGH, AUTO, passing).because == "no applyOnForward policy allows it"
    egress_only = policy("p", egress=[DENY], **FORWARD)
    assert reason(judge(THROUGH, AUTO, egress_only)) == "FORWARD_NONE"


def test_staged_forward_policies_alone_change_nothing():
    trial = resource("StagedGlobalNetworkPolicy", "s", {"ingress": [DENY], **FORWARD})
    decision = judge(THROUGH, endpoint(), trial)
    assert reason(decision) == "FORWARD_NONE"
    assert [outcome.action for outcome in decision.staged] == ["Deny"]


def test_forward_policies_count_for_local_packets_too():
    assert reason(judge(packet(), AUTO, policy("p", DENY, **FORWARD))) == "POLICY_DENY"


@pytest.mark.parametrize(
    "destination",
    [HOST, "10.0.0.255", "255.255.255.255", "224.0.0.18", "127.8.9.10", "0.0.0.0", "192.0.2.1"],
)
def test_own_broadcast_multicast_and_loopback_destinations_are_local(destination):
    assert reason(judge(packet(destination=destination), endpoint())) == "POLICY_DENY"


@pytest.mark.parametrize("destination", ["::1", "::", "ff02::1", "fd00::1"])
def test_the_same_of_ipv6(destination):
    assert reason(judge(packet(source=WORLD6, destination=destination), endpoint())) == "POLICY_DENY"


@pytest.mark.parametrize(
    "destination", ["10.0.0.254", "223.255.255.255", "126.255.255.255", "128.0.0.0", "240.0.0.1"]
)
def test_other_destinations_are_forwarded(destination):
    assert reason(judge(packet(destination=destination), endpoint())) == "FORWARD_NONE"


def test_node_ports_count_as_forwarded_and_the_host_s_own_ports_do_not():
    assert reason(judge(NODE_PORT, endpoint(), policy("p", DENY))) == "FORWARD_NONE"
    assert reason(judge(NODE_PORT, endpoint(), policy("p", DENY, **FORWARD))) == "FORWARD_DENY"
    assert reason(judge(packet(30081), endpoint(), policy("p", DENY))) == "POLICY_DENY"
    assert reason(judge(packet(30080, protocol="UDP"), endpoint(), policy("p", DENY))) == "POLICY_DENY"


def test_node_ports_come_from_services_and_configuration_too():
    service = resource("Service", "web", {"ports": [{"port": 80, "nodePort": 31000}]}, namespace="shop")
    ranges = felix(nodePorts=["32000:32010", "udp:33000"])
    for what in (packet(31000), packet(32010), packet(33000, protocol="UDP")):
        assert reason(judge(what, endpoint(), service, ranges)) == "FORWARD_NONE"
        assert reason(judge(what, endpoint())) == "POLICY_DENY"
    assert reason(judge(packet(32011), endpoint(), service, ranges)) == "POLICY_DENY"


def test_egress_is_forwarded_if_it_came_in_elsewhere_or_has_a_foreign_source():
    deny = policy("p", egress=[DENY])
    assert reason(judge_out(outgoing(), endpoint(), deny)) == "POLICY_DENY"
    assert reason(judge_out(outgoing(), endpoint(), deny, forwarded=True)) == "FORWARD_NONE"
    assert reason(judge_out(outgoing(source=POD), endpoint(), deny)) == "FORWARD_NONE"
    assert reason(judge_out(outgoing(source=POD), endpoint(), deny, forwarded=False)) == "FORWARD_NONE"


# -- pods


def test_a_host_always_reaches_its_own_pods():
    to_pod = outgoing(8080, destination=POD)
    assert reason(judge_out(to_pod, endpoint(), policy("p", egress=[DENY]), interface="cali1")) == "OWN_POD"
    assert reason(judge_out(to_pod, endpoint(), policy("p", egress=[DENY]))) == "POLICY_DENY"
    passed_on = judge_out(outgoing(8080, source=PEER, destination=POD), endpoint(), interface="cali1")
    assert reason(passed_on) == "FORWARD_NONE"


def test_pod_to_its_own_host_is_judged_by_policy_unless_configured():
    from_pod = packet(80, source=POD)

    def verdict(*resources):
        return reason(judge(from_pod, endpoint(), *resources, interface="cali1"))

    assert verdict() == "POLICY_DENY"
    assert verdict(policy("p", ALLOW)) == "POLICY_ALLOW"
    assert verdict(felix(defaultEndpointToHostAction="Return"), policy("p", ALLOW)) == "POLICY_ALLOW"
    assert verdict(felix(defaultEndpointToHostAction="Accept"), policy("p", DENY)) == "POD_ACCEPT"
    assert verdict(felix(defaultEndpointToHostAction="Drop"), policy("p", ALLOW)) == "POD_DROP"
    drop = felix(defaultEndpointToHostAction="Drop")
    assert reason(judge(from_pod, endpoint(), drop, policy("p", ALLOW))) == "POLICY_ALLOW"


def test_pod_to_elsewhere_is_forwarded_whatever_that_action_says():
    drop = felix(defaultEndpointToHostAction="Drop")
    what = packet(80, source=POD, destination=WORLD)
    assert reason(judge(what, endpoint(), drop, interface="cali1")) == "FORWARD_NONE"


def test_ipv6_is_judged_like_ipv4():
    deny = policy("p", rule("Deny", source={"nets": ["fd00::/64"]}), ALLOW)
    assert reason(judge(packet(source=PEER6), AUTO, deny)) == "POLICY_DENY"
    assert reason(judge(packet(source=WORLD6), AUTO, deny)) == "POLICY_ALLOW"
