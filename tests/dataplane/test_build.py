"""The child that compiles and loads: what it makes, what it keeps, and how it refuses."""

from __future__ import annotations

import asyncio
import os
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from pyagent.bpf import layout, objects, syscall, testrun
from pyagent.bpf.loader import Loaded, compile_clang, load, load_source
from pyagent.bpf.maps import Map, MapSpec
from pyagent.bpf.numbers import MapType
from pyagent.bpf.pins import Pins
from pyagent.bpf.ringbuf import RingBuffer
from pyagent.errors import BuildError, DriftError
from tests.dataplane.kernel_objects import ETHERNET_IPV4, tiny_source

CELL = MapSpec("cell", MapType.ARRAY, 4, 4, 1, 0)
RING = MapSpec("ring", MapType.RINGBUF, 0, 0, 4096, 0)
#: Returns -1 or VERDICT, by what is in the cell.
SWITCH = """
int tc_ingress(struct __sk_buff *skb)
{
	unsigned int zero = 0;
	unsigned int *cell = bpf_map_lookup_elem((void *)bpf_pseudo_fd(1, MAP_FD_cell), &zero);

	return cell && *cell ? VERDICT : -1;
}
"""
#: Sends the packet's length as an event.
EVENTS = """
int tc_ingress(struct __sk_buff *skb)
{
	unsigned long long event = skb->len;

	return bpf_ringbuf_output((void *)bpf_pseudo_fd(1, MAP_FD_ring), &event, sizeof(event), 0);
}
"""


def build(source: Path, pins: Pins, spec: MapSpec = CELL, verdict: int = 2) -> Loaded:
    return load_source(source, pins, ["tc_ingress"], [spec], {"VERDICT": verdict})


def verdict_of(pins: Pins) -> int:
    fd = syscall.obj_get(pins.program("tc_ingress"))
    try:
        return testrun.run(fd, ETHERNET_IPV4).verdict
    finally:
        os.close(fd)


def test_a_program_is_built_pinned_and_uses_the_pinned_map(tmp_path: Path, pins: Pins) -> None:
    loaded = build(tiny_source(tmp_path, SWITCH), pins)
    assert loaded.programs == {"tc_ingress": pins.program("tc_ingress")}
    assert (loaded.created, loaded.reused) == (("cell",), ())
    assert verdict_of(pins) == -1
    with Map.open(pins.map("cell"), CELL) as cell:
        cell.set(bytes(4), struct.pack("=I", 1))
    assert verdict_of(pins) == 2
    info = objects.pinned_program_info(pins.program("tc_ingress"))
    assert info.name == "autohep_ingress"
    assert info.map_ids == (loaded.maps["cell"],)


def test_a_second_build_keeps_the_maps_and_their_contents(tmp_path: Path, pins: Pins) -> None:
    source = tiny_source(tmp_path, SWITCH)
    first = build(source, pins)
    with Map.open(pins.map("cell"), CELL) as cell:
        cell.set(bytes(4), struct.pack("=I", 1))
    assert verdict_of(pins) == 2
    second = build(source, pins, verdict=7)
    assert verdict_of(pins) == 7
    assert (second.created, second.reused) == ((), ("cell",))
    assert second.maps == first.maps
    assert pins.programs() == ["tc_ingress"]


def test_a_pinned_map_of_another_size_is_drift_and_nothing_changes(tmp_path: Path, pins: Pins) -> None:
    source = tiny_source(tmp_path, SWITCH)
    build(source, pins)
    before = objects.pinned_program_info(pins.program("tc_ingress")).id
    with pytest.raises(DriftError, match="max entries is 1, not 2"):
        build(source, pins, MapSpec("cell", MapType.ARRAY, 4, 4, 2, 0))
    assert objects.pinned_program_info(pins.program("tc_ingress")).id == before


#: A map whose contents outlive versions, and those contents.
KEPT = MapSpec("cell", MapType.LRU_HASH, 4, 4, 256, 0, layout=1)
FLOWS = {struct.pack("=I", number): struct.pack("=I", ~number & 0xFFFFFFFF) for number in range(40)}


def another_version(pins: Pins, version: int) -> Pins:
    return Pins(pins.instance, pins.base, version)


@pytest.mark.parametrize("step", [1, -1], ids=["upgrade", "downgrade"])
def test_another_version_shares_the_map_that_outlives_versions(tmp_path: Path, pins: Pins, step: int) -> None:
    source = tiny_source(tmp_path, SWITCH)
    first = build(source, pins, KEPT)
    with Map.open(pins.map("cell"), KEPT) as theirs:
        theirs.update_many(FLOWS.items())
        after = another_version(pins, pins.abi + step)
        second = build(source, after, KEPT)
        assert second.maps == first.maps
        # What the other version's program notes until ours takes over is there too.
        theirs.set(struct.pack("=I", 99), bytes(4))
    pins.remove()
    with Map.open(after.map("cell"), KEPT) as ours:
        assert dict(ours.items()) == FLOWS | {struct.pack("=I", 99): bytes(4)}


@pytest.mark.parametrize("entries", [512, 128])
def test_a_map_of_another_size_is_copied_into_the_other_version(
    tmp_path: Path, pins: Pins, entries: int
) -> None:
    source = tiny_source(tmp_path, SWITCH)
    build(source, pins, KEPT)
    with Map.open(pins.map("cell"), KEPT) as theirs:
        theirs.update_many(FLOWS.items())
    wanted = replace(KEPT, max_entries=entries)
    after = another_version(pins, pins.abi + 1)
    build(source, after, wanted)
    with Map.open(after.map("cell"), wanted) as ours:
        assert dict(ours.items()) == FLOWS


@pytest.mark.parametrize("layout_number", [0, 2])
def test_a_map_of_another_layout_or_of_none_begins_empty_in_another_version(
    tmp_path: Path, pins: Pins, layout_number: int
) -> None:
    source = tiny_source(tmp_path, SWITCH)
    build(source, pins, KEPT)
    with Map.open(pins.map("cell"), KEPT) as theirs:
        theirs.update_many(FLOWS.items())
    after = another_version(pins, pins.abi + 1)
    wanted = replace(KEPT, layout=layout_number)
    build(source, after, wanted)
    with Map.open(after.map("cell"), wanted) as ours:
        assert dict(ours.items()) == {}


def test_a_compiler_error_comes_first_with_file_and_line(tmp_path: Path, pins: Pins) -> None:
    source = tiny_source(tmp_path, "int tc_ingress(struct __sk_buff *skb)\n{\n\treturn missing;\n}\n")
    with pytest.raises(BuildError, match=r"^tiny\.c:3:\d+: error: .*missing"):
        build(source, pins)
    assert pins.maps() == pins.programs() == []


def test_the_verifiers_reason_comes_first(tmp_path: Path, pins: Pins) -> None:
    unchecked = "*(unsigned char *)(long)skb->data"
    source = tiny_source(tmp_path, SWITCH.replace("cell && *cell", unchecked))
    with pytest.raises(BuildError, match=r"^the verifier refuses tc_ingress: .*outside of the packet"):
        build(source, pins)
    assert pins.maps() == pins.programs() == []


def test_a_program_that_the_source_does_not_have_is_named(tmp_path: Path, pins: Pins) -> None:
    source = tiny_source(tmp_path, SWITCH)
    with pytest.raises(BuildError, match="the source has no program tc_egress"):
        load_source(source, pins, ["tc_egress"], [CELL], {"VERDICT": 2})


async def test_events_of_a_program_come_out_of_the_ring_in_order(tmp_path: Path, pins: Pins) -> None:
    load_source(tiny_source(tmp_path, EVENTS), pins, ["tc_ingress"], [RING], {})
    fd = syscall.obj_get(pins.program("tc_ingress"))
    lengths: list[int] = []
    with RingBuffer.open(pins.map("ring")) as ring:
        assert ring.read() == []
        readable = asyncio.Event()
        asyncio.get_running_loop().add_reader(ring.fileno(), readable.set)
        for round_number in range(20):  # 20 x 50 events of 16 bytes: around the 4096-byte ring several times
            for number in range(50):
                testrun.run(fd, ETHERNET_IPV4 + bytes(round_number * 50 + number))
            await asyncio.wait_for(readable.wait(), 5)
            readable.clear()
            lengths += [struct.unpack("=Q", record)[0] for record in ring.read()]
        asyncio.get_running_loop().remove_reader(ring.fileno())
    os.close(fd)
    assert lengths == [len(ETHERNET_IPV4) + number for number in range(1000)]


def test_a_hash_is_no_ring(pins: Pins) -> None:
    with Map.create(CELL) as cell, pytest.raises(DriftError, match="not a ring buffer"):
        RingBuffer(cell.fd)


def test_the_firewall_loads_with_every_program(pins: Pins) -> None:
    loaded = load(pins, flows_max=1024)
    assert set(loaded.programs) == {"tc_ingress", "tc_egress", "tc_ingress_l3", "tc_egress_l3"}
    assert set(loaded.maps) == {spec.name for spec in layout.map_specs()}
    names = {objects.pinned_program_info(path).name for path in loaded.programs.values()}
    assert names == {"autohep_ingress", "autohep_egress", "autohep_in_l3", "autohep_out_l3"}
    assert set(load(pins, flows_max=1024).reused) == set(loaded.maps)


def test_the_firewall_compiles_ahead_of_time_without_a_warning(tmp_path: Path) -> None:
    compile_clang(tmp_path / "firewall.o")
    assert (tmp_path / "firewall.o").stat().st_size > 0
