"""Putting generations in force: whole, verified, one store; interfaces and failsafes with them."""

from __future__ import annotations

import mmap
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyagent import abi
from pyagent.bpf import loader, syscall, testrun
from pyagent.bpf.pins import Pins
from pyagent.calc.view import Failsafe
from pyagent.compiler import Image, compile_image
from pyagent.dataplane import UNKNOWN, Dataplane, Interface
from pyagent.errors import CapacityError, DriftError
from pyagent.model import Resource
from tests.support import frames
from tests.support.kernel import DROP, INTERFACES, PASS, Kernel
from tests.support.policy_world import FACTS, EntityRule, allow, policy, tcp, view_of
from tests.support.resources import host_endpoint

pytestmark = pytest.mark.bpf

ENDPOINT = host_endpoint("n1-auto-hep", FACTS.node, interface_name="*")
ETH0 = INTERFACES["eth0"]
SWAPS = 150
SSH = Failsafe("ingress", 6, 22)


@pytest.fixture(scope="module")
def pins() -> Iterator[Pins]:
    own = Pins("dataplane-test")
    own.create()
    try:
        loader.load(own, flows_max=1024)
        yield own
    finally:
        own.remove()


@pytest.fixture
def dataplane(pins: Pins) -> Iterator[Dataplane]:
    with Dataplane(pins, flows_max=1024) as opened:
        yield opened


def image_for(dataplane: Dataplane, *resources: Resource) -> Image:
    view = view_of(ENDPOINT, *resources)
    return compile_image(view, dataplane.next_generation)


def ifstate(dataplane: Dataplane, index: int) -> tuple[int, ...]:
    places = dataplane.map("ifstate").info.max_entries
    value = dataplane.map("ifstate").get(struct.pack("=I", index % places))
    assert value is not None
    entry = abi.IFSTATE.unpack(value)
    if entry[0] == index:
        return entry
    value = dataplane.map("ifstate_more").get(struct.pack("=I", index))
    return abi.IFSTATE.unpack(value) if value else ()


def test_a_generation_in_force_reads_back_as_it_was_compiled(dataplane: Dataplane) -> None:
    image = image_for(dataplane)
    dataplane.apply(image, [], [SSH])
    assert dataplane.generation == image.generation
    assert dataplane.image_in_force() == image.data


def mapped_bytes() -> int:
    """How much of maps is mapped into this process."""
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if "bpf-map" in line]
    spans = [[int(end, 16) for end in line.split()[0].split("-")] for line in lines]
    return sum(end - start for start, end in spans)


def test_images_are_mapped_only_while_somebody_works_on_them(dataplane: Dataplane) -> None:
    before, image = mapped_bytes(), image_for(dataplane)
    pages = -(-len(image.data) // mmap.PAGESIZE) * mmap.PAGESIZE
    assert pages < dataplane.image_bytes
    with dataplane.images_held():
        dataplane.apply(image, [], [SSH])
        assert mapped_bytes() == before + pages
    dataplane.verify()
    assert mapped_bytes() == before
    walker = dataplane.walker()
    assert mapped_bytes() == before + pages
    assert walker.header["generation"] == dataplane.generation
    del walker
    assert mapped_bytes() == before


def test_generations_alternate_between_the_sides(dataplane: Dataplane) -> None:
    sides = set()
    for _ in range(2):
        image = image_for(dataplane)
        dataplane.apply(image, [], [])
        sides.add(dataplane.generation & 1)
    assert sides == {0, 1}


def test_an_image_compiled_for_another_generation_is_refused_and_nothing_changes(
    dataplane: Dataplane,
) -> None:
    dataplane.apply(image_for(dataplane), [], [])
    before, generation = dataplane.image_in_force(), dataplane.generation
    stale = image_for(dataplane)
    dataplane.apply(image_for(dataplane), [], [])
    with pytest.raises(DriftError, match="expected"):
        dataplane.apply(stale, [], [])
    assert dataplane.generation == generation + 1
    assert len(dataplane.image_in_force()) == len(before)


def test_too_many_failsafe_networks_are_refused_before_anything_is_written(dataplane: Dataplane) -> None:
    dataplane.apply(image_for(dataplane), [], [SSH])
    generation = dataplane.generation
    many = [
        Failsafe("ingress", 6, 22, f"10.{n >> 8}.{n & 255}.0/24") for n in range(abi.FAILSAFE_NETS_MAX + 1)
    ]
    with pytest.raises(CapacityError, match=f"needs {len(many)}, have {abi.FAILSAFE_NETS_MAX}"):
        dataplane.apply(image_for(dataplane), [], many)
    assert dataplane.generation == generation


def test_an_interface_keeps_its_slot_of_the_side_in_force_until_the_flip(dataplane: Dataplane) -> None:
    dataplane.apply(image_for(dataplane), [Interface(7, 0, endpoint=3)], [])
    old = dataplane.generation & 1
    dataplane.apply(image_for(dataplane), [Interface(7, None)], [])
    entry = ifstate(dataplane, 7)
    assert entry[1 + old] == 1
    assert entry[1 + (1 - old)] == 0
    assert entry[3 + old] == 3


def test_interfaces_whose_place_is_taken_are_kept_apart(dataplane: Dataplane) -> None:
    far = 7 + abi.IFSTATE_MAX
    dataplane.apply(image_for(dataplane), [Interface(7, 0), Interface(far, 0, workload=True)], [])
    assert ifstate(dataplane, 7)[0] == 7
    entry = ifstate(dataplane, far)
    assert entry[0] == far
    assert entry[5] == abi.IF_WORKLOAD
    assert entry[6] == 0


def test_an_interface_that_is_gone_is_forgotten(dataplane: Dataplane) -> None:
    far = 7 + abi.IFSTATE_MAX
    dataplane.apply(image_for(dataplane), [Interface(7, 0), Interface(far, 0)], [])
    dataplane.set_interfaces([])
    assert ifstate(dataplane, 7) == ()
    assert ifstate(dataplane, far) == ()


def test_failsafe_networks_of_the_generation_before_are_removed(dataplane: Dataplane) -> None:
    dataplane.apply(image_for(dataplane), [], [Failsafe("ingress", 6, 22, "10.0.0.0/8")])
    assert len(dataplane.map("failsafe_nets")) == 1
    dataplane.apply(image_for(dataplane), [], [SSH])
    assert len(dataplane.map("failsafe_nets")) == 0


def test_maps_of_another_size_are_refused_by_name(pins: Pins) -> None:
    with pytest.raises(DriftError, match="flows4"):
        Dataplane(pins, flows_max=2048)


def test_no_packet_is_judged_by_a_mixture_of_two_generations(kernel: Kernel) -> None:
    """Both policies deny one packet and allow another, each by other classes; a mixture would not."""
    by_network = policy("p", allow(**tcp_from("10.7.0.0/16", "1000:1999")), selector="all()")
    by_port = policy("p", allow(**tcp_from("10.0.0.0/8", 1500)), selector="all()")
    worlds = [[ENDPOINT, by_network], [ENDPOINT, by_port]]
    allowed = frames.frame(tcp("10.7.0.9", port=1500))
    denied = {
        "outside the network of one, beside the port of the other": frames.frame(tcp("10.9.0.9", port=1600)),
        "inside the network, outside both port ranges": frames.frame(tcp("10.7.0.9", port=2500)),
    }
    done = threading.Event()
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        while not done.is_set():
            kernel.enforce(*worlds[swaps % 2], facts=FACTS)
            swaps += 1

    kernel.enforce(*worlds[0], facts=FACTS)
    program = syscall.obj_get(kernel.pins.program("tc_ingress"))
    thread = threading.Thread(target=swap)
    thread.start()
    seen: dict[str, set[int]] = {"allowed": set(), **{name: set() for name in denied}}
    try:
        while swaps < SWAPS:
            seen["allowed"].add(testrun.run(program, allowed, ifindex=ETH0).verdict)
            for name, frame in denied.items():
                seen[name].add(testrun.run(program, frame, ifindex=ETH0).verdict)
    finally:
        done.set()
        thread.join()
        os.close(program)
    assert seen == {"allowed": {PASS}, **{name: {DROP} for name in denied}}


def test_an_interface_nobody_told_of_is_judged_by_the_wildcard_endpoint(kernel: Kernel) -> None:
    web = policy("web", allow(**tcp_from("10.0.0.0/8", 80)), selector="all()")
    view = view_of(ENDPOINT, web)
    program = syscall.obj_get(kernel.pins.program("tc_ingress"))
    verdicts = {}
    try:
        for wildcard in (None, 0):
            image = compile_image(view, kernel.dataplane.next_generation)
            kernel.dataplane.apply(image, [Interface(UNKNOWN, wildcard)], [])
            verdicts[wildcard] = [
                testrun.run(program, frames.frame(tcp("10.7.0.9", port=port)), ifindex=ETH0).verdict
                for port in (80, 81)
            ]
    finally:
        os.close(program)
    assert verdicts == {None: [PASS, PASS], 0: [PASS, DROP]}


def tcp_from(net: str, ports: int | str) -> dict[str, object]:
    return {
        "protocol": "TCP",
        "source": EntityRule(nets=(net,)),
        "destination": EntityRule(ports=(ports,)),
    }
