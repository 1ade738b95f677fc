"""What passes through the node, is redirected by it, or comes from its own pods, with real packets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.netns.site import (
    ADDRESSES,
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
ALLOW, DENY = {"action": "Allow"}, {"action": "Deny"}
PROFILE = {"profiles": ["projectcalico-default-allow"]}
NODE_PORT = 30080
BY_NODE_PORT = Probe("peer", "node", NODE_PORT)
DNAT = f"""
table ip site {{
    chain in {{
        type nat hook prerouting priority dstnat;
        ip daddr {ADDRESSES["node"][4]} tcp dport {NODE_PORT} dnat to {ADDRESSES["pod"][4]}:8055
    }}
}}
table ip6 site {{
    chain in {{
        type nat hook prerouting priority dstnat;
        ip6 daddr {ADDRESSES["node"][6]} tcp dport {NODE_PORT} dnat to [{ADDRESSES["pod"][6]}]:8055
    }}
}}
"""


def felix(**spec: Any) -> dict[str, Any]:
    return document("FelixConfiguration", "default", spec)


@pytest.fixture(scope="module")
def here(shared_site: Site) -> Iterator[Site]:
    shared_site.inside("node", "nft", "-f", "-", stdin=DNAT)
    yield shared_site
    shared_site.inside("node", "nft", "delete table ip site; delete table ip6 site")
    shared_site.enforce()


# ---- applyOnForward


@ENDPOINTS
def test_apply_on_forward_opens_the_way_to_pods_by_source(here: Site, interface: str) -> None:
    only_peer = policy("pods", applyOnForward=True, ingress=[rule("Allow", sender="peer")])
    here.enforce(endpoint(interface, **PROFILE), place_set("peer"), only_peer)
    to_pod = [("pod", 8055, "tcp"), ("pod", UDP, "udp"), ("pod", 0, "icmp")]
    denied = [Probe("peer2", *one) for one in to_pod]
    allowed = [Probe("peer", *one) for one in to_pod]
    if interface == "*":  # the pod's own interface has the endpoint too: what comes from a pod is no peer's
        denied.append(Probe("pod", "peer", 8055))
    else:
        allowed.append(Probe("pod", "peer", 8055))
    here.expect(
        allowed=[*allowed, Probe("node", "pod", 8055)], denied=[*denied, Probe("peer2", "node", 8055)]
    )


@ENDPOINTS
def test_a_policy_without_apply_on_forward_says_nothing_of_what_passes_through(
    here: Site, interface: str
) -> None:
    spec: dict[str, Any] = {"ingress": [DENY], "egress": [DENY]}
    through = [Probe("peer", "pod", 8055), Probe("pod", "peer", 8055), Probe("pod", "peer", UDP, "udp")]
    here.enforce(endpoint(interface), policy("closed", **spec))
    here.expect(allowed=through, denied=[Probe("peer", "node", 8055)])
    here.enforce(endpoint(interface), policy("closed", applyOnForward=True, **spec))
    here.expect(denied=[*through, Probe("peer", "node", 8055)], allowed=[Probe("node", "pod", 8055)])


def test_egress_that_applies_on_forward_judges_what_leaves_for_others(here: Site) -> None:
    out = policy("out", applyOnForward=True, egress=[rule("Allow", receiver="peer")])
    here.enforce(endpoint("eth0", **PROFILE), place_set("peer"), out)
    here.expect(
        allowed=[Probe("pod", "peer", 8055), Probe("peer2", "pod", 8055)],
        denied=[Probe("pod", ADDRESSES["peer2"][4], 8055, families=(4,))],
    )


# ---- preDNAT and node ports


@ENDPOINTS
def test_prednat_sees_the_original_port_and_not_the_one_behind_it(here: Site, interface: str) -> None:
    def before_dnat(action: str, port: int) -> dict[str, Any]:
        return policy("early", preDNAT=True, applyOnForward=True, ingress=[rule(action, **to_port(port))])

    here.enforce(endpoint(interface), before_dnat("Deny", 8055), felix(nodePorts=["tcp:30080"]))
    here.expect(allowed=[BY_NODE_PORT], denied=[Probe("peer", "pod", 8055)])
    here.enforce(endpoint(interface), before_dnat("Deny", NODE_PORT), felix(nodePorts=["tcp:30080"]))
    here.expect(allowed=[Probe("peer", "pod", 8055)], denied=[BY_NODE_PORT])


@ENDPOINTS
def test_prednat_allow_is_sufficient(here: Site, interface: str) -> None:
    closed = policy("closed", applyOnForward=True, ingress=[DENY], egress=[DENY])

    def opened(port: int) -> dict[str, Any]:
        return policy("early", preDNAT=True, applyOnForward=True, ingress=[rule("Allow", **to_port(port))])

    here.enforce(endpoint(interface), closed, felix(nodePorts=["30000:32767"]))
    here.expect(denied=[BY_NODE_PORT, Probe("peer", "node", 8055)], allowed=[Probe("peer", "node", 22)])
    here.enforce(endpoint(interface), closed, opened(8056), felix(nodePorts=["30000:32767"]))
    here.expect(allowed=[Probe("peer", "node", 8056)], denied=[BY_NODE_PORT, Probe("peer", "node", 8055)])
    if interface == "eth0":  # under "*" the pod's interface has the closed policy for what leaves by it
        here.enforce(endpoint(interface), closed, opened(NODE_PORT), felix(nodePorts=["30000:32767"]))
        here.expect(allowed=[BY_NODE_PORT], denied=[Probe("peer", "node", 8055)])


@ENDPOINTS
def test_a_node_port_is_forwarded_and_so_not_the_business_of_normal_policy(
    here: Site, interface: str
) -> None:
    closed = policy("closed", ingress=[DENY], egress=[DENY])
    here.enforce(endpoint(interface), closed, felix(nodePorts=["30000:32767"]))
    here.expect(allowed=[BY_NODE_PORT], denied=[Probe("peer", "node", 8055)])
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"type": "NodePort", "ports": [{"name": "web", "port": 80, "nodePort": NODE_PORT}]},
    }
    here.enforce(endpoint(interface), closed, service)
    here.expect(allowed=[BY_NODE_PORT], denied=[Probe("peer", "node", 8055)])


def test_the_source_of_a_node_ports_client_is_seen(here: Site) -> None:
    """t_nodeport_src_cidr: the packet is judged before DNAT and masquerading change it."""
    only_peer = policy(
        "early", preDNAT=True, applyOnForward=True, ingress=[
            rule("Allow", sender="peer"), rule("Deny", **to_port(NODE_PORT)),
        ],
    )  # fmt: skip
    here.enforce(endpoint("*", **PROFILE), place_set("peer"), only_peer, felix(nodePorts=["30000:32767"]))
    here.expect(allowed=[BY_NODE_PORT], denied=[Probe("peer2", "node", NODE_PORT)])


@ENDPOINTS
def test_a_failsafe_beats_prednat_deny(here: Site, interface: str) -> None:
    nothing = policy("early", preDNAT=True, applyOnForward=True, ingress=[DENY])
    here.enforce(endpoint(interface, **PROFILE), nothing)
    here.expect(
        allowed=[Probe("peer", "node", 22), Probe("node", "peer", 8055), Probe("node", "pod", 8055)],
        denied=[Probe("peer", "node", 8055), Probe("peer", "pod", 8055), BY_NODE_PORT],
    )


# ---- from a pod to its own host

TO_HOST = [
    Probe("pod", "node", 8055),
    Probe("pod", "node", UDP, "udp"),
    Probe("pod", "node", protocol="icmp"),
]
NORMAL = {
    "none": [],
    "deny": [policy("normal", ingress=[DENY])],
    "allow": [policy("normal", ingress=[ALLOW])],
}
EARLY = {
    "none": [],
    "deny": [policy("early", preDNAT=True, applyOnForward=True, ingress=[DENY])],
}


@pytest.mark.parametrize("action", ["Return", "Accept", "Drop", None])
@pytest.mark.parametrize("normal", NORMAL)
@pytest.mark.parametrize("interface", ["eth0", "*"])
def test_a_pod_reaches_its_own_host_as_the_configured_action_and_policy_say(
    here: Site, interface: str, normal: str, action: str | None
) -> None:
    """t_own_pod_to_own_host, the matrix: a named endpoint on eth0 never concerns pods."""
    configured = [felix(defaultEndpointToHostAction=action)] if action else []
    here.enforce(endpoint(interface), *NORMAL[normal], *configured)
    if interface == "eth0" or action == "Accept":
        reaches = True
    elif action == "Drop":
        reaches = False
    else:
        reaches = normal == "allow"
    others = [Probe("node", "pod", 8055), Probe("pod", "peer", 8055)]
    here.expect(allowed=[*others, *(TO_HOST if reaches else [])], denied=[] if reaches else TO_HOST)


@pytest.mark.parametrize("interface", ["eth0", "*"])
def test_prednat_policy_of_the_endpoint_for_all_concerns_pods_too(here: Site, interface: str) -> None:
    here.enforce(endpoint(interface, **PROFILE), *EARLY["deny"], felix(defaultEndpointToHostAction="Accept"))
    if interface == "*":
        here.expect(denied=TO_HOST, allowed=[Probe("node", "pod", 8055)])
    else:
        here.expect(allowed=TO_HOST, denied=[Probe("peer", "node", 8055)])


def test_a_failsafe_is_open_to_a_pod_unless_the_action_drops(here: Site) -> None:
    here.enforce(endpoint("*"))
    here.expect(allowed=[Probe("pod", "node", 22)], denied=[Probe("pod", "node", 8055)])
