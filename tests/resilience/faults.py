"""What can go wrong with a node's firewall, each fault as what is done to a site while traffic flows."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyagent.attach import tcx
from tests.resilience.site import AGENT, ENDPOINT, Site, policy, run

SWAPS, EMPTYINGS = 50, 50
_WALL = "add table inet wall; add chain inet wall in { type filter hook input priority 0; policy drop; }"
_A_WHILE = 1.0  # seconds without an agent


@dataclass(frozen=True)
class Fault:
    """``make`` runs under traffic, whose verdicts must not change; ``mend`` puts the site right.

    ``before``: what is done before there is traffic.
    """

    name: str
    make: Callable[[Site], None]
    mend: Callable[[Site], None] = lambda site: site.settle()
    before: Callable[[Site], None] = lambda _: None


def restart(site: Site) -> None:
    """As a rolling update does."""
    site.processes.stop(AGENT)
    site.start_and_wait()


def kill(site: Site) -> None:
    """A crash, or the kernel out of memory; after a while somebody starts it again."""
    site.processes.kill(AGENT)
    time.sleep(_A_WHILE)
    site.start_and_wait()


def kill_while_it_starts(site: Site) -> None:
    """At four moments of a start: interpreting, compiling, loading, attaching."""
    for seconds in (0.3, 0.8, 1.3, 2.0):
        site.processes.kill(AGENT)
        site.start()
        time.sleep(seconds)
    site.processes.kill(AGENT)
    site.start_and_wait()


def terminate(site: Site) -> None:
    """Stopped, and nobody starts it."""
    site.processes.stop(AGENT)
    time.sleep(_A_WHILE)


def swap_policies(site: Site) -> None:
    """Policies of quite different sizes that mean the same for this traffic."""
    for turn in range(SWAPS):
        site.datastore.update(policy(40 * (1 - turn % 2)))
        site.settle()


def empty_flow_tables(site: Site) -> None:
    """More often than any eviction would."""
    for _ in range(EMPTYINGS):
        site.empty_flows()
        time.sleep(0.02)


def take_datastore_away(site: Site) -> None:
    """Something else is where it was; then also the agent dies and returns, and knows only what it saved."""
    hide(site.datastore_directory)
    time.sleep(_A_WHILE)
    site.processes.kill(AGENT)
    site.start()
    site.wait(lambda status: status.get("restored", False))
    time.sleep(_A_WHILE)


def bring_datastore_back(site: Site) -> None:
    """The agent finds it by itself."""
    show(site.datastore_directory)
    site.settle()


def delete_endpoint_unseen(site: Site) -> None:
    """Deleted while the agent is dead and, when it returns, out of its reach: the last image goes on."""
    site.processes.kill(AGENT)
    site.datastore.delete("HostEndpoint", ENDPOINT.name)
    hide(site.datastore_directory)
    site.start()
    site.wait(lambda status: status.get("restored", False))


def obey_what_is_stored(site: Site) -> None:
    """With the datastore back the endpoint is gone, and so is enforcement; that is what was asked for."""
    show(site.datastore_directory)
    site.settle()
    if site.status()["interfaces"]:
        raise RuntimeError("the endpoint is deleted, but still enforced")
    site.datastore.create(ENDPOINT)
    site.settle()


def start_second(site: Site) -> None:
    """By mistake, with the same state directory and with another; each must be refused."""
    for state in (site.state, site.state.with_name("state2")):
        done = subprocess.run(
            site.command(state), capture_output=True, text=True, check=False, timeout=30
        )  # fmt: skip
        if done.returncode == 0 or "another agent runs" not in done.stderr:
            raise RuntimeError(f"a second agent was not refused: {done.stderr}")


def fill_disk(site: Site) -> None:
    """Nothing more can be saved, not even a status; a change of policy takes effect all the same."""
    before = site.generation()
    run(*site.inside("mount", "-t", "tmpfs", "-o", "size=4k", "none", str(site.state)))
    (site.root / site.state.relative_to("/") / "filler").write_bytes(bytes(4096))
    site.datastore.update(policy(7))
    time.sleep(_A_WHILE)
    if site.processes.pid(AGENT) is None or site.generation() == before:
        raise RuntimeError(f"a full disk stopped the agent\n{site.processes.log(AGENT)}")


def free_disk(site: Site) -> None:
    """Room again."""
    site.processes.stop(AGENT)
    run(*site.inside("umount", str(site.state)))
    site.start_and_wait()


FAULTS = (
    Fault("agent restarted", restart),
    Fault("agent killed (kill -9), back after 1 s", kill),
    Fault("agent killed in mid-start, four times", kill_while_it_starts),
    Fault("agent stopped (SIGTERM), nobody there", terminate, Site.start_and_wait),
    Fault(f"policy replaced {SWAPS} times", swap_policies),
    Fault(f"flow tables emptied {EMPTYINGS} times", empty_flow_tables),
    Fault("datastore away, then agent killed as well", take_datastore_away, bring_datastore_back),
    Fault("endpoint deleted unseen, datastore away", delete_endpoint_unseen, obey_what_is_stored),
    Fault("second agent started by mistake", start_second),
    Fault("disk full", fill_disk, free_disk),
)


def break_everything(site: Site) -> None:
    """Programs off, nobody there to put them back; then a wall; then an aborted connection."""
    site.processes.stop(AGENT)
    for link in site.pins.links():
        tcx.detach(link)
    time.sleep(0.5)
    run(
        "nft",
        _WALL,
    )
    time.sleep(0.5)
    run("nft", "delete table inet wall")
    site.connections.pairs[0][0].close()


CONTROL = Fault("CONTROL: programs removed, then a wall, then a reset", break_everything, Site.start_and_wait)


def hide(directory: Path) -> None:
    """Something else is where a directory was."""
    directory.rename(directory.with_name("hidden"))
    directory.write_text("a file where a directory should be")


def show(directory: Path) -> None:
    """The directory is back."""
    directory.unlink()
    directory.with_name("hidden").rename(directory)
