"""doNotTrack with real packets: by XDP where it can attach, by tc where it cannot; no memory either way."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pyagent.abi import Direction, Reason
from pyagent.bpf import numbers, syscall
from pyagent.bpf.numbers import XDP_PASS, AttachType, ProgramType
from tests.dataplane.kernel_objects import returns
from tests.lab.namespace import open_socket
from tests.netns.site import UDP, Probe, Site, endpoint, place_set, policy, rule, to_port

ENDPOINTS = pytest.mark.parametrize("interface", ["eth0", "*"])
ETH_P_ALL = 3
ALLOW = {"action": "Allow"}
UNTRACKED: dict[str, Any] = {"doNotTrack": True, "applyOnForward": True}
TO_8055 = Probe("peer", "node", 8055)


def allow_all() -> dict[str, Any]:
    return policy("all", ingress=[ALLOW], egress=[ALLOW])


def deny_8055(**selected: Any) -> dict[str, Any]:
    return policy("deny", **UNTRACKED, ingress=[rule("Deny", **to_port(8055), **selected)])


@pytest.fixture(scope="module")
def here(shared_site: Site) -> Iterator[Site]:
    yield shared_site
    shared_site.enforce()


def xdp(site: Site) -> dict[str, Any]:
    """What the agent says of XDP on eth0."""
    return next((one for one in site.status()["xdp"] if one["name"] == "eth0"), {})


@contextmanager
def listening(site: Site) -> Iterator[list[bytes]]:
    """Frames that the node's kernel made packets of on eth0, seen before tc."""
    seen: list[bytes] = []
    with open_socket(site.path("node"), socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as tap:
        tap.bind(("eth0", ETH_P_ALL))
        tap.setblocking(False)
        yield seen
        time.sleep(0.05)
        try:
            while True:
                data, (_, _, kind, _, _) = tap.recvfrom(2000)
                if kind != 4:  # PACKET_OUTGOING: sent by the node itself
                    seen.append(data)
        except BlockingIOError:
            return


def to_port_seen(frames: list[bytes], port: int) -> int:
    """How many of the frames carry TCP to that port."""
    number = port.to_bytes(2)
    return sum(
        (frame[12:14] == b"\x08\x00" and frame[23] == 6 and frame[36:38] == number)
        or (frame[12:14] == b"\x86\xdd" and frame[20] == 6 and frame[56:58] == number)
        for frame in frames
    )


def untracked_denials(site: Site) -> int:
    return site.counted("eth0", Direction.INGRESS, Reason.UNTRACKED_DENY)


@ENDPOINTS
def test_a_denied_packet_is_dropped_by_xdp_before_the_kernel_makes_a_packet_of_it(
    here: Site, interface: str
) -> None:
    here.enforce(endpoint(interface), allow_all(), deny_8055())
    assert xdp(here) == {"name": "eth0", "mode": "native", "heldBy": "", "error": ""}
    before = untracked_denials(here)
    with listening(here) as seen:
        here.expect(allowed=[Probe("peer", "node", 8056)], denied=[TO_8055])
    assert to_port_seen(seen, 8055) == 0
    assert to_port_seen(seen, 8056) >= 2, "what is not denied reaches the kernel"
    assert untracked_denials(here) >= before + 2


def test_where_another_program_holds_xdp_it_stays_and_tc_drops(here: Site) -> None:
    here.enforce()
    program = syscall.prog_load(ProgramType.XDP, returns(XDP_PASS), "somebody_else")
    with here.entered("node"):
        link = syscall.link_create(program, here.ifindex("node", "eth0"), AttachType.XDP, numbers.XDP_NATIVE)
    os.close(program)
    try:
        here.enforce(endpoint(), allow_all(), deny_8055())
        assert xdp(here) == {"name": "eth0", "mode": None, "heldBy": "somebody_else", "error": ""}
        assert here.status()["protected"]
        before = untracked_denials(here)
        with listening(here) as seen:
            here.expect(allowed=[Probe("peer", "node", 8056)], denied=[TO_8055])
        assert to_port_seen(seen, 8055) >= 2, "it reached the kernel"
        assert untracked_denials(here) >= before + 2
    finally:
        os.close(link)
    here.wait(lambda status: status["xdp"][0]["mode"] == "native")


def test_where_the_driver_refuses_the_generic_hook_is_taken(here: Site) -> None:
    here.enforce()
    here.inside("peer", "ip", "link", "set", "eth0", "mtu", "9000")  # more than a page: veth refuses
    try:
        here.enforce(endpoint(), allow_all(), deny_8055())
        assert xdp(here)["mode"] == "generic"
        with listening(here) as seen:
            here.expect(allowed=[Probe("peer", "node", 8056)], denied=[TO_8055])
        assert to_port_seen(seen, 8055) == 0
    finally:
        here.inside("peer", "ip", "link", "set", "eth0", "mtu", "1500")
        here.enforce()


def test_xdp_is_there_only_while_untracked_policy_denies_something_there(here: Site) -> None:
    here.enforce(endpoint(), allow_all())
    assert here.status()["xdp"] == []
    assert "xdp" not in here.inside("node", "ip", "link", "show", "eth0")
    here.enforce(endpoint(), allow_all(), deny_8055())
    assert [one["name"] for one in here.status()["xdp"]] == ["eth0"], "not on the pod's interface, nor on lo"
    assert "xdp" in here.inside("node", "ip", "link", "show", "eth0")
    here.enforce(endpoint(), allow_all())
    assert "xdp" not in here.inside("node", "ip", "link", "show", "eth0")
    here.expect(allowed=[TO_8055])


def test_what_is_denied_for_one_source_is_not_for_another(here: Site) -> None:
    denied = policy("deny", **UNTRACKED, ingress=[rule("Deny", sender="peer2")])
    here.enforce(endpoint(), allow_all(), place_set("peer2"), denied)
    here.expect(
        allowed=[TO_8055, Probe("peer", "node", UDP, "udp"), Probe("peer2", "node", 22)],
        denied=[
            Probe("peer2", "node", 8055),
            Probe("peer2", "node", UDP, "udp"),
            Probe("peer2", "node", protocol="icmp"),
            Probe("peer2", "pod", 8055),
        ],
    )


@ENDPOINTS
def test_untracked_traffic_needs_both_directions(here: Site, interface: str) -> None:
    both = policy("untracked", **UNTRACKED, ingress=[rule("Allow", sender="peer")], egress=[
        rule("Allow", receiver="peer")
    ])  # fmt: skip
    one = policy("untracked", **UNTRACKED, ingress=[rule("Allow", sender="peer")])
    probes = [
        TO_8055,
        Probe("peer", "node", UDP, "udp"),
        Probe("peer", "node", protocol="icmp"),
        Probe("peer", "node", protocol=253),
    ]
    here.enforce(endpoint(interface), place_set("peer"), both)
    here.expect(
        allowed=[*probes, Probe("node", "peer", 8055)],
        denied=[Probe("peer2", "node", 8055), Probe("peer2", "node", UDP, "udp")],
    )
    here.enforce(endpoint(interface), place_set("peer"), one)
    # Answers have no flow to follow. The host's own TCP needs none: a live socket is state enough.
    here.expect(allowed=[TO_8055], denied=[*probes[1:], Probe("node", "peer", 8055)])
    here.enforce(endpoint(interface), place_set("peer"), both)
    here.expect(allowed=probes)


@ENDPOINTS
def test_failsafes_outlive_an_untracked_deny_of_everything(here: Site, interface: str) -> None:
    nothing = policy("untracked", **UNTRACKED, ingress=[{"action": "Deny"}], egress=[{"action": "Deny"}])
    here.enforce(endpoint(interface), allow_all(), nothing)
    here.expect(
        allowed=[
            Probe("peer", "node", 2379),
            Probe("node", "peer", 2379),
            Probe("peer", "node", 22),
        ],
        denied=[
            Probe("node", "peer", 22),
            TO_8055,
            Probe("node", "peer", 8055),
            Probe("peer", "pod", 8055),
        ],
    )


def test_uninstalling_takes_xdp_away_too(here: Site) -> None:
    from pyagent.attach.uninstall import uninstall

    here.enforce(endpoint(), allow_all(), deny_8055())
    assert "xdp" in here.inside("node", "ip", "link", "show", "eth0")
    here.processes.stop("agent")
    try:
        assert "xdp" in here.inside("node", "ip", "link", "show", "eth0"), "it outlives its agent"
        here.expect(denied=[TO_8055])
        with here.entered("node"):
            removed = uninstall(here.pins)
        assert removed.links == 7  # tcx both ways on eth0, cali0 and lo; XDP on eth0
        assert "xdp" not in here.inside("node", "ip", "link", "show", "eth0")
        assert not here.pins.root.exists()
        here.expect(allowed=[TO_8055])
    finally:
        here.start_agent("--xdp-interface", "eth0")


def test_a_restarted_agent_takes_over_its_xdp_link(here: Site) -> None:
    here.enforce(endpoint(), allow_all(), deny_8055())
    before = here.inside("node", "ip", "-o", "link", "show", "eth0")
    here.processes.kill("agent")
    here.expect(denied=[TO_8055], allowed=[Probe("peer", "node", 8056)])
    here.start_agent("--xdp-interface", "eth0")
    assert xdp(here)["mode"] == "native"
    assert here.inside("node", "ip", "-o", "link", "show", "eth0") != before, "another program's id"
    here.expect(denied=[TO_8055], allowed=[Probe("peer", "node", 8056)])
