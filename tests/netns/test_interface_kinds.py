"""Every kind of interface that a node may have and this tier's other tests cannot make: in ``make test-vm``.

The kernel on which ``make test`` runs need not have these kinds. Debian's kernels have them, and there a kind
that cannot be made is a failure. What every kernel can make is tested in every run: veth, bridge, vxlan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.netns.site import (
    ADDRESSES,
    ANSWERED_WITHIN,
    DENIED_AFTER,
    Site,
    endpoint,
    policy,
    run,
    site,
    to_port,
)
from tests.netns.wires import Attempt

pytestmark = pytest.mark.vm

NODE, PEER = "198.51.100.1", "198.51.100.2"
ALLOWED, DENIED = 8055, 8056
OUTER_NODE, OUTER_PEER = ADDRESSES["node"][4], ADDRESSES["peer"][4]


@dataclass(frozen=True)
class Kind:
    """``node`` and ``peer``: what ``ip`` is told in each; ``name``: the interface with the node's address."""

    name: str
    node: tuple[str, ...]
    peer: tuple[str, ...] = ()
    peer_name: str = ""
    covered: tuple[str, ...] = ()


def tunnel(kind: str, *options: str) -> Kind:
    """The same tunnel seen from both ends."""
    ends = [
        f"link add kind0 type {kind} {' '.join(options)} local {own} remote {other}"
        for own, other in ((OUTER_NODE, OUTER_PEER), (OUTER_PEER, OUTER_NODE))
    ]
    return Kind("kind0", (ends[0],), (ends[1],))


def geneve() -> Kind:
    """Geneve has no local address."""
    return Kind(
        "kind0",
        (f"link add kind0 type geneve id 7 remote {OUTER_PEER}",),
        (f"link add kind0 type geneve id 7 remote {OUTER_NODE}",),
    )


def vlan() -> Kind:
    tagged = ("link add link eth0 name kind0 type vlan id 5",)
    return Kind("kind0", tagged, tagged)


def qinq() -> Kind:
    twice = (
        "link add link eth0 name outer0 type vlan protocol 802.1ad id 6",
        "link set outer0 up",
        "link add link outer0 name kind0 type vlan id 7",
    )
    return Kind("kind0", twice, twice, covered=("outer0",))


def bond() -> Kind:
    made = (
        "link add kind0 type bond mode active-backup miimon 100",
        "link add slave0 type veth peer name far0 netns {peer}",
        "link set slave0 master kind0",
        "link set slave0 up",
    )
    return Kind("kind0", made, ("link set far0 name kind0",), covered=("slave0",))


def ipvlan() -> Kind:
    return Kind("kind0", ("link add link eth0 name kind0 type ipvlan mode l2",), peer_name="eth0")


def vrf() -> Kind:
    made = (
        "link add vrf0 type vrf table 10",
        "link set vrf0 up",
        "link add kind0 type veth peer name kind0 netns {peer}",
        "link set kind0 master vrf0",
    )
    return Kind("kind0", made, covered=("vrf0",))


KINDS: dict[str, Callable[[], Kind]] = {
    "vlan": vlan,
    "qinq": qinq,
    "bond": bond,
    "geneve": geneve,
    "gre": lambda: tunnel("gre"),
    "gretap": lambda: tunnel("gretap"),
    "ipip": lambda: tunnel("ipip"),
    "ipvlan": ipvlan,
    "vrf": vrf,
}


@pytest.fixture(scope="module")
def guarded() -> Iterator[Site]:
    """The peer may ask one TCP port and no other; all else, tunnels among it, passes."""
    with site("k") as made:
        made.inside("node", "sysctl", "-q", "net.ipv4.tcp_l3mdev_accept=1")
        rules = [
            {"action": "Allow", **to_port(ALLOWED)},
            {"action": "Deny", "protocol": "TCP"},
            {"action": "Allow"},
        ]
        made.enforce(
            endpoint(),
            policy("tcp", ingress=rules, egress=[{"action": "Allow"}], types=["Ingress", "Egress"]),
        )
        yield made


def attached(where: Site, name: str) -> bool:
    """Whether the agent says that it filters an interface in both directions."""
    found = where.status().get("interfaces", [])
    return {each["direction"] for each in found if each["name"] == name and not each["error"]} == {
        "ingress",
        "egress",
    }


def make(where: Site, kind: Kind) -> None:
    peer = where.namespace("peer")
    where.batch("node", *(line.format(peer=peer) for line in kind.node))
    where.batch("node", f"address add {NODE}/24 dev {kind.name}", f"link set {kind.name} up")
    far = kind.peer_name or kind.name
    where.batch("peer", *kind.peer, f"address add {PEER}/24 dev {far}", f"link set {far} up")


def remove(where: Site, kind: Kind) -> None:
    for name in (kind.name, *kind.covered):
        if exists(where, "node", name):
            where.batch("node", f"link del {name}")
    if kind.peer_name:
        where.batch("peer", f"address del {PEER}/24 dev {kind.peer_name}")
    for name in (kind.name, "outer0"):
        if exists(where, "peer", name):
            where.batch("peer", f"link del {name}")


def exists(where: Site, place: str, name: str) -> bool:
    shown = run("ip", "-netns", where.namespace(place), "-o", "link", "show")
    return any(line.split(": ")[1].split("@")[0] == name for line in shown.splitlines())


@pytest.mark.parametrize("name", KINDS)
def test_an_interface_of_this_kind_is_covered_and_what_comes_through_it_is_judged(
    guarded: Site, name: str
) -> None:
    kind = KINDS[name]()
    try:
        make(guarded, kind)
        for interface in (kind.name, *kind.covered):
            guarded.wait(lambda _, interface=interface: attached(guarded, interface))
        peer = guarded.path("peer")
        assert Attempt(peer, NODE, ALLOWED).answered(ANSWERED_WITHIN)
        assert not Attempt(peer, NODE, DENIED).answered(DENIED_AFTER)
    finally:
        remove(guarded, kind)


@pytest.mark.parametrize(
    "kind",
    ["dummy", "wireguard", pytest.param("netkit", marks=pytest.mark.since((6, 7), "netkit"))],
)
def test_an_interface_that_carries_nothing_yet_is_covered_as_it_appears(guarded: Site, kind: str) -> None:
    guarded.batch("node", f"link add kind0 type {kind}", "link set kind0 up")
    try:
        guarded.wait(lambda _: attached(guarded, "kind0"))
    finally:
        guarded.batch("node", "link del kind0")
