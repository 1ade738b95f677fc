"""Later fragments: judged by the best that their datagram might get."""

from __future__ import annotations

from tests.support.small_world import WORLD6, endpoint, felix, judge, packet, policy, rule

FRAGMENT = packet(fragment=True)


def test_a_later_fragment_passes_if_some_port_would():
    open_port = policy("p", rule(protocol="TCP", destination={"ports": ["8000:8100"]}))
    assert judge(FRAGMENT, endpoint(), open_port).allowed
    assert not judge(packet(fragment=True, protocol="UDP"), endpoint(), open_port).allowed


def test_a_later_fragment_passes_if_some_pair_of_ports_would():
    pair = rule(protocol="TCP", source={"ports": [53]}, destination={"ports": [8000]})
    other = rule("Deny", protocol="TCP", source={"ports": [53]})
    assert judge(FRAGMENT, endpoint(), policy("p", pair)).allowed
    assert not judge(FRAGMENT, endpoint(), policy("p", other, pair)).allowed


def test_a_later_fragment_passes_although_one_port_is_denied():
    rules = [rule("Deny", protocol="TCP", destination={"ports": [80]}), rule()]
    assert judge(FRAGMENT, endpoint(), policy("p", *rules)).allowed
    assert not judge(packet(80), endpoint(), policy("p", *rules)).allowed


def test_a_later_fragment_is_dropped_if_every_port_is_denied():
    rules = [
        rule("Deny", protocol="TCP", destination={"ports": ["1:1000"]}),
        rule("Deny", source={"nets": ["0.0.0.0/0"]}),
    ]
    assert not judge(FRAGMENT, endpoint(), policy("p", *rules, rule())).allowed


def test_addresses_of_a_later_fragment_count_in_full():
    rules = [
        rule("Deny", source={"nets": ["198.51.100.0/24"]}),
        rule(protocol="TCP", destination={"ports": [80]}),
    ]
    assert not judge(FRAGMENT, endpoint(), policy("p", *rules)).allowed
    assert judge(packet(source="203.0.113.1", fragment=True), endpoint(), policy("p", *rules)).allowed


def test_a_later_icmp_fragment_passes_if_some_type_and_code_would():
    ping = policy("p", rule(protocol="ICMP", icmp={"type": 8, "code": 0}))
    assert judge(packet(protocol=1, fragment=True), endpoint(), ping).allowed
    assert not judge(packet(protocol=1, fragment=True), endpoint(), policy("p", rule(protocol="TCP"))).allowed


def test_untracked_policy_that_might_not_match_a_fragment_does_not_decide_it():
    raw = {"doNotTrack": True, "applyOnForward": True}
    deny_one = policy("u", rule("Deny", protocol="TCP", destination={"ports": [80]}), **raw)
    decision = judge(FRAGMENT, endpoint(), deny_one, policy("p", rule()))
    assert (decision.allowed, decision.policy) == (True, "p")
    assert judge(packet(80), endpoint(), deny_one, policy("p", rule())).policy == "u"


def test_a_later_fragment_is_no_failsafe_no_neighbour_and_no_tunnel_by_port():
    assert judge(packet(22), endpoint()).reason.name == "FAILSAFE"
    assert not judge(FRAGMENT, endpoint()).allowed
    neighbour = {"source": WORLD6, "protocol": 58, "icmp_type": 135}
    assert judge(packet(**neighbour), endpoint()).reason.name == "NEIGHBOUR"
    assert not judge(packet(**neighbour, fragment=True), endpoint()).allowed
    empty = felix(failsafeInboundHostPorts=[])
    assert not judge(packet(22), endpoint(), empty).allowed
