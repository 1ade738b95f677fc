"""Faults while thousands of TCP connections are open, idle and active, that no rule allows."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from pyagent import abi
from pyagent.attach.uninstall import uninstall
from pyagent.bpf.maps import Map
from tests.netns.guarded import hardware_address
from tests.netns.two_hosts import NODE_ADDRESS, PEER_ADDRESS
from tests.resilience.faults import Fault, empty_flow_tables, kill, restart
from tests.resilience.life import change_version
from tests.resilience.load import FLOODED
from tests.resilience.site import AGENT, Site, run

IDLE: Final = 10_000
ACTIVE: Final = 1_000
_FLOOD: Final = "flood"
_FULL: Final = 0.9  # of a table's entries; its LRU lists keep some free on each CPU


def switch_off(site: Site) -> None:
    """Nothing is enforced, and nothing is known of any flow."""
    site.processes.stop(AGENT)
    uninstall(site.pins)


@contextmanager
def flood(site: Site, kind: str, port: int, rate: int = 0) -> Iterator[None]:
    """The peer floods the node meanwhile; ``rate``: frames a second, 0: as many as it can."""
    program = site.state.with_name("flood")
    run("cc", "-O2", "-o", str(program), str(Path(__file__).with_name("flood.c")))
    run(*site.inside("ip", "route", "replace", "198.18.0.0/15", "via", PEER_ADDRESS))
    target = [hardware_address(site.hosts.node), NODE_ADDRESS, kind, str(port), str(rate)]
    site.processes.start(_FLOOD, ["nsenter", f"--net={site.peer}", str(program), "wire", *target])
    try:
        yield
    finally:
        site.processes.stop(_FLOOD)


def fill_flow_table(site: Site) -> None:
    """A SYN flood to an open port, until the flow table is full of flows that nobody answered, and longer."""
    with closing(socket.create_server((NODE_ADDRESS, FLOODED))), flood(site, "syn", FLOODED):
        deadline = time.monotonic() + 60
        while _flows(site) < _FULL * abi.FLOWS_MAX:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the flood has made only {_flows(site)} flows")
            time.sleep(0.5)
        time.sleep(2)


def _flows(site: Site) -> int:
    with Map.open(site.pins.map("flows4")) as table:
        return len(table)


MANY: Final = (
    Fault("default deny switched on", Site.start_and_wait, before=switch_off),
    Fault("agent restarted", restart),
    Fault("agent killed (kill -9), back after 1 s", kill),
    Fault("upgraded to other maps, and downgraded", change_version),
    Fault("flow tables emptied 50 times", empty_flow_tables),
    Fault("flow table full under a SYN flood", fill_flow_table),
)
