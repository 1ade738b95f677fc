"""Filters of others, and leaving without a trace: what hurt users of other host firewalls, by docstring."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pyagent.bpf import syscall
from pyagent.bpf.numbers import TC_UNSPEC
from tests.dataplane.kernel_objects import classifier
from tests.lab.lab import HEPCTL
from tests.netns.site import Probe, Site, endpoint, policy, rule, to_port


@pytest.fixture(scope="module")
def here(shared_site: Site) -> Iterator[Site]:
    yield shared_site
    shared_site.enforce()


def test_a_filter_of_somebody_else_with_our_priority_stays_and_changes_nothing(here: Site) -> None:
    """t_other_tc_owner_same_prio."""
    program = classifier(TC_UNSPEC, "somebody_else")
    pin = here.pins.map("somebody_else")
    syscall.obj_pin(program, pin)
    os.close(program)
    here.inside("node", "tc", "qdisc", "add", "dev", "eth0", "clsact")
    theirs = ["tc", "filter", "add", "dev", "eth0", "ingress", "prio", "1", "handle", "1", "bpf", "da"]
    try:
        here.inside("node", *theirs, "pinned", str(pin))
        here.enforce(endpoint(), policy("some", ingress=[rule("Allow", **to_port(8056))]))
        here.expect(allowed=[Probe("peer", "node", 8056)], denied=[Probe("peer", "node", 8055)])
        here.enforce()
        shown = here.inside("node", "tc", "filter", "show", "dev", "eth0", "ingress")
        assert "somebody_else" in shown
        assert "autohep" not in shown
    finally:
        here.inside("node", "tc", "qdisc", "del", "dev", "eth0", "clsact")
        pin.unlink()


def test_uninstalling_leaves_nothing(here: Site) -> None:
    """t_uninstall_leaves_nothing."""
    bare = snapshot(here)
    state = here.directory / "state"
    untracked = policy("early", doNotTrack=True, applyOnForward=True, ingress=[rule("Deny", **to_port(8057))])
    here.enforce(endpoint(), untracked)
    attached = here.status()
    assert len(attached["interfaces"]) == 6
    assert attached["xdp"][0]["mode"] == "native"
    here.processes.stop("agent")
    try:
        here.expect(denied=[Probe("peer", "node", 8055)])
        here.inside("node", str(HEPCTL), "uninstall-node", "--instance", here.name, "--state-dir", str(state))
        here.expect(allowed=[Probe("peer", "node", 8055), Probe("node", "peer", 8055)])
        assert snapshot(here) == bare
        assert not here.pins.root.parent.exists()
        assert not state.exists()
    finally:
        here.start_agent("--xdp-interface", "eth0")


def snapshot(site: Site) -> str:
    """What programs could hang on: XDP, queueing disciplines, filters."""
    commands = [("ip", "-o", "link", "show"), ("tc", "qdisc", "show")]
    commands += [("tc", "filter", "show", "dev", "eth0", hook) for hook in ("ingress", "egress")]
    return "".join(site.inside("node", *command) for command in commands)
