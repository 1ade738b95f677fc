"""A host endpoint with no policy and no profile, and what its first policies open, with real packets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.site import UDP, Probe, Site, endpoint, policy, rule, to_port

ENDPOINTS = pytest.mark.parametrize("interface", ["eth0", "*"])
#: What no endpoint may ever break.
OWN_POD = [
    Probe("node", "pod", 8055),
    Probe("node", "pod", UDP, "udp"),
    Probe("node", "pod", protocol="icmp"),
]
FORWARDED = [
    Probe("peer", "pod", 8055),
    Probe("pod", "peer", 8055),
    Probe("pod", "peer", UDP, "udp"),
    Probe("peer", "pod", protocol=253, families=(4,)),
]
INTO_NODE = [
    Probe("peer", "node", 8055),
    Probe("peer", "node", UDP, "udp"),
    Probe("peer", "node", protocol="icmp"),
    Probe("peer", "node", protocol=253),
    Probe("peer", "node", protocol=254),
]
OUT_OF_NODE = [
    Probe("node", "peer", 8055),
    Probe("node", "peer", UDP, "udp"),
    Probe("node", "peer", protocol="icmp"),
    Probe("node", "peer", protocol=253),
]


@pytest.fixture(scope="module")
def here(shared_site: Site) -> Iterator[Site]:
    yield shared_site
    shared_site.enforce()


def test_without_an_endpoint_everything_passes(here: Site) -> None:
    here.enforce()
    here.expect(allowed=[*OWN_POD, *FORWARDED, *INTO_NODE, *OUT_OF_NODE])


@ENDPOINTS
def test_an_endpoint_alone_blocks_all_but_failsafes_own_pods_and_what_passes_through(
    here: Site, interface: str
) -> None:
    here.enforce(endpoint(interface))
    here.expect(
        allowed=[
            *OWN_POD,
            *FORWARDED,
            Probe("peer", "node", 22),
            Probe("peer", "node", 6443),
            Probe("node", "peer", 2379),
        ],
        denied=[*INTO_NODE, *OUT_OF_NODE, Probe("node", "peer", 22)],
    )


@ENDPOINTS
def test_allow_rules_open_one_direction_each(here: Site, interface: str) -> None:
    out = policy("out", egress=[{"action": "Allow"}])
    here.enforce(endpoint(interface), out)
    here.expect(denied=INTO_NODE)
    here.expect(allowed=[*OWN_POD, *FORWARDED, *OUT_OF_NODE])
    # Without ports one flow is like another: the peer may begin where the node has.
    here.expect(allowed=[Probe("peer", "node", protocol=253)], denied=[Probe("peer", "node", protocol=254)])
    here.enforce(endpoint(interface), out, policy("in", ingress=[{"action": "Allow"}]))
    here.expect(allowed=[*OWN_POD, *FORWARDED, *OUT_OF_NODE, *INTO_NODE])
    here.enforce(endpoint(interface), policy("in", ingress=[{"action": "Allow"}]))
    here.expect(denied=OUT_OF_NODE)
    here.expect(allowed=[*OWN_POD, *FORWARDED, *INTO_NODE])


@ENDPOINTS
def test_a_rule_opens_its_port_or_protocol_and_no_other(here: Site, interface: str) -> None:
    opened = policy("some", ingress=[rule("Allow", **to_port(8055)), rule("Allow", protocol=253)])
    here.enforce(endpoint(interface), opened)
    here.expect(
        allowed=[Probe("peer", "node", 8055), Probe("peer", "node", protocol=253), *OWN_POD],
        denied=[
            Probe("peer", "node", 8056),
            Probe("peer", "node", UDP, "udp"),
            Probe("peer", "node", protocol="icmp"),
            Probe("peer", "node", protocol=254),
        ],
    )


@ENDPOINTS
def test_denying_everything_spares_own_pods_and_what_passes_through(here: Site, interface: str) -> None:
    closed = policy("closed", ingress=[{"action": "Deny"}], egress=[{"action": "Deny"}])
    profile = {"profiles": ["projectcalico-default-allow"]}
    here.enforce(endpoint(interface, **profile), closed)
    here.expect(
        allowed=[*OWN_POD, *FORWARDED, Probe("peer", "node", 22), Probe("node", "peer", 6443)],
        denied=[*INTO_NODE, *OUT_OF_NODE],
    )


@ENDPOINTS
def test_the_allow_profile_serves_each_direction_that_no_policy_selects(here: Site, interface: str) -> None:
    profile = {"profiles": ["projectcalico-default-allow"]}
    here.enforce(endpoint(interface, **profile))
    here.expect(allowed=[*OWN_POD, *FORWARDED, *INTO_NODE, *OUT_OF_NODE])
    here.enforce(endpoint(interface, **profile), policy("out", egress=[{"action": "Deny"}]))
    here.expect(denied=OUT_OF_NODE)
    here.expect(allowed=[*OWN_POD, *FORWARDED, *INTO_NODE])
    here.enforce(endpoint(interface, **profile), policy("in", ingress=[{"action": "Deny"}]))
    here.expect(denied=INTO_NODE)
    here.expect(allowed=[*OWN_POD, *FORWARDED, *OUT_OF_NODE])


def test_loopback_is_policed_under_the_endpoint_for_all_and_free_under_a_named_one(here: Site) -> None:
    by_loopback = [Probe("node", "loopback", 8055), Probe("node", "node", 8055)]
    here.enforce(endpoint("*"))
    here.expect(allowed=[Probe("peer", "node", 22)], denied=by_loopback)
    here.enforce(endpoint("eth0"))
    here.expect(allowed=[*by_loopback, Probe("peer", "node", 22)])
    local = [rule("Allow", source={"nets": ["127.0.0.1/32"]}), rule("Allow", source={"nets": ["::1/128"]})]
    here.enforce(endpoint("*"), policy("local", ingress=local, egress=local))
    here.expect(allowed=by_loopback[:1], denied=by_loopback[1:])
