"""Programs on real interfaces: attached, put back, never beside what is other people's."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyagent.abi import Direction
from pyagent.attach import tcx
from pyagent.attach.clsact import Clsact
from pyagent.attach.events import Changes
from pyagent.attach.links import host_facts, list_links
from pyagent.attach.outcome import Change, Mode, Report
from pyagent.attach.reconcile import MOVES_MAX, PROGRAMS, Reconciler, Want
from pyagent.attach.uninstall import Removed, uninstall
from pyagent.bpf import numbers, objects, syscall
from pyagent.bpf.numbers import TC_OK, TC_SHOT, TC_UNSPEC, AttachType
from pyagent.bpf.pins import Pins, ensure_bpffs
from pyagent.errors import KernelError
from tests.dataplane.kernel_objects import classifier
from tests.netns.two_hosts import TwoHosts, ifindex_of, run, two_hosts

MODES = [Mode.TCX, Mode.CLSACT]


@pytest.fixture
def hosts() -> Iterator[TwoHosts]:
    with two_hosts() as made:
        yield made


@pytest.fixture
def pins(hosts: TwoHosts) -> Iterator[Pins]:
    ensure_bpffs()
    own = Pins(f"attach{os.getpid()}", Path("/sys/fs/bpf/autohep_test"))
    own.create()
    yield own
    for version in (*own.other_versions(), own):
        version.remove()


def put_programs(pins: Pins, verdict: int) -> None:
    """Pin programs that all give ``verdict``, over those that are there."""
    for name in PROGRAMS.values():
        fd = classifier(verdict, f"autohep_{name}"[:15])
        pins.program(name).unlink(missing_ok=True)
        syscall.obj_pin(fd, pins.program(name))
        os.close(fd)


def wire(hosts: TwoHosts) -> Want:
    return Want("wire", hosts.ifindex)


def changes(reports: list[Report]) -> set[Change]:
    assert [report.error for report in reports if report.error] == []
    return {report.change for report in reports}


@pytest.mark.parametrize("mode", MODES)
def test_an_attached_program_judges_and_a_second_time_changes_nothing(
    hosts: TwoHosts, pins: Pins, mode: Mode
) -> None:
    assert hosts.peer_reaches_node("2")
    put_programs(pins, TC_SHOT)
    reconciler = Reconciler(pins, mode)
    reports = reconciler.reconcile([wire(hosts)])
    assert [(report.direction, report.mode) for report in reports] == [
        (Direction.INGRESS, mode), (Direction.EGRESS, mode),
    ]  # fmt: skip
    assert changes(reports) == {Change.ATTACHED}
    assert not hosts.peer_reaches_node()
    assert changes(reconciler.reconcile([wire(hosts)])) == {Change.NONE}
    assert changes(Reconciler(pins, mode).reconcile([wire(hosts)])) == {Change.NONE}


@pytest.mark.parametrize("mode", MODES)
def test_a_new_program_replaces_the_old_one_in_place(hosts: TwoHosts, pins: Pins, mode: Mode) -> None:
    put_programs(pins, TC_SHOT)
    reconciler = Reconciler(pins, mode)
    reconciler.reconcile([wire(hosts)])
    assert not hosts.peer_reaches_node()
    put_programs(pins, TC_UNSPEC)
    assert changes(reconciler.reconcile([wire(hosts)])) == {Change.REPLACED}
    assert hosts.peer_reaches_node("2")


@pytest.mark.parametrize("mode", MODES)
def test_no_packet_passes_while_one_denying_program_replaces_another(
    hosts: TwoHosts, pins: Pins, mode: Mode
) -> None:
    put_programs(pins, TC_SHOT)
    reconciler = Reconciler(pins, mode)
    reconciler.reconcile([wire(hosts)])
    run("ip", "-n", hosts.peer, "neigh", "add", "192.0.2.1", "lladdr", mac_of("wire"), "dev", "wire")
    flood = subprocess.Popen(
        ["ip", "netns", "exec", hosts.peer, "ping", "-f", "-c", "500", "-W", "1", "-i", "0.002", "192.0.2.1"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    swaps = 0
    while flood.poll() is None:
        put_programs(pins, TC_SHOT)
        reconciler.reconcile([wire(hosts)])
        swaps += 1
    output = flood.communicate()[0]
    assert swaps > 10
    assert " 0 received" in output


@pytest.mark.parametrize("mode", MODES)
def test_an_interface_that_is_not_wanted_any_more_is_left_as_it_was_found(
    hosts: TwoHosts, pins: Pins, mode: Mode
) -> None:
    before = run("tc", "qdisc", "show", "dev", "wire")
    put_programs(pins, TC_SHOT)
    reconciler = Reconciler(pins, mode)
    reconciler.reconcile([wire(hosts)])
    assert not hosts.peer_reaches_node()
    assert reconciler.reconcile([]) == []
    assert hosts.peer_reaches_node("2")
    assert run("tc", "qdisc", "show", "dev", "wire") == before
    assert pins.links() == []
    assert pins.qdiscs() == []


@pytest.mark.parametrize("mode", MODES)
def test_an_interface_that_does_not_exist_has_its_error_and_stops_no_other(
    hosts: TwoHosts, pins: Pins, mode: Mode
) -> None:
    put_programs(pins, TC_SHOT)
    reports = Reconciler(pins, mode).reconcile([Want("gone", 4711), wire(hosts)])
    assert [report.attached for report in reports] == [False, False, True, True]
    assert all(report.error for report in reports[:2])


@pytest.mark.since((6, 6), "tcx")
def test_a_tcx_pin_that_somebody_removed_is_put_back_and_reported(hosts: TwoHosts, pins: Pins) -> None:
    put_programs(pins, TC_SHOT)
    reconciler = Reconciler(pins, Mode.TCX)
    reconciler.reconcile([wire(hosts)])
    pins.link(hosts.ifindex, Direction.INGRESS).unlink()
    assert changes(reconciler.reconcile([wire(hosts)])) == {Change.REPAIRED, Change.NONE}
    assert not hosts.peer_reaches_node()


@pytest.mark.since((6, 6), "tcx")
def test_a_tcx_link_that_lost_its_pin_but_is_held_open_is_pinned_again(hosts: TwoHosts, pins: Pins) -> None:
    put_programs(pins, TC_SHOT)
    reconciler = Reconciler(pins, Mode.TCX)
    reconciler.reconcile([wire(hosts)])
    path = pins.link(hosts.ifindex, Direction.INGRESS)
    held = syscall.obj_get(path)
    path.unlink()
    assert changes(reconciler.reconcile([wire(hosts)])) == {Change.REPAIRED, Change.NONE}
    assert objects.pinned_link_info(path).id == objects.link_info(held).id
    os.close(held)
    assert not hosts.peer_reaches_node()


@pytest.mark.since((6, 6), "tcx")
def test_a_tcx_link_that_somebody_detached_is_put_back_and_reported(hosts: TwoHosts, pins: Pins) -> None:
    put_programs(pins, TC_SHOT)
    reconciler = Reconciler(pins, Mode.TCX)
    reconciler.reconcile([wire(hosts)])
    fd = syscall.obj_get(pins.link(hosts.ifindex, Direction.INGRESS))
    syscall.link_detach(fd)
    os.close(fd)
    assert hosts.peer_reaches_node("2") is False  # egress still drops the answer
    reports = reconciler.reconcile([wire(hosts)])
    assert [report.change for report in reports] == [Change.REPAIRED, Change.NONE]


def test_a_clsact_that_somebody_deleted_is_put_back_and_reported(hosts: TwoHosts, pins: Pins) -> None:
    put_programs(pins, TC_SHOT)
    reconciler = Reconciler(pins, Mode.CLSACT)
    reconciler.reconcile([wire(hosts)])
    run("tc", "qdisc", "del", "dev", "wire", "clsact")
    assert hosts.peer_reaches_node("2")
    assert changes(reconciler.reconcile([wire(hosts)])) == {Change.REPAIRED}
    assert not hosts.peer_reaches_node()


@pytest.mark.since((6, 6), "tcx")
def test_a_neighbour_that_goes_first_is_overtaken_again(hosts: TwoHosts, pins: Pins) -> None:
    put_programs(pins, TC_SHOT)
    reconciler = Reconciler(pins, Mode.TCX)
    reconciler.reconcile([wire(hosts)])
    fds = [go_first(hosts, direction) for direction in Direction]
    assert hosts.peer_reaches_node("2")  # the neighbour's verdict ends the chain
    reports = reconciler.reconcile([wire(hosts)])
    assert changes(reports) == {Change.REPAIRED}
    assert {report.overtaken_by for report in reports} == {()}
    assert not hosts.peer_reaches_node()
    queried = syscall.prog_query(hosts.ifindex, AttachType.TCX_INGRESS)
    assert len(queried) == 2  # the neighbour is still there
    for fd in fds:
        os.close(fd)


@pytest.mark.since((6, 6), "tcx")
def test_a_neighbour_that_insists_is_reported_and_not_fought(hosts: TwoHosts, pins: Pins) -> None:
    put_programs(pins, TC_SHOT)
    reconciler = Reconciler(pins, Mode.TCX)
    reconciler.reconcile([wire(hosts)])
    for _ in range(MOVES_MAX):
        fd = go_first(hosts, Direction.INGRESS)
        assert reconciler.reconcile([wire(hosts)])[0].overtaken_by == ()
        os.close(fd)
    fd = go_first(hosts, Direction.INGRESS)
    report = reconciler.reconcile([wire(hosts)])[0]
    assert (report.attached, report.change, report.overtaken_by) == (True, Change.NONE, ("neighbour",))
    os.close(fd)


def test_filters_of_others_stay_and_one_before_ours_is_reported(hosts: TwoHosts, pins: Pins) -> None:
    run("tc", "qdisc", "add", "dev", "wire", "clsact")
    put_programs(pins, TC_UNSPEC)
    theirs = pins.map("neighbour")
    fd = classifier(TC_OK, "neighbour")
    syscall.obj_pin(fd, theirs)
    os.close(fd)
    run("tc", "filter", "add", "dev", "wire", "ingress", "prio", "7", "bpf", "da", "pinned", str(theirs))
    reconciler = Reconciler(pins, Mode.CLSACT)
    ingress = reconciler.reconcile([wire(hosts)])[0]
    assert (ingress.attached, ingress.overtaken_by) == (True, ())
    reconciler.reconcile([])
    shown = run("tc", "filter", "show", "dev", "wire", "ingress")
    assert "pref 7" in shown
    assert "autohep" not in shown
    assert "clsact" in run("tc", "qdisc", "show", "dev", "wire")  # not ours, so it stays


def test_a_filter_of_another_program_in_our_place_is_not_replaced(hosts: TwoHosts, pins: Pins) -> None:
    put_programs(pins, TC_SHOT)
    neighbour = classifier(TC_OK, "neighbour")
    with Clsact(pins) as clsact:
        clsact.ensure(hosts.ifindex, Direction.INGRESS, neighbour)
        with pytest.raises(KernelError, match="is taken by neighbour") as caught:
            clsact.ensure(hosts.ifindex, Direction.INGRESS, neighbour)
        assert caught.value.errno == errno.EEXIST
    os.close(neighbour)
    reports = Reconciler(pins, Mode.CLSACT).reconcile([wire(hosts)])
    assert [report.attached for report in reports] == [False, True]


@pytest.mark.since((6, 6), "tcx")
def test_changing_the_mode_leaves_one_attachment(hosts: TwoHosts, pins: Pins) -> None:
    put_programs(pins, TC_SHOT)
    for mode in (Mode.CLSACT, Mode.TCX, Mode.CLSACT):
        assert changes(Reconciler(pins, mode).reconcile([wire(hosts)])) == {Change.ATTACHED}
        assert not hosts.peer_reaches_node()
        assert bool(pins.links()) == (mode is Mode.TCX)
        assert ("autohep" in run("tc", "filter", "show", "dev", "wire", "ingress")) == (mode is Mode.CLSACT)


@pytest.mark.since((6, 6), "tcx")
def test_pins_of_deleted_interfaces_are_collected(hosts: TwoHosts, pins: Pins) -> None:
    put_programs(pins, TC_UNSPEC)
    run("ip", "link", "add", "short", "type", "bridge")
    reconciler = Reconciler(pins, Mode.TCX)
    short = Want("short", ifindex_of("short"))
    reconciler.reconcile([wire(hosts), short])
    assert len(pins.links()) == 4
    run("ip", "link", "del", "short")
    reconciler.reconcile([wire(hosts)])
    assert {pin.ifindex for pin in pins.links()} == {hosts.ifindex}


@pytest.mark.since((6, 6), "tcx")
def test_links_of_another_abi_version_are_taken_over_without_a_gap(hosts: TwoHosts, pins: Pins) -> None:
    older = Pins(pins.instance, pins.base, 0)
    older.create()
    put_programs(older, TC_SHOT)
    Reconciler(older, Mode.TCX).reconcile([wire(hosts)])
    link = objects.pinned_link_info(older.link(hosts.ifindex, Direction.INGRESS)).id
    pins.create()
    put_programs(pins, TC_SHOT)
    assert changes(Reconciler(pins, Mode.TCX).reconcile([wire(hosts)])) == {Change.REPLACED}
    assert objects.pinned_link_info(pins.link(hosts.ifindex, Direction.INGRESS)).id == link
    assert pins.other_versions() == []
    assert not hosts.peer_reaches_node()


@pytest.mark.parametrize("mode", MODES)
def test_uninstall_leaves_no_trace(hosts: TwoHosts, pins: Pins, mode: Mode) -> None:
    put_programs(pins, TC_SHOT)
    Reconciler(pins, mode).reconcile([wire(hosts)])
    removed = uninstall(pins)
    assert removed == (Removed(2, 0, 0) if mode is Mode.TCX else Removed(0, 2, 1))
    assert hosts.peer_reaches_node("2")
    assert "clsact" not in run("tc", "qdisc", "show", "dev", "wire")
    assert not pins.root.exists()
    assert uninstall(pins) == Removed(0, 0, 0)


def test_uninstall_finds_filters_whose_pins_are_gone(hosts: TwoHosts, pins: Pins) -> None:
    put_programs(pins, TC_SHOT)
    Reconciler(pins, Mode.CLSACT).reconcile([wire(hosts)])
    pins.remove()
    assert uninstall(pins) == Removed(0, 2, 0)
    assert hosts.peer_reaches_node("2")


@pytest.mark.since((6, 6), "tcx")
def test_this_kernel_has_tcx() -> None:
    assert tcx.available()


def test_links_tell_what_policy_must_know(hosts: TwoHosts) -> None:
    run("ip", "link", "add", "bridge0", "type", "bridge")
    run("ip", "link", "add", "pod0", "type", "veth", "peer", "name", "pod1")
    run("ip", "link", "set", "pod0", "master", "bridge0")
    run("ip", "tuntap", "add", "tun0", "mode", "tun")
    run("ip", "address", "add", "198.51.100.1", "peer", "198.51.100.2/32", "dev", "tun0")
    run("ip", "address", "add", "2001:db8::1/64", "dev", "bridge0")
    links = {link.name: link for link in list_links()}
    assert links["wire"].addresses[0] == "192.0.2.1"
    assert links["wire"].broadcasts == ("192.0.2.255",)
    assert links["wire"].up
    assert (links["wire"].kind, links["bridge0"].kind) == ("veth", "bridge")
    assert links["pod0"].bridge_port
    assert links["pod0"].master == links["bridge0"].index
    assert not links["wire"].bridge_port
    assert (links["tun0"].layer3, links["wire"].layer3, links["lo"].layer3) == (True, False, False)
    assert links["tun0"].addresses == ("198.51.100.1",)
    assert links["tun0"].broadcasts == ()
    assert links["bridge0"].addresses == ("2001:db8::1",)
    facts = host_facts("node", links.values(), lambda name: name.startswith("pod"))
    assert {one.name for one in facts.interfaces if one.workload} == {"pod0", "pod1"}
    assert {"192.0.2.1", "127.0.0.1"} <= facts.addresses
    assert "192.0.2.255" in facts.broadcasts


async def test_changes_of_links_and_filters_are_heard(hosts: TwoHosts) -> None:
    async with Changes() as stream:
        signs = aiter(stream)
        run("ip", "link", "add", "fresh", "type", "bridge")
        assert await asyncio.wait_for(anext(signs), 5) == (True, False)
        run("ip", "address", "add", "203.0.113.1/24", "dev", "fresh")
        assert await asyncio.wait_for(anext(signs), 5) == (True, False)
        run("tc", "qdisc", "add", "dev", "fresh", "clsact")
        assert await asyncio.wait_for(anext(signs), 5) == (False, True)
        assert [link.name for link in await asyncio.to_thread(list_links)] == ["lo", "wire", "fresh"]


async def test_after_an_overrun_everything_counts_as_changed(
    hosts: TwoHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyagent.attach.events._BUFFER_BYTES", 1)
    async with Changes() as stream:
        for number in range(50):  # without giving the reader a turn: its smallest buffer overflows
            run("ip", "link", "add", f"burst{number}", "type", "bridge")
        assert await asyncio.wait_for(anext(aiter(stream)), 5) == (True, True)
        assert stream.overruns >= 1


def go_first(hosts: TwoHosts, direction: Direction) -> int:
    """Attach another owner's program, which ends the chain with OK, before all; returns its link."""
    fd = classifier(TC_OK, "neighbour")
    link = syscall.link_create(fd, hosts.ifindex, tcx.ATTACH_TYPE[direction], numbers.F_BEFORE)
    os.close(fd)
    return link


def mac_of(name: str) -> str:
    return run("ip", "-o", "link", "show", name).split("link/ether ")[1].split()[0]
