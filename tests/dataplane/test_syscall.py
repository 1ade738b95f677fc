"""The raw system call: maps, programs, pins and their refusals."""

from __future__ import annotations

import errno
import os
import struct
import time
from pathlib import Path

import pytest

from pyagent.bpf import objects, syscall, testrun
from pyagent.bpf.clock import Jiffies
from pyagent.bpf.numbers import MapType, ProgramType
from pyagent.bpf.pins import Pins
from pyagent.errors import KernelError
from tests.dataplane.kernel_objects import ETHERNET_IPV4, classifier, instruction, returns


def test_an_element_can_be_set_read_and_deleted() -> None:
    fd = syscall.map_create(MapType.HASH, 4, 8, 16, name="elements")
    try:
        assert syscall.map_lookup(fd, b"key1", 8) is None
        syscall.map_update(fd, b"key1", b"value__1")
        assert syscall.map_lookup(fd, b"key1", 8) == b"value__1"
        assert syscall.map_next_key(fd, None, 4) == b"key1"
        assert syscall.map_next_key(fd, b"key1", 4) is None
        assert syscall.map_delete(fd, b"key1") is True
        assert syscall.map_delete(fd, b"key1") is False
    finally:
        os.close(fd)


def test_a_full_hash_says_so_with_its_errno() -> None:
    fd = syscall.map_create(MapType.HASH, 4, 4, 1)
    try:
        syscall.map_update(fd, b"aaaa", b"1234")
        with pytest.raises(KernelError, match="map update") as caught:
            syscall.map_update(fd, b"bbbb", b"1234")
        assert caught.value.errno == errno.E2BIG
    finally:
        os.close(fd)


def test_the_info_of_a_map_tells_its_shape() -> None:
    fd = syscall.map_create(MapType.LPM_TRIE, 8, 4, 100, 1, "shape")
    try:
        info = objects.map_info(fd)
        assert info.shape == (MapType.LPM_TRIE, 8, 4, 100, 1)
        assert info.name == "shape"
    finally:
        os.close(fd)


def test_a_program_runs_and_its_info_names_it() -> None:
    fd = classifier(2, "autohep_sample")
    try:
        assert testrun.run(fd, ETHERNET_IPV4).verdict == 2
        info = objects.program_info(fd)
        assert (info.name, info.type) == ("autohep_sample", ProgramType.SCHED_CLS)
    finally:
        os.close(fd)


def test_a_negative_verdict_comes_back_negative() -> None:
    fd = classifier(-1)
    try:
        assert testrun.run(fd, ETHERNET_IPV4).verdict == -1
    finally:
        os.close(fd)


def test_the_program_sees_where_the_packet_came_from_and_its_mark() -> None:
    def load_word(offset: int) -> int:
        code = instruction(0x61, 0x10, offset) + instruction(0x95)  # r0 = *(u32 *)(r1 + offset)
        return syscall.prog_load(ProgramType.SCHED_CLS, code, "autohep_word")

    for offset, arguments, expected in (
        (36, {"ingress_ifindex": 1}, 1),
        (40, {"ifindex": 1}, 1),
        (8, {"mark": 7}, 7),
    ):
        fd = load_word(offset)
        try:
            assert testrun.run(fd, ETHERNET_IPV4, **arguments).verdict == expected
        finally:
            os.close(fd)


def test_an_unknown_interface_is_refused() -> None:
    fd = classifier(0)
    try:
        with pytest.raises(KernelError) as caught:
            testrun.run(fd, ETHERNET_IPV4, ifindex=99999)
        assert caught.value.errno == errno.ENODEV
    finally:
        os.close(fd)


def test_an_xdp_program_runs() -> None:
    fd = syscall.prog_load(ProgramType.XDP, returns(1), "autohep_xdp")
    try:
        assert testrun.run_xdp(fd, ETHERNET_IPV4).verdict == 1
    finally:
        os.close(fd)


def test_a_refused_program_carries_the_verifiers_reason() -> None:
    with pytest.raises(syscall.LoadError, match="R0 !read_ok") as caught:
        syscall.prog_load(ProgramType.SCHED_CLS, instruction(0x95), "autohep_bad")
    assert caught.value.errno == errno.EACCES
    assert "exit" in caught.value.log


def test_a_pin_keeps_a_program_and_opens_again(pins: Pins) -> None:
    pins.create()
    fd = classifier(2)
    number = objects.program_info(fd).id
    syscall.obj_pin(fd, pins.program("sample"))
    os.close(fd)
    assert objects.pinned_program_info(pins.program("sample")).id == number
    assert pins.programs() == ["sample"]


def test_opening_a_pin_that_is_not_there_names_it(pins: Pins) -> None:
    pins.create()
    with pytest.raises(KernelError, match=r"open pin .*/maps/absent: No such file"):
        syscall.obj_get(pins.map("absent"))


def test_pin_directories_are_for_root_only_and_go_away_when_removed(pins: Pins) -> None:
    pins.create()
    assert pins.root.stat().st_mode & 0o777 == 0o700
    pins.remove()
    assert not pins.root.exists()
    pins.remove()


def test_pins_outside_a_bpffs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="no bpffs is mounted there"):
        Pins("test", tmp_path).create()


def test_an_older_abi_versions_directory_is_found(pins: Pins) -> None:
    pins.create()
    Pins(pins.instance, pins.base, 0).create()
    assert [other.abi for other in pins.other_versions()] == [0]


def test_jiffies_advance_at_the_measured_rate() -> None:
    clock = Jiffies()
    try:
        rate = clock.rate()
        assert rate in (100, 250, 300, 1000)
        assert clock.now() >= 0
        assert clock.now() <= clock.now()
    finally:
        clock.close()


def test_the_rate_is_what_jiffies_do_in_a_while() -> None:
    clock = Jiffies()
    try:
        first, begun = clock.now(), time.monotonic()
        time.sleep(0.4)
        last, ended = clock.now(), time.monotonic()
        assert (last - first) / (ended - begun) == pytest.approx(clock.rate(), rel=0.15)
    finally:
        clock.close()


def test_a_ring_and_nothing_else_is_accepted_as_a_ring() -> None:
    # The other half, reading records, needs a program: see test_build.
    fd = syscall.map_create(MapType.RINGBUF, 0, 0, 4096, name="ring")
    assert objects.map_info(fd).type == MapType.RINGBUF
    os.close(fd)


def test_statistics_count_runs_while_they_are_enabled() -> None:
    fd = classifier(0)
    stats = syscall.enable_stats()
    try:
        testrun.run(fd, ETHERNET_IPV4, repeat=100)
        assert objects.program_info(fd).runs == 100
        assert objects.program_info(fd).run_ns > 0
    finally:
        os.close(stats)
    testrun.run(fd, ETHERNET_IPV4, repeat=100)
    assert objects.program_info(fd).runs == 100
    os.close(fd)


def test_program_instructions_are_eight_bytes_each() -> None:
    assert len(returns(0)) == 2 * struct.calcsize("=BBhi")
