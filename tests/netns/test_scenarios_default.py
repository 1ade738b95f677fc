"""A host endpoint with no policy and no profile, and what its first policies open, with real packets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.site import UDP, Probe, Site, endpoint

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
