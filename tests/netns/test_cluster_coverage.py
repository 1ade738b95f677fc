"""An interface that should be filtered and cannot be: told by a condition and an event, end to end."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from pyagent.abi import Direction
from pyagent.attach import tcx
from pyagent.bpf import syscall
from pyagent.bpf.numbers import ProgramType
from pyagent.model.status import HostEndpointStatus
from tests.netns.cluster_site import ADDRESS, PORT, SECOND, ClusterSite, cluster_site
from tests.netns.site import endpoint
from tests.support.apiserver import ADMIN

INTERFACE: Final = "full0"
#: Programs that a hook of tcx takes at most (BPF_MPROG_MAX; its last place is the list's end).
MOST: Final = 63
#: r0 = TC_ACT_UNSPEC; exit
PASS_ON: Final = bytes.fromhex("b7000000ffffffff9500000000000000")
PATIENCE_S: Final = 90.0


@contextmanager
def no_room(site: ClusterSite) -> Iterator[None]:
    """The interface's ingress has as many programs of others as the kernel takes."""
    held = []
    try:
        with site.entered("node"):
            index = site.ifindex("node", INTERFACE)
            for _ in range(MOST):
                held.append(syscall.prog_load(ProgramType.SCHED_CLS, PASS_ON, "others"))
                held.append(syscall.link_create(held[-1], index, tcx.ATTACH_TYPE[Direction.INGRESS]))
        yield
    finally:
        for descriptor in reversed(held):
            os.close(descriptor)


def events(site: ClusterSite) -> dict[tuple[str, str], dict[str, Any]]:
    """What happened, as the API server tells it: (reason, name of the object) -> event."""
    url = f"http://{ADDRESS}:{PORT}/api/v1/namespaces/default/events"
    asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {ADMIN}"})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with site.entered("api"), direct.open(asked, timeout=10) as answer:
        found = json.load(answer)["items"]
    return {(each["reason"], each["involvedObject"]["name"]): each for each in found}


def until(site: ClusterSite, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        logs = (site.processes.log(name, lines=30) for name in ("agent", "controller"))
        assert time.monotonic() < end, "\n".join(logs)
        time.sleep(0.1)


def test_an_interface_without_room_for_the_filter_is_told_of_until_it_is_filtered() -> None:
    hep = endpoint(INTERFACE)
    name = hep["metadata"]["name"]

    def protected(document: dict[str, Any] = hep) -> str:
        found = (site.server.get(document) or {}).get("status")
        condition = HostEndpointStatus.read(found).condition("Protected")
        return f"{condition.status} {condition.reason}" if condition else ""

    with cluster_site("v") as site:
        site.start_controller("controller")
        site.batch("node", f"link add {INTERFACE} type bridge")
        with no_room(site):  # no endpoint covers it yet, so nothing of ours is there
            site.server.put(hep)
            until(site, lambda: protected() == "False InterfaceUnprotected")
            until(site, lambda: ("InterfaceUnprotected", name) in events(site))
            event = events(site)["InterfaceUnprotected", name]
            assert event["type"] == "Warning"
            assert event["message"].startswith(f"node node1: {INTERFACE}: ")
            assert protected(endpoint("eth0")) == "True Covered", "the other interface is as it should be"
        site.allow(SECOND)  # any change asks for a pass; without one it is tried again within half a minute
        until(site, lambda: protected() == "True Covered")
        until(site, lambda: ("InterfaceProtected", name) in events(site))
