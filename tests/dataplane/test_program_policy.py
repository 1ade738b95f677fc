"""Which stage of policy a packet meets at an interface, and what comes before policy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pyagent.abi import Direction, Reason
from pyagent.model.facts import HostFacts
from pyagent.model.packet import Packet
from tests.support.kernel import Kernel
from tests.support.small_world import (
    FACTS,
    HOST,
    HOST6,
    POD,
    WORLD,
    WORLD6,
    endpoint,
    felix,
    outgoing,
    packet,
    policy,
    rule,
    service_at,
)

OUT = Direction.EGRESS
ALLOW, DENY = Reason.POLICY_ALLOW, Reason.POLICY_DENY


def forwarded_in(port: int = 80, **fields: Any) -> Packet:
    """A packet from the world to a pod."""
    return packet(port, destination=POD, **fields)


# -- what rules mean


@pytest.mark.parametrize("protocol", [2, 4, 41, 47, 50, 51, 89, 112, 136, 253, 254])
def test_an_unknown_protocol_obeys_rules_by_number_and_rules_without_protocol(
    kernel: Kernel, protocol: int
) -> None:
    what = packet(protocol=protocol, source=WORLD)
    for expected, given in (
        (DENY, rule(protocol="TCP")),
        (DENY, rule(protocol=protocol + 1)),
        (ALLOW, rule(protocol=protocol)),
        (ALLOW, rule()),
        (ALLOW, rule(notProtocol="TCP")),
    ):
        kernel.enforce(endpoint(), policy("p", given))
        assert kernel.judge(what) is expected, given


@pytest.mark.parametrize("protocol", ["TCP", "UDP", "SCTP"])
def test_both_ends_of_a_port_range_are_inside(kernel: Kernel, protocol: str) -> None:
    kernel.enforce(endpoint(), policy("p", rule(protocol=protocol, destination={"ports": ["8000:8010"]})))
    ports = (1, 7999, 8000, 8005, 8010, 8011, 65535)
    judged = [kernel.judge(packet(port, protocol=protocol)) for port in ports]
    assert judged == [DENY, DENY, ALLOW, ALLOW, ALLOW, DENY, DENY]
    for other in {"TCP", "UDP", "SCTP"} - {protocol}:
        assert kernel.judge(packet(8005, protocol=other)) is DENY


def test_the_largest_port_range_leaves_out_nothing_but_port_0(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), policy("p", rule(protocol="UDP", destination={"ports": ["1:65535"]})))
    judged = [kernel.judge(packet(port, protocol="UDP")) for port in (0, 1, 65535)]
    assert judged == [DENY, ALLOW, ALLOW]


def test_source_ports_are_told_from_destination_ports(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), policy("p", rule(protocol="UDP", source={"ports": ["1000:1010"]})))
    judged = [kernel.judge(packet(80, protocol="UDP", source_port=port)) for port in (999, 1000, 1010, 1011)]
    assert judged == [DENY, ALLOW, ALLOW, DENY]
    assert kernel.judge(packet(1000, protocol="UDP", source_port=80)) is DENY


@pytest.mark.parametrize(
    ("narrow", "wide", "addresses"),
    [
        ("10.1.0.0/16", "10.0.0.0/8", ("10.1.2.3", "10.2.0.1", "11.0.0.1")),
        ("192.0.2.7/32", "192.0.2.0/24", ("192.0.2.7", "192.0.2.8", "192.0.3.0")),
        ("10.1.2.0/25", "10.1.2.0/23", ("10.1.2.127", "10.1.3.255", "10.1.4.0")),
        ("2001:db8:1::/48", "2001:db8::/32", ("2001:db8:1::5", "2001:db8:2::5", "2001:db9::1")),
        ("2001:db8::7/128", "2001:db8::/64", ("2001:db8::7", "2001:db8::8", "2001:db8:0:1::")),
        ("fd99:1200::/23", "fd98::/15", ("fd99:13ff::1", "fd98::1", "fd9a::")),
    ],
)
def test_a_wider_prefix_still_applies_to_an_address_with_a_narrower_one(
    kernel: Kernel, narrow: str, wide: str, addresses: tuple[str, str, str]
) -> None:
    kernel.enforce(
        endpoint(),
        policy(
            "p",
            rule(protocol="TCP", source={"nets": [narrow]}, destination={"ports": [80]}),
            rule(protocol="TCP", source={"nets": [wide]}, destination={"ports": [443]}),
        ),
    )
    judged = [kernel.judge(packet(port, source=where)) for where in addresses for port in (80, 443)]
    assert judged == [ALLOW, ALLOW, DENY, ALLOW, DENY, DENY]


def test_every_bit_of_an_ipv6_address_counts(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), policy("p", rule(source={"nets": ["2001:db8:1:2:3:4:5:6/128"]})))
    exact = packet(80, source="2001:db8:1:2:3:4:5:6")
    assert kernel.judge(exact) is ALLOW
    for bit in range(128):
        kernel.forget()
        assert kernel.judge(replace(exact, source=exact.source ^ 1 << bit)) is DENY, bit


def test_ipv6_addresses_that_differ_late_are_told_apart(kernel: Kernel) -> None:
    ports = {"2001:db8:1:2:3:4:5:6": 80, "2001:db8:1:2:3:4:7:8": 443}
    rules = [
        rule(protocol="TCP", source={"nets": [f"{address}/128"]}, destination={"ports": [port]})
        for address, port in ports.items()
    ]
    kernel.enforce(endpoint(), policy("p", *rules))
    for address, open_port in ports.items():
        for port in (80, 443):
            judged = kernel.judge(packet(port, source=address))
            assert judged is (ALLOW if port == open_port else DENY)
    assert kernel.judge(packet(80, source="2001:db8:1:2:3:4:7:6")) is DENY


def test_a_policy_for_one_direction_leaves_the_other_to_the_profile(kernel: Kernel) -> None:
    kernel.enforce(endpoint(profiles=["projectcalico-default-allow"]), policy("p", rule(protocol="UDP")))
    assert kernel.judge(packet(80)) is DENY
    assert kernel.judge(outgoing(80), direction=OUT) is ALLOW
    kernel.enforce(endpoint())
    assert kernel.judge(outgoing(80), direction=OUT) is DENY


def test_an_ipv4_rule_never_matches_ipv6_by_the_same_digits(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), policy("p", rule(ipVersion=4)))
    assert kernel.judge(packet(80)) is ALLOW
    assert kernel.judge(packet(80, source=WORLD6)) is DENY


# -- untracked, preDNAT, forwarded


def untracked(*ingress: dict[str, Any], **spec: Any) -> Any:
    return policy("untracked", *ingress, doNotTrack=True, applyOnForward=True, **spec)


def test_untracked_traffic_needs_both_directions_and_leaves_no_flow(kernel: Kernel) -> None:
    allow = rule(protocol="UDP", destination={"ports": [7]})
    kernel.enforce(endpoint(), untracked(allow))
    assert kernel.judge(packet(7, protocol="UDP")) is Reason.UNTRACKED_ALLOW
    answer = outgoing(40000, source_port=7, protocol="UDP")
    assert kernel.judge(answer, direction=OUT) is DENY
    assert not len(kernel.dataplane.map("flows4"))
    back = rule(protocol="UDP", source={"ports": [7]})
    kernel.enforce(endpoint(), untracked(allow, egress=[back]))
    assert kernel.judge(answer, direction=OUT) is Reason.UNTRACKED_ALLOW


def test_untracked_policy_denies_even_packets_of_a_flow(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), policy("p", rule()))
    assert kernel.judge(packet(80)) is ALLOW
    acknowledging = packet(80, tcp_flags=16)
    assert kernel.judge(acknowledging) is Reason.FLOW
    kernel.enforce(endpoint(), policy("p", rule()), untracked(rule("Deny")), keep=True)
    assert kernel.judge(acknowledging) is Reason.UNTRACKED_DENY
    assert kernel.judge(packet(8080, destination=POD)) is Reason.UNTRACKED_DENY


def test_replies_of_failsafe_connections_are_spared_by_untracked_policy(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), untracked(rule("Deny"), egress=[rule("Deny")]))
    assert kernel.judge(packet(22)) is Reason.FAILSAFE
    reply = outgoing(40000, source_port=22, tcp_flags=18)
    assert kernel.judge(reply, direction=OUT) is Reason.FLOW
    assert kernel.judge(replace(reply, source_port=23), direction=OUT) is Reason.UNTRACKED_DENY


def test_untracked_policy_does_not_exist_on_pods_interfaces(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), untracked(rule("Deny"), egress=[rule("Deny")]))
    to_pod = outgoing(8080, destination=POD)
    assert kernel.judge(to_pod, interface="cali1", direction=OUT) is Reason.OWN_POD
    assert kernel.judge(to_pod, interface="eth0", direction=OUT) is Reason.UNTRACKED_DENY
    from_pod = packet(80, source=POD, destination=WORLD)
    assert kernel.judge(from_pod, interface="cali1") is Reason.FORWARD_NONE
    assert kernel.judge(from_pod, interface="eth0") is Reason.UNTRACKED_DENY


def test_prednat_policy_sees_forwarded_and_local_packets_at_ingress_only(kernel: Kernel) -> None:
    stage = {"preDNAT": True, "applyOnForward": True}
    kernel.enforce(
        endpoint(),
        policy(
            "pre",
            rule(protocol="TCP", destination={"ports": [80]}),
            rule("Deny", protocol="TCP", destination={"ports": [81]}),
            **stage,
        ),
    )
    for destination, silent in ((HOST, DENY), (POD, Reason.FORWARD_NONE)):
        judged = [kernel.judge(packet(port, destination=destination)) for port in (80, 81, 82)]
        assert judged == [Reason.PREDNAT_ALLOW, Reason.PREDNAT_DENY, silent]
    assert kernel.judge(outgoing(81), direction=OUT) is DENY


def test_a_node_port_counts_as_forwarded(kernel: Kernel) -> None:
    facts = HostFacts(
        FACTS.node, FACTS.interfaces, node_ports=frozenset({(6, 30080), (17, 30053), (132, 30132)})
    )
    kernel.enforce(endpoint(), facts=facts)
    for protocol, port in (("TCP", 30080), ("UDP", 30053), ("SCTP", 30132)):
        assert kernel.judge(packet(port, protocol=protocol)) is Reason.FORWARD_NONE
        assert kernel.judge(packet(port + 1, protocol=protocol)) is DENY
    assert kernel.judge(packet(30080, protocol="UDP")) is DENY
    assert kernel.judge(packet(30053, protocol="SCTP")) is DENY
    # A source port means nothing, and what the host itself sends there is its own.
    assert kernel.judge(outgoing(30080), direction=OUT) is DENY


def test_a_services_address_of_this_host_counts_as_forwarded_at_its_port_and_nowhere_else(
    kernel: Kernel,
) -> None:
    kernel.enforce(endpoint(), service_at(HOST, HOST6, WORLD, port=8080))
    for source in (WORLD, WORLD6):
        assert kernel.judge(packet(8080, source=source)) is Reason.FORWARD_NONE
        assert kernel.judge(packet(8081, source=source)) is DENY
    assert kernel.judge(packet(8080, destination="192.0.2.1")) is DENY
    assert kernel.judge(packet(8080, protocol="UDP")) is DENY
    kernel.enforce(endpoint())
    assert kernel.judge(packet(8080)) is DENY


def test_a_services_address_meets_prednat_and_apply_on_forward_policy(kernel: Kernel) -> None:
    to_it = rule("Deny", protocol="TCP", destination={"ports": [8080]})
    outside = service_at(HOST, port=8080)
    kernel.enforce(endpoint(), outside, policy("d", to_it, preDNAT=True, applyOnForward=True))
    assert kernel.judge(packet(8080)) is Reason.PREDNAT_DENY
    kernel.enforce(endpoint(), outside, policy("f", to_it, applyOnForward=True))
    assert kernel.judge(packet(8080)) is Reason.FORWARD_DENY


def test_forwarded_packets_meet_policy_that_applies_on_forward_and_no_other(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), policy("p", rule("Deny"), egress=[rule("Deny")]))
    out = packet(80, source=POD, destination=WORLD)
    assert kernel.judge(forwarded_in()) is Reason.FORWARD_NONE
    assert kernel.judge(out, direction=OUT, received="cali1") is Reason.FORWARD_NONE
    only_80 = rule(protocol="TCP", destination={"ports": [80]})
    kernel.enforce(endpoint(), policy("p", only_80, egress=[only_80], applyOnForward=True))
    assert kernel.judge(forwarded_in()) is Reason.FORWARD_ALLOW
    assert kernel.judge(forwarded_in(81)) is Reason.FORWARD_DENY
    assert kernel.judge(out, direction=OUT, received="cali1") is Reason.FORWARD_ALLOW
    refused = replace(out, destination_port=81)
    assert kernel.judge(refused, direction=OUT, received="cali1") is Reason.FORWARD_DENY


def test_a_failsafe_does_not_open_a_forwarded_packets_way(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), policy("p", rule("Deny"), applyOnForward=True))
    assert kernel.judge(forwarded_in(22)) is Reason.FORWARD_DENY
    assert kernel.judge(packet(22)) is Reason.FAILSAFE


def test_a_failsafe_spares_a_forwarded_packet_prednat_policy(kernel: Kernel) -> None:
    denying = policy("pre", rule("Deny"), preDNAT=True, applyOnForward=True)
    kernel.enforce(endpoint(), denying)
    assert kernel.judge(forwarded_in(22)) is Reason.FORWARD_NONE
    assert kernel.judge(forwarded_in(23)) is Reason.PREDNAT_DENY


def test_what_came_in_elsewhere_is_forwarded_though_it_has_the_hosts_address(kernel: Kernel) -> None:
    kernel.enforce(endpoint())
    assert kernel.judge(outgoing(80), direction=OUT) is DENY
    assert kernel.judge(outgoing(80), direction=OUT, received="cali1") is Reason.FORWARD_NONE


# -- pods


def test_a_host_reaches_its_own_pods_whatever_policy_says(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), policy("p", rule("Deny"), egress=[rule("Deny")], applyOnForward=True))
    to_pod = outgoing(8080, destination=POD)
    assert kernel.judge(to_pod, interface="cali1", direction=OUT) is Reason.OWN_POD
    answer = packet(40000, source=POD, source_port=8080, tcp_flags=18)
    assert kernel.judge(answer, interface="cali1") is Reason.FLOW
    assert kernel.judge(to_pod, interface="eth0", direction=OUT) is DENY
    assert kernel.judge(to_pod, interface="cali1", direction=OUT, received="eth0") is Reason.FORWARD_DENY


@pytest.mark.parametrize(
    ("action", "expected"),
    [("Return", DENY), ("Accept", Reason.POD_ACCEPT), ("Drop", Reason.POD_DROP), (None, DENY)],
)
def test_a_pods_packet_to_its_host_obeys_default_endpoint_to_host_action(
    kernel: Kernel, action: str | None, expected: Reason
) -> None:
    configured = [felix(defaultEndpointToHostAction=action)] if action else []
    kernel.enforce(endpoint(), *configured)
    from_pod = packet(80, source=POD)
    assert kernel.judge(from_pod, interface="cali1") is expected
    assert kernel.judge(from_pod, interface="eth0") is DENY
    assert kernel.judge(packet(22, source=POD), interface="cali1") is Reason.FAILSAFE
    through = packet(80, source=POD, destination=WORLD)
    assert kernel.judge(through, interface="cali1") is Reason.FORWARD_NONE


def test_with_return_the_policy_decides_on_a_pods_packet_to_its_host(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), policy("p", rule(protocol="TCP", destination={"ports": [80]})))
    assert kernel.judge(packet(80, source=POD), interface="cali1") is ALLOW
    assert kernel.judge(packet(81, source=POD), interface="cali1") is DENY


# -- interfaces


def test_an_interface_without_endpoint_is_left_alone(kernel: Kernel) -> None:
    kernel.enforce(endpoint("own", interfaceName="eth0"))
    assert kernel.judge(packet(80), interface="eth0") is DENY
    for interface in ("eth1", "lo", "cali1", "new0"):
        assert kernel.judge(packet(80), interface=interface) is Reason.NO_ENDPOINT


def test_an_excluded_interface_is_left_alone(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), felix(interfaceExclude=["eth1"]))
    assert kernel.judge(packet(80), interface="eth1") is Reason.EXCLUDED
    assert kernel.judge(packet(80), interface="eth0") is DENY


def test_an_interface_that_appears_later_gets_the_endpoint_for_all(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), policy("p", rule(protocol="TCP", destination={"ports": [80]})))
    for interface in ("new0", "far0"):
        kernel.forget()
        assert kernel.judge(packet(80), interface=interface) is ALLOW
        assert kernel.judge(packet(81), interface=interface) is DENY


def test_a_specific_endpoint_displaces_the_one_for_all(kernel: Kernel) -> None:
    web = rule(protocol="TCP", destination={"ports": [80]})
    own = endpoint("own", interfaceName="eth1", labels={"role": "edge"})
    kernel.enforce(endpoint(), own, policy("p", web, selector='role == "edge"'))
    assert kernel.judge(packet(80), interface="eth1") is ALLOW
    assert kernel.judge(packet(80), interface="eth0") is DENY


def test_loopback_is_policed_as_every_interface(kernel: Kernel) -> None:
    local = packet(80, source="127.0.0.1", destination="127.0.0.1")
    kernel.enforce(endpoint())
    assert kernel.judge(local, interface="lo") is DENY
    kernel.enforce(endpoint(), policy("p", rule(source={"nets": ["127.0.0.1/32"]})))
    assert kernel.judge(local, interface="lo") is ALLOW


@pytest.mark.parametrize(
    "destination", ["127.0.0.1", "255.255.255.255", "10.0.0.255", "224.0.0.18", "0.0.0.0", "::1", "ff02::fb"]
)
def test_loopback_broadcast_and_multicast_are_addressed_to_the_host(kernel: Kernel, destination: str) -> None:
    kernel.enforce(endpoint())
    source = WORLD6 if ":" in destination else WORLD
    assert kernel.judge(packet(80, source=source, destination=destination)) is DENY
    elsewhere = "2001:db8::99" if ":" in destination else "192.0.2.99"
    assert kernel.judge(packet(80, source=source, destination=elsewhere)) is Reason.FORWARD_NONE
