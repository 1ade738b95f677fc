"""Compiled programs that are kept: used where they can be trusted, and compiled anew where not."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pyagent.bpf.build import FIRST_MAP, Request
from pyagent.bpf.cache import ObjectCache
from pyagent.bpf.install import with_maps
from pyagent.bpf.loader import Loaded, load_source
from pyagent.bpf.pins import Pins
from pyagent.errors import BuildError
from tests.dataplane.kernel_objects import instruction, returns, tiny_source
from tests.dataplane.test_build import CELL, SWITCH, verdict_of
from tests.property.test_engines_agree import world_of
from tests.support.kernel import Kernel, Network
from tests.support.kernel_agreement import Trio, report, sent_cases

KEY = "k" * 64
OTHER = "o" * 64
PROGRAMS = {"tc_ingress": returns(2), "tc_egress": returns(-1)}


class Compiler:
    """Counts how often the child is asked to compile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs = 0
        self._run = subprocess.run
        monkeypatch.setattr(subprocess, "run", self._counted)

    def _counted(self, *words: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        self.runs += "pyagent.bpf.build" in words[0]
        return self._run(*words, **options)


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    monkeypatch.delenv("AUTOHEP_OBJECT_CACHE", raising=False)
    return Compiler(monkeypatch)


@pytest.fixture
def cache(tmp_path: Path) -> ObjectCache:
    return ObjectCache(tmp_path / "objects")


def kept(tmp_path: Path) -> Path:
    """The one object that is kept."""
    (found,) = (tmp_path / "objects").iterdir()
    return found


def built(source: Path, pins: Pins, cache: ObjectCache, verdict: int = 2) -> Loaded:
    return load_source(source, pins, ["tc_ingress"], [CELL], {"VERDICT": verdict}, cache)


@contextmanager
def told(caplog: pytest.LogCaptureFixture, reason: str) -> Iterator[None]:
    """What happens within is told in the log, with that reason."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        yield
    assert reason in caplog.text


# ---- the files ----------


def test_what_is_kept_is_found_and_nobody_else_can_read_it(tmp_path: Path, cache: ObjectCache) -> None:
    assert cache.find(KEY) is None
    cache.keep(KEY, PROGRAMS)
    assert cache.find(KEY) == PROGRAMS
    assert cache.find(OTHER) is None
    assert stat.S_IMODE((tmp_path / "objects").stat().st_mode) == 0o700
    assert stat.S_IMODE(kept(tmp_path).stat().st_mode) == 0o600


@pytest.mark.parametrize("damage", [b"", b"\n", b"junk", None])
def test_a_damaged_object_is_not_used(
    tmp_path: Path, cache: ObjectCache, caplog: pytest.LogCaptureFixture, damage: bytes | None
) -> None:
    cache.keep(KEY, PROGRAMS)
    content = kept(tmp_path).read_bytes()
    kept(tmp_path).write_bytes(content[:-9] + b"7" + content[-8:] if damage is None else damage)
    with told(caplog, "damaged"):
        assert cache.find(KEY) is None
    cache.keep(KEY, PROGRAMS)
    assert cache.find(KEY) == PROGRAMS


def test_an_object_under_another_name_is_not_used(
    tmp_path: Path, cache: ObjectCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache.keep(KEY, PROGRAMS)
    kept(tmp_path).rename(tmp_path / "objects" / OTHER)
    with told(caplog, "damaged"):
        assert cache.find(OTHER) is None


@pytest.mark.parametrize("of", ["file", "folder"])
def test_what_another_user_owns_or_can_write_is_not_used(
    tmp_path: Path, cache: ObjectCache, caplog: pytest.LogCaptureFixture, of: str
) -> None:
    cache.keep(KEY, PROGRAMS)
    place = kept(tmp_path) if of == "file" else tmp_path / "objects"
    mode = stat.S_IMODE(place.stat().st_mode)
    os.chown(place, 12345, -1)
    with told(caplog, "belongs to user 12345"):
        assert cache.find(KEY) is None
    os.chown(place, 0, -1)
    place.chmod(mode | stat.S_IWGRP)
    with told(caplog, "others can write it"):
        assert cache.find(KEY) is None
    place.chmod(mode)
    assert cache.find(KEY) == PROGRAMS


def test_nothing_is_written_into_a_folder_that_others_can_write(
    tmp_path: Path, cache: ObjectCache, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects").chmod(0o777)
    with told(caplog, "others can write it"):
        cache.keep(KEY, PROGRAMS)
    assert not list((tmp_path / "objects").iterdir())


def test_neither_links_nor_pipes_nor_folders_are_followed(
    tmp_path: Path, cache: ObjectCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache.keep(KEY, PROGRAMS)
    (tmp_path / "objects" / OTHER).symlink_to(kept(tmp_path))
    with told(caplog, "symbolic link"):
        assert cache.find(OTHER) is None
    (tmp_path / "objects" / OTHER).unlink()
    os.mkfifo(tmp_path / "objects" / OTHER, 0o600)
    with told(caplog, "no file"):
        assert cache.find(OTHER) is None
    with told(caplog, "Not a directory"):
        assert ObjectCache(kept_file := tmp_path / "objects" / KEY).find(KEY) is None
    assert kept_file.is_file()


def test_a_full_disk_is_told_and_leaves_nothing_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=0700", "tmpfs", disk], check=True)
    try:
        cache = ObjectCache(disk / "objects")
        with told(caplog, "No space left"):
            cache.keep(KEY, {"tc_ingress": returns(2) * 2000})
        assert not list((disk / "objects").iterdir())
        cache.keep(KEY, PROGRAMS)
        assert cache.find(KEY) == PROGRAMS
    finally:
        subprocess.run(["umount", disk], check=True)


def test_the_objects_unused_for_longest_make_room(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path / "objects", kept=3)
    for age, name in enumerate(["newest", "new", "old"]):
        cache.keep(name, PROGRAMS)
        os.utime(tmp_path / "objects" / name, (1000 - age, 1000 - age))
    assert cache.find("old") == PROGRAMS
    cache.keep("another", PROGRAMS)
    assert {file.name for file in (tmp_path / "objects").iterdir()} == {"another", "old", "newest"}


# ---- what they are kept under ----------


def test_all_that_the_instructions_depend_on_is_in_the_key(tmp_path: Path) -> None:
    def request(**other: Any) -> Request:
        plain = {"text": "t", "headers": tmp_path, "programs": ("a", "b"), "maps": ("m", "n")}
        return Request(**{**plain, "defines": {"X": 1, "Y": 2}, **other})

    (tmp_path / "one.h").write_text("1")
    assert request().key() == request(defines={"Y": 2, "X": 1}).key()
    keys = [
        request().key(),
        request(text="u").key(),
        request(programs=("a",)).key(),
        request(maps=("n", "m")).key(),
        request(defines={"X": 1, "Y": 3}).key(),
        request(defines={"X": 1}).key(),
    ]
    (tmp_path / "one.h").write_text("2")
    keys.append(request().key())
    (tmp_path / "one.h").rename(tmp_path / "two.h")
    keys.append(request().key())
    assert len(set(keys)) == len(keys)


# ---- maps ----------


def test_descriptors_take_the_place_of_the_maps_numbers_and_of_nothing_else() -> None:
    constant = instruction(0x18, 0x01, 0, FIRST_MAP) + instruction(0, 0, 0, 0x18)
    by_map = instruction(0x18, 0x11, 0, FIRST_MAP + 1) + instruction(0)
    plain = instruction(0xB7, 0, 0, FIRST_MAP)
    assert with_maps(constant + by_map + plain, [30, 31]) == (
        constant + instruction(0x18, 0x11, 0, 31) + instruction(0) + plain
    )


def test_a_map_that_nobody_asked_for_is_refused() -> None:
    with pytest.raises(BuildError, match="uses map 1, and there are 1"):
        with_maps(instruction(0x18, 0x11, 0, FIRST_MAP + 1) + instruction(0), [30])


# ---- loading ----------


def test_a_second_start_compiles_nothing_and_other_defines_do(
    tmp_path: Path, pins: Pins, cache: ObjectCache, compiler: Compiler
) -> None:
    source = tiny_source(tmp_path, SWITCH.replace("cell && *cell", "cell"))
    built(source, pins, cache)
    assert (compiler.runs, verdict_of(pins)) == (1, 2)
    loaded = built(source, pins, cache)
    assert (compiler.runs, verdict_of(pins), loaded.reused) == (1, 2, ("cell",))
    pins.remove()
    assert built(source, pins, cache).created == ("cell",)
    assert (compiler.runs, verdict_of(pins)) == (1, 2)
    built(source, pins, cache, verdict=7)
    assert (compiler.runs, verdict_of(pins)) == (2, 7)


def test_an_object_that_the_verifier_refuses_is_compiled_anew_and_replaced(
    tmp_path: Path, pins: Pins, cache: ObjectCache, compiler: Compiler, caplog: pytest.LogCaptureFixture
) -> None:
    source = tiny_source(tmp_path, SWITCH.replace("cell && *cell", "cell"))
    built(source, pins, cache)
    good = kept(tmp_path).read_bytes()
    cache.keep(kept(tmp_path).name, {"tc_ingress": instruction(0xBF, 0x70) + instruction(0x95)})
    assert kept(tmp_path).read_bytes() != good
    with told(caplog, "the verifier refuses tc_ingress"):
        built(source, pins, cache)
    assert (compiler.runs, verdict_of(pins)) == (2, 2)
    assert kept(tmp_path).read_bytes() == good


def test_what_the_verifier_refuses_is_not_kept(
    tmp_path: Path, pins: Pins, cache: ObjectCache, compiler: Compiler
) -> None:
    source = tiny_source(tmp_path, SWITCH.replace("cell && *cell", "*(unsigned char *)(long)skb->data"))
    with pytest.raises(BuildError, match="the verifier refuses"):
        built(source, pins, cache)
    assert compiler.runs == 1
    assert not (tmp_path / "objects").exists()
    assert pins.maps() == pins.programs() == []


def test_no_descriptor_is_left_open(
    tmp_path: Path, pins: Pins, cache: ObjectCache, compiler: Compiler
) -> None:
    good = tiny_source(tmp_path, SWITCH)
    before = len(list(Path("/proc/self/fd").iterdir()))
    built(good, pins, cache)
    built(good, pins, cache)
    good.write_text(SWITCH.replace("cell && *cell", "*(unsigned char *)(long)skb->data"))
    with pytest.raises(BuildError):
        built(good, pins, cache)
    assert compiler.runs == 2
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_folder_named_in_the_environment_is_everybodys(
    tmp_path: Path, pins: Pins, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOHEP_OBJECT_CACHE", str(tmp_path / "objects"))
    source = tiny_source(tmp_path, SWITCH)
    for _ in range(2):
        load_source(source, pins, ["tc_ingress"], [CELL], {"VERDICT": 2})
    assert compiler.runs == 1
    assert json.loads(kept(tmp_path).read_bytes().partition(b"\n")[2]).keys() == {"tc_ingress"}


def test_the_firewall_from_the_cache_judges_as_the_reference_does(
    tmp_path: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOHEP_OBJECT_CACHE", str(tmp_path / "objects"))
    Kernel("cold").close()
    network = Network()
    try:
        with Kernel("warm") as kernel, network.entered():
            assert compiler.runs == 1
            for seed in range(3000, 3005):
                world = world_of(seed)
                trio = Trio(kernel, world)
                for sent in sent_cases(world, seed, 100):
                    if trio.alone(sent).difference:
                        pytest.fail(report(kernel, world, sent))
                assert trio.left_over() == []
    finally:
        network.close()
