"""Which endpoint, which tier, which policy and which peers decide, with real packets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.netns.site import (
    ADDRESSES,
    NODE,
    UDP,
    Probe,
    Site,
    document,
    endpoint,
    place_set,
    policy,
    rule,
    to_port,
)

ENDPOINTS = pytest.mark.parametrize("interface", ["eth0", "*"])
ALLOW, DENY, PASS = {"action": "Allow"}, {"action": "Deny"}, {"action": "Pass"}
PROFILE = {"profiles": ["projectcalico-default-allow"]}
TO_8055, TO_8056, TO_8057 = (Probe("peer", "node", port) for port in (8055, 8056, 8057))


def tier(name: str, order: float, action: str = "Deny") -> dict[str, Any]:
    return document("Tier", name, {"order": order, "defaultAction": action})


def in_tier(tier_name: str, name: str, **spec: Any) -> dict[str, Any]:
    return policy(f"{tier_name}.{name}", tier=tier_name, **spec)


@pytest.fixture(scope="module")
def here(shared_site: Site) -> Iterator[Site]:
    yield shared_site
    shared_site.enforce()


# ---- tiers and order


@ENDPOINTS
def test_an_earlier_tier_decides_before_a_later_one_unless_it_passes(here: Site, interface: str) -> None:
    last = policy("last", ingress=[rule("Allow", **to_port(8055)), rule("Allow", **to_port(8056))])
    first = [rule("Deny", **to_port(8055)), rule("Pass", **to_port(8056))]
    here.enforce(endpoint(interface), tier("security", 10), in_tier("security", "first", ingress=first), last)
    here.expect(allowed=[TO_8056], denied=[TO_8055, TO_8057])
    late = tier("security", 2e6)  # after the default tier, which denies what it does not allow
    here.enforce(endpoint(interface), late, in_tier("security", "first", ingress=first), last)
    here.expect(allowed=[TO_8055, TO_8056], denied=[TO_8057])


def test_the_end_of_a_tier_denies_or_passes_as_the_tier_says(here: Site) -> None:
    first = in_tier("security", "first", ingress=[rule("Allow", **to_port(8055))])
    last = policy("last", ingress=[rule("Allow", **to_port(8056))])
    here.enforce(endpoint(), tier("security", 10), first, last)
    here.expect(allowed=[TO_8055], denied=[TO_8056, TO_8057])
    here.enforce(endpoint(), tier("security", 10, "Pass"), first, last)
    here.expect(allowed=[TO_8055, TO_8056], denied=[TO_8057])


def test_pass_beyond_the_last_tier_goes_on_to_the_profile(here: Site) -> None:
    passing = policy("passing", ingress=[rule("Pass", **to_port(8055))])
    here.enforce(endpoint(**PROFILE), passing)
    here.expect(allowed=[TO_8055], denied=[TO_8056])
    here.enforce(endpoint(), passing)
    here.expect(denied=[TO_8055, TO_8056], allowed=[Probe("peer", "node", 22)])


@ENDPOINTS
def test_the_lower_order_decides_and_1000_is_an_order_like_any(here: Site, interface: str) -> None:
    """t_order_1000_ok."""
    allow = policy("b-allow", order=1000, ingress=[rule("Allow", **to_port(8055))])
    deny = [policy("a-deny", order=order, ingress=[DENY]) for order in (1001, 999)]
    here.enforce(endpoint(interface), allow, deny[0])
    here.expect(allowed=[TO_8055], denied=[TO_8056])
    here.enforce(endpoint(interface), allow, deny[1])
    here.expect(denied=[TO_8055, TO_8056], allowed=[Probe("peer", "node", 22)])
    unordered = policy("a-deny", ingress=[DENY])
    here.enforce(endpoint(interface), allow, unordered)
    here.expect(allowed=[TO_8055], denied=[TO_8056])


def test_a_staged_policy_is_never_enforced(here: Site) -> None:
    deny = policy("deny", kind="StagedGlobalNetworkPolicy", order=1, ingress=[DENY], egress=[DENY])
    allow = policy("allow", kind="StagedGlobalNetworkPolicy", order=1, ingress=[ALLOW])
    here.enforce(endpoint(**PROFILE), deny)
    here.expect(allowed=[TO_8055, Probe("node", "peer", 8055)])
    here.enforce(
        endpoint(**PROFILE), allow, policy("real", order=2, ingress=[rule("Allow", **to_port(8056))])
    )
    here.expect(allowed=[TO_8056], denied=[TO_8055])


def test_log_lets_the_next_rule_decide(here: Site) -> None:
    logged = policy("logged", ingress=[{"action": "Log"}, rule("Allow", **to_port(8055))])
    here.enforce(endpoint(), logged)
    here.expect(allowed=[TO_8055], denied=[TO_8056])


# ---- peers


@ENDPOINTS
def test_a_network_set_opens_to_its_members_and_follows_its_edits(here: Site, interface: str) -> None:
    friends = policy("friends", ingress=[rule("Allow", source={"selector": "role == 'friend'"})])

    def members(*places: str) -> dict[str, Any]:
        nets = [address for place in places for address in ADDRESSES[place].values()]
        return document("GlobalNetworkSet", "friends", {"nets": nets}, {"role": "friend"})

    from_peer, from_peer2 = TO_8055, Probe("peer2", "node", 8055)
    here.enforce(endpoint(interface), friends, members("peer"))
    here.expect(allowed=[from_peer], denied=[from_peer2])
    here.enforce(endpoint(interface), friends, members("peer2"))
    here.expect(allowed=[from_peer2], denied=[from_peer])
    here.enforce(endpoint(interface), friends, members("peer", "peer2"))
    here.expect(allowed=[from_peer2, from_peer])


def test_a_selector_that_matches_nothing_opens_to_nobody(here: Site) -> None:
    """t_empty_selector_matches_nothing."""
    nobody = policy("nobody", ingress=[rule("Allow", source={"selector": "role == 'nobody'"})])
    empty_set = document("GlobalNetworkSet", "empty", {"nets": []}, {"role": "nobody"})
    for resources in ([nobody], [nobody, empty_set]):
        here.enforce(endpoint(), *resources)
        here.expect(denied=[TO_8055, Probe("peer", "node", UDP, "udp")], allowed=[Probe("peer", "node", 22)])
    whole = document("GlobalNetworkSet", "empty", {"nets": [ADDRESSES["peer"][4]]}, {"role": "nobody"})
    here.enforce(endpoint(), nobody, whole)
    here.expect(allowed=[Probe("peer", "node", 8055, families=(4,))])


def test_a_wider_network_still_counts_where_a_narrower_one_is_named(here: Site) -> None:
    """t_wider_prefix_still_applies."""
    rules = [
        rule("Allow", source={"nets": ["192.0.2.0/24"]}, **to_port(8055)),
        rule("Allow", source={"nets": ["192.0.2.2/32"]}, **to_port(8056)),
        rule("Allow", source={"nets": ["2001:db8::/32"]}, **to_port(8055)),
        rule("Allow", source={"nets": ["2001:db8::2/128"]}, **to_port(8056)),
    ]
    here.enforce(endpoint(), policy("widths", ingress=rules))
    here.expect(
        allowed=[TO_8055, TO_8056, Probe("peer2", "node", 8055)], denied=[Probe("peer2", "node", 8056)]
    )


def test_a_range_of_ports_includes_both_its_ends(here: Site) -> None:
    """t_port_range_end_inclusive."""
    here.enforce(endpoint(), policy("range", ingress=[rule("Allow", **to_port("8055:8056"))]))
    here.expect(allowed=[TO_8055, TO_8056], denied=[TO_8057])
    here.enforce(endpoint(), policy("range", ingress=[rule("Allow", **to_port("1:65535"))]))
    here.expect(allowed=[TO_8055, TO_8056, TO_8057], denied=[Probe("peer", "node", UDP, "udp")])


@ENDPOINTS
def test_named_ports_of_host_endpoints_open_what_the_endpoint_says(here: Site, interface: str) -> None:
    ips = list(ADDRESSES["node"].values())
    ports = [
        {"name": "web", "port": 8056, "protocol": "TCP"},
        {"name": "dns", "port": UDP, "protocol": "UDP"},
    ]
    rules = [
        rule("Allow", protocol="TCP", destination={"ports": ["web"]}),
        rule("Allow", protocol="UDP", destination={"ports": ["dns"]}),
    ]
    opened = policy("named", ingress=rules)
    here.enforce(endpoint(interface, ports=ports, expectedIPs=ips), opened)
    here.expect(allowed=[TO_8056, Probe("peer", "node", UDP, "udp")], denied=[TO_8055])
    moved = [{"name": "web", "port": 8055, "protocol": "TCP"}]
    here.enforce(endpoint(interface, ports=moved, expectedIPs=ips), opened)
    here.expect(allowed=[TO_8055], denied=[TO_8056, Probe("peer", "node", UDP, "udp")])


def test_named_ports_tell_where_a_node_may_connect_to(here: Site) -> None:
    peer = document(
        "HostEndpoint",
        "peer",
        {
            "node": "peer",
            "interfaceName": "*",
            "expectedIPs": list(ADDRESSES["peer"].values()),
            "ports": [{"name": "web", "port": 8056, "protocol": "TCP"}],
        },
        {"role": "peer"},
    )
    selected = {"selector": "role == 'peer'", "ports": ["web"]}
    out = policy("out", egress=[rule("Allow", protocol="TCP", destination=selected)])
    here.enforce(endpoint(), peer, out)
    here.expect(allowed=[Probe("node", "peer", 8056)], denied=[Probe("node", "peer", 8055)])


# ---- endpoints


def test_an_endpoint_finds_its_interface_by_expected_address(here: Site) -> None:
    unnamed = endpoint("", name="by-address", expectedIPs=[ADDRESSES["node"][4]])
    here.enforce(unnamed)
    assert {one["name"] for one in here.status()["interfaces"]} == {"eth0"}
    here.expect(
        denied=[TO_8055, Probe("node", "peer", 8055)],
        allowed=[Probe("node", "loopback", 8055), Probe("pod", "node", 8055), Probe("peer", "node", 22)],
    )
    here.enforce(endpoint("", name="elsewhere", expectedIPs=["198.51.100.7"]))
    here.expect(allowed=[TO_8055, Probe("node", "peer", 8055)])


@pytest.mark.parametrize("how", ["by-name", "by-address"])
def test_a_specific_endpoint_displaces_the_one_for_all_on_its_interface(here: Site, how: str) -> None:
    specific = (
        endpoint("eth0", name="specific")
        if how == "by-name"
        else endpoint("", name="specific", expectedIPs=[ADDRESSES["node"][6]])
    )
    specific["metadata"]["labels"] = {"specific": "yes"}
    everywhere = policy("everywhere", ingress=[ALLOW], egress=[ALLOW])
    only = policy("only", selector="has(specific)", ingress=[rule("Allow", **to_port(8055))], egress=[ALLOW])
    here.enforce(endpoint("*"), everywhere, only)
    here.expect(allowed=[TO_8055, TO_8056, Probe("pod", "node", 8056)])
    here.enforce(endpoint("*"), specific, everywhere, only)
    here.expect(
        allowed=[TO_8055, Probe("pod", "node", 8056), Probe("node", "loopback", 8056, families=(4,))],
        denied=[TO_8056],
    )


def test_of_two_endpoints_for_one_interface_the_first_by_name_counts(here: Site) -> None:
    first, second = endpoint("eth0", name="a"), endpoint("eth0", name="b")
    second["metadata"]["labels"] = {"second": "yes"}
    opens = [
        policy("first", ingress=[rule("Allow", **to_port(8055))]),
        policy("second", selector="has(second)", ingress=[rule("Allow", **to_port(8056))]),
    ]
    here.enforce(first, second, *opens)
    here.expect(allowed=[TO_8055], denied=[TO_8056])
    here.enforce(second, *opens)
    here.expect(allowed=[TO_8056], denied=[TO_8055])


def test_an_endpoint_of_another_node_says_nothing_here(here: Site) -> None:
    other = endpoint("eth0", name="other")
    other["spec"]["node"] = "another-node"
    here.enforce(other, policy("closed", ingress=[DENY]))
    here.expect(allowed=[TO_8055])
    assert not here.status()["interfaces"]
    assert here.status()["node"] == NODE


def test_an_endpoint_for_an_interface_that_does_not_exist_stops_no_other(here: Site) -> None:
    """t_bad_interface_name_does_not_block_others."""
    missing = endpoint("eth77", name="a-missing")
    here.enforce(missing, endpoint("eth0"), place_set("peer"), policy("some", ingress=[
        rule("Allow", sender="peer", **to_port(8055))
    ]))  # fmt: skip
    here.expect(allowed=[TO_8055], denied=[TO_8056])
    here.batch("node", "link add eth77 type bridge", "link set eth77 up")
    try:
        here.wait(lambda status: {"eth0", "eth77"} == {one["name"] for one in status["interfaces"]})
    finally:
        here.batch("node", "link del eth77")
    here.expect(allowed=[TO_8055], denied=[TO_8056])
