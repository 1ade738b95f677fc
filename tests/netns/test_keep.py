"""Pins that somebody removes, a bpffs that somebody unmounts: programs stay, and the pins come back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyagent.abi import Direction
from pyagent.agent.claim import claimed
from pyagent.attach.keep import Keeper
from pyagent.attach.reconcile import PROGRAMS, Reconciler, Want
from pyagent.bpf import syscall
from pyagent.bpf.numbers import TC_SHOT
from pyagent.bpf.pins import Pins
from pyagent.errors import AutohepError
from tests.dataplane.kernel_objects import classifier
from tests.netns.two_hosts import TwoHosts, run, two_hosts

pytestmark = pytest.mark.netns


@pytest.fixture
def hosts() -> Iterator[TwoHosts]:
    with two_hosts() as made:
        yield made


@pytest.fixture
def pins(hosts: TwoHosts, tmp_path: Path) -> Iterator[Pins]:
    """Pins on a bpffs of their own, with programs that drop everything attached to the wire."""
    filesystem = tmp_path / "bpf"
    filesystem.mkdir()
    run("mount", "-t", "bpf", "bpf", str(filesystem))
    own = Pins("kept", filesystem / "autohep")
    own.create()
    for name in set(PROGRAMS.values()):
        fd = classifier(TC_SHOT, f"autohep_{name}"[:15])
        syscall.obj_pin(fd, own.program(name))
        os.close(fd)
    Reconciler(own).reconcile([wire(hosts)])
    try:
        yield own
    finally:
        run("umount", str(filesystem))


@pytest.fixture
def keeper(pins: Pins) -> Keeper:
    made = Keeper(pins)
    made.hold()
    return made


def wire(hosts: TwoHosts) -> Want:
    return Want("wire", hosts.ifindex)


def test_a_filesystem_that_is_unmounted_takes_nothing_off_and_is_mounted_again(
    hosts: TwoHosts, pins: Pins, keeper: Keeper
) -> None:
    before = [pin.path for pin in pins.links()], pins.programs()
    run("umount", str(pins.base.parent))
    assert not pins.root.exists()
    assert not hosts.peer_reaches_node()
    assert keeper.mend() == len(before[0]) + len(before[1])
    assert ([pin.path for pin in pins.links()], pins.programs()) == before
    assert {report.error for report in Reconciler(pins).reconcile([wire(hosts)])} == {""}
    assert not hosts.peer_reaches_node()


def test_the_claim_of_an_agent_outlives_its_filesystem(hosts: TwoHosts, pins: Pins) -> None:
    with claimed(pins) as claim:
        keeper = Keeper(pins, claim.renew)
        keeper.hold()
        run("umount", "--lazy", str(pins.base.parent))
        keeper.mend()
        with pytest.raises(AutohepError, match="another agent runs"), claimed(pins):
            pass
    with claimed(pins):
        """The control: nobody holds it any more."""


def test_an_agent_that_came_while_the_filesystem_was_away_is_not_robbed_of_its_claim(
    hosts: TwoHosts, pins: Pins
) -> None:
    with claimed(pins) as claim:
        keeper = Keeper(pins, claim.renew)
        keeper.hold()
        run("umount", "--lazy", str(pins.base.parent))
        run("mount", "-t", "bpf", "bpf", str(pins.base.parent))
        pins.create()
        with claimed(pins):
            with pytest.raises(AutohepError, match="another agent runs"):
                keeper.mend()
            assert not hosts.peer_reaches_node(), "what is attached stays"
        assert keeper.mend() > 0
        claim.renew()


def test_without_a_keeper_nothing_is_filtered_any_more(hosts: TwoHosts, pins: Pins) -> None:
    run("umount", str(pins.base.parent))
    assert hosts.peer_reaches_node("2")
    run("mount", "-t", "bpf", "bpf", str(pins.base.parent))


def test_a_pin_that_is_removed_takes_nothing_off_and_comes_back(
    hosts: TwoHosts, pins: Pins, keeper: Keeper
) -> None:
    pins.link(hosts.ifindex, Direction.INGRESS).unlink()
    assert not hosts.peer_reaches_node()
    assert keeper.mend() == 1
    assert len(pins.links()) == 2


def test_what_a_pass_detaches_stays_detached(hosts: TwoHosts, pins: Pins, keeper: Keeper) -> None:
    Reconciler(pins).reconcile([])
    assert hosts.peer_reaches_node("2")
    assert keeper.mend() == 0
    assert pins.links() == []


def test_a_link_that_somebody_detached_is_not_taken_for_one_that_works(
    hosts: TwoHosts, pins: Pins, keeper: Keeper
) -> None:
    path = pins.link(hosts.ifindex, Direction.INGRESS)
    fd = syscall.obj_get(path)
    syscall.link_detach(fd)
    os.close(fd)
    path.unlink()
    assert keeper.mend() == 0
    Reconciler(pins).reconcile([wire(hosts)])
    assert not hosts.peer_reaches_node()


def test_a_keeper_that_is_gone_holds_nothing(hosts: TwoHosts, pins: Pins) -> None:
    def held_meanwhile() -> int:
        keeper = Keeper(pins)
        keeper.hold()
        return _descriptors()

    before = _descriptors()
    assert held_meanwhile() == before + len(pins.links()) + len(pins.programs())
    assert _descriptors() == before


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
