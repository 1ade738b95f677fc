"""Between passes the agent only looks whether somebody meddled; what it must notice, it notices."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyagent.abi import Direction
from pyagent.agent.state import StateDirectory
from pyagent.attach import tcx
from pyagent.bpf import numbers, syscall
from pyagent.bpf.numbers import AttachType, ProgramType
from tests.netns.guarded import Guarded, endpoint, guarded

pytestmark = pytest.mark.skipif(not tcx.available(), reason="this kernel announces all of it by netlink")

#: r0 = TC_ACT_UNSPEC; exit
PASS = bytes.fromhex("b7000000ffffffff9500000000000000")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Guarded]:
    with guarded(tmp_path / "state") as made, StateDirectory(tmp_path / "state"):
        made.enforce(endpoint())
        yield made
        made.lift()


def test_where_nobody_did_anything_nothing_is_noticed(host: Guarded) -> None:
    assert not host.enforcer.disturbed()
    host.hosts.peer_reaches_node()
    assert not host.enforcer.disturbed()


def test_a_program_of_somebody_else_is_noticed_until_the_next_pass(host: Guarded) -> None:
    program = syscall.prog_load(ProgramType.SCHED_CLS, PASS, "theirs")
    link = syscall.link_create(program, host.hosts.ifindex, AttachType.TCX_INGRESS, numbers.F_BEFORE)
    try:
        assert host.enforcer.disturbed()
        host.enforce(endpoint())
        assert not host.enforcer.disturbed()
    finally:
        os.close(link)
        os.close(program)
    assert host.enforcer.disturbed(), "it is gone again"


def test_a_removed_pin_is_noticed(host: Guarded) -> None:
    host.pins.link(host.hosts.ifindex, Direction.EGRESS).unlink()
    assert host.enforcer.disturbed()
    host.enforce(endpoint())
    assert not host.enforcer.disturbed()
