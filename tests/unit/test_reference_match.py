"""One rule against packets: every criterion with a packet that meets it and one that does not."""

from __future__ import annotations

import pytest

from tests.support.small_world import (
    HOST,
    PEER,
    PEER6,
    WORLD,
    WORLD6,
    endpoint,
    judge,
    judge_out,
    outgoing,
    packet,
    peer,
    policy,
    resource,
    rule,
)

SLICE = resource(
    "EndpointSlice",
    "web-1",
    labels={"kubernetes.io/service-name": "web"},
    namespace="shop",
    endpoints=[{"addresses": [WORLD]}],
    ports=[{"port": 8080, "protocol": "TCP"}],
)
NETWORKS = resource("GlobalNetworkSet", "friends", {"nets": ["198.51.100.0/24"]}, {"set": "friends"})


def allowed(criteria, what, *resources):
    """Whether one Allow rule with these criteria lets the packet in."""
    return judge(what, endpoint(), policy("p", rule(**criteria)), *resources).allowed


@pytest.mark.parametrize(
    ("criteria", "hit", "miss"),
    [
        ({"protocol": "TCP"}, packet(), packet(protocol="UDP")),
        ({"protocol": "UDPLite"}, packet(protocol=136), packet(protocol="UDP")),
        ({"protocol": 47}, packet(protocol=47), packet(protocol=48)),
        ({"notProtocol": "TCP"}, packet(protocol="UDP"), packet()),
        ({"notProtocol": 1}, packet(source=WORLD6, protocol=58), packet(protocol=1)),
        ({"ipVersion": 4}, packet(), packet(source=WORLD6)),
        ({"ipVersion": 6}, packet(source=WORLD6), packet()),
        ({"protocol": "ICMP"}, packet(protocol=1), packet(source=WORLD6, protocol=1)),
        ({"protocol": "ICMPv6"}, packet(source=WORLD6, protocol=58), packet(protocol=58)),
        (
            {"protocol": "ICMP", "icmp": {"type": 8}},
            packet(protocol=1, icmp_type=8, icmp_code=3),
            packet(protocol=1),
        ),
        (
            {"protocol": "ICMP", "icmp": {"type": 8, "code": 0}},
            packet(protocol=1, icmp_type=8),
            packet(protocol=1, icmp_type=8, icmp_code=1),
        ),
        (
            {"protocol": "ICMP", "notICMP": {"type": 8}},
            packet(protocol=1, icmp_type=0),
            packet(protocol=1, icmp_type=8, icmp_code=9),
        ),
        ({"source": {"nets": ["198.51.100.0/24"]}}, packet(), packet(source="198.51.101.0")),
        ({"source": {"nets": ["10.9.0.0/16", WORLD]}}, packet(), packet(source="198.51.100.8")),
        ({"source": {"nets": ["::/0"]}}, packet(source=WORLD6), packet()),
        ({"source": {"notNets": ["198.51.100.0/24"]}}, packet(source="198.51.101.0"), packet()),
        (
            {"destination": {"nets": [HOST]}},
            packet(),
            packet(destination="192.0.2.1"),
        ),
        ({"source": {"notNets": ["198.51.100.0/24"]}}, packet(source=WORLD6), packet()),
        ({"protocol": "TCP", "destination": {"ports": [80]}}, packet(80), packet(81)),
        ({"protocol": "TCP", "destination": {"ports": ["80:82"]}}, packet(82), packet(83)),
        ({"protocol": "TCP", "destination": {"ports": ["80:82"]}}, packet(80), packet(79)),
        (
            {"protocol": "UDP", "destination": {"ports": ["1:65535"]}},
            packet(65535, protocol=17),
            packet(65535),
        ),
        (
            {"protocol": "SCTP", "destination": {"ports": [7, 9]}},
            packet(9, protocol=132),
            packet(8, protocol=132),
        ),
        ({"protocol": "TCP", "destination": {"notPorts": ["80:82"]}}, packet(83), packet(82)),
        ({"protocol": "TCP", "source": {"ports": [40000]}}, packet(), packet(source_port=40001)),
        ({"protocol": "TCP", "source": {"notPorts": [40001]}}, packet(), packet(source_port=40001)),
    ],
)
def test_a_criterion_matches_what_it_names_and_nothing_else(criteria, hit, miss):
    assert allowed(criteria, hit)
    assert not allowed(criteria, miss)


def test_all_criteria_must_hold_at_once():
    both = {"protocol": "TCP", "source": {"nets": [WORLD]}, "destination": {"ports": [80]}}
    assert allowed(both, packet(80))
    assert not allowed(both, packet(81))
    assert not allowed(both, packet(80, source="198.51.100.8"))
    assert not allowed(both, packet(80, protocol="UDP"))


def test_empty_icmp_is_any_message_and_empty_not_icmp_none():
    assert allowed({"protocol": "ICMP", "icmp": {}}, packet(protocol=1, icmp_type=8))
    assert not allowed({"protocol": "ICMP", "notICMP": {}}, packet(protocol=1, icmp_type=8))


def test_not_icmp_lets_other_protocols_through():
    assert allowed({"notICMP": {"type": 8}}, packet())
    assert not allowed({"notICMP": {"type": 8}}, packet(protocol=1, icmp_type=8))


def test_a_selector_means_the_addresses_of_endpoints_and_network_sets():
    chosen = {"source": {"selector": "role == 'peer' || set == 'friends'"}}
    assert allowed(chosen, packet(source=PEER), peer(), NETWORKS)
    assert allowed(chosen, packet(source=PEER6), peer(), NETWORKS)
    assert allowed(chosen, packet(source=WORLD), peer(), NETWORKS)
    assert not allowed(chosen, packet(source="10.0.0.3"), peer(), NETWORKS)


def test_a_selector_that_picks_nothing_matches_nothing():
    assert not allowed({"source": {"selector": "has(nobody)"}}, packet(source=PEER), peer())
    assert allowed({"source": {"selector": "has(role)"}}, packet(source=PEER), peer())


def test_a_negated_selector_in_selector_knows_only_endpoints_but_not_selector_everybody():
    stranger = packet(source="203.0.113.1")
    assert not allowed({"source": {"selector": "!has(role)"}}, stranger, peer())
    assert allowed({"source": {"notSelector": "has(role)"}}, stranger, peer())
    assert not allowed({"source": {"notSelector": "has(role)"}}, packet(source=PEER), peer())


def test_labels_that_a_profile_gives_count_for_peers_and_the_own_label_wins():
    profile = resource("Profile", "zone", {"labelsToApply": {"zone": "a", "role": "from-profile"}})
    other = peer(profiles=["zone"])
    assert allowed({"source": {"selector": "zone == 'a'"}}, packet(source=PEER), other, profile)
    assert not allowed(
        {"source": {"selector": "role == 'from-profile'"}}, packet(source=PEER), other, profile
    )


def test_of_two_profiles_with_a_label_the_first_counts():
    first = resource("Profile", "one", {"labelsToApply": {"zone": "a"}})
    second = resource("Profile", "two", {"labelsToApply": {"zone": "b"}})
    other = peer(profiles=["one", "two"])
    assert allowed({"source": {"selector": "zone == 'a'"}}, packet(source=PEER), other, first, second)
    assert not allowed({"source": {"selector": "zone == 'b'"}}, packet(source=PEER), other, first, second)


def test_named_ports_are_triples_of_address_protocol_and_port():
    ports = [{"name": "web", "port": 8080, "protocol": "TCP"}]
    own = endpoint(ports=ports)
    web = policy("p", rule(protocol="TCP", destination={"ports": ["web"]}))
    assert judge(packet(8080), own, web).allowed
    assert not judge(packet(8081), own, web).allowed
    assert not judge(packet(8080, protocol="UDP"), own, web).allowed
    assert not judge(packet(8080, destination="192.0.2.1"), own, web).allowed


def test_numeric_and_named_ports_are_alternatives():
    own = endpoint(ports=[{"name": "web", "port": 8080, "protocol": "TCP"}])
    either = policy("p", rule(protocol="TCP", destination={"ports": ["web", 443]}))
    assert judge(packet(8080), own, either).allowed
    assert judge(packet(443), own, either).allowed
    assert not judge(packet(444), own, either).allowed


def test_a_named_port_of_unselected_endpoints_does_not_count():
    port = [{"name": "web", "port": 8080, "protocol": "TCP"}]
    to_peers = policy(
        "p", egress=[rule(protocol="TCP", destination={"selector": "role == 'x'", "ports": ["web"]})]
    )
    to_all = policy("p", egress=[rule(protocol="TCP", destination={"ports": ["web"]})])
    out = outgoing(8080, destination=PEER)
    assert judge_out(out, endpoint(), peer(ports=port), to_all).allowed
    assert not judge_out(out, endpoint(), peer(ports=port), to_peers).allowed


def test_a_negated_named_port_excludes_its_triples_only():
    own = endpoint(ports=[{"name": "web", "port": 8080, "protocol": "TCP"}])
    negated = policy("p", rule(destination={"notPorts": ["web"]}))
    assert not judge(packet(8080), own, negated).allowed
    assert judge(packet(8081), own, negated).allowed
    assert judge(packet(8080, protocol="UDP"), own, negated).allowed
    assert judge(packet(protocol=1), own, negated).allowed


def test_a_service_as_destination_is_address_protocol_and_port():
    to_service = policy("p", egress=[rule(destination={"services": {"name": "web", "namespace": "shop"}})])
    assert judge_out(outgoing(8080), endpoint(), to_service, SLICE).allowed
    assert not judge_out(outgoing(8081), endpoint(), to_service, SLICE).allowed
    assert not judge_out(outgoing(8080, protocol="UDP"), endpoint(), to_service, SLICE).allowed
    assert not judge_out(outgoing(8080, destination=PEER), endpoint(), to_service, SLICE).allowed


def test_a_service_as_source_is_its_addresses():
    from_service = {"source": {"services": {"name": "web", "namespace": "shop"}}}
    assert allowed(from_service, packet(source=WORLD), SLICE)
    assert not allowed(from_service, packet(source=PEER), SLICE)
    other = {"source": {"services": {"name": "web", "namespace": "elsewhere"}}}
    assert not allowed(other, packet(source=WORLD), SLICE)


def test_pods_and_service_accounts_are_no_peers_of_ours():
    assert not allowed({"source": {"serviceAccounts": {"names": ["a"]}}}, packet(source=PEER), peer())
    assert not allowed({"source": {"namespaceSelector": "all()"}}, packet(source=PEER), peer())
    assert allowed({"source": {"namespaceSelector": "global()"}}, packet(source=PEER), peer())
    assert not allowed({"source": {"namespaceSelector": "global()"}}, packet(source="10.0.0.3"), peer())


def test_http_criteria_are_ignored():
    assert allowed({"http": {"methods": ["GET"]}}, packet())


def test_the_trace_names_the_first_condition_that_failed():
    decision = judge(packet(81), endpoint(), policy("p", rule(protocol="TCP", destination={"ports": [80]})))
    (step,) = [step for step in decision.trace if step.looked == "rule"]
    assert step.why == "destination port 10.0.0.1:81 is none of 80"
    assert "end of tier default" in str(decision)
