"""What the kernel holds is compared with what was put there; whoever changed it, it is told and put right."""

from __future__ import annotations

import ctypes
import logging
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyagent import abi
from pyagent.abi import Action
from pyagent.agent.enforce import Enforcer
from pyagent.agent.state import StateDirectory
from pyagent.bpf import syscall
from pyagent.calc import World
from tests.netns.guarded import Guarded, endpoint, guarded

WORLD = World.from_resources([endpoint()])
_HEADER = dict(zip(abi.IMAGE_HEADER_FIELDS, range(len(abi.IMAGE_HEADER_FIELDS)), strict=True))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("state")) as made:
        yield made


@pytest.fixture
def checking(host: Guarded, tmp_path: Path) -> Iterator[Enforcer]:
    """Enforces, and compares with every pass."""
    with StateDirectory(tmp_path) as state:
        enforcer = Enforcer("guarded", host.pins, host.dataplane, state, check_every=0)
        assert enforcer.enforce(WORLD).drifts == 0
        yield enforcer
    host.lift()


def allow_all(host: Guarded) -> None:
    """Write Allow over every verdict of the image in force, as no agent would."""
    memory = host.dataplane.map("images").memory()
    start = (host.dataplane.generation & 1) * host.dataplane.image_bytes
    header = abi.IMAGE_HEADER.unpack_from(memory, start)
    at, count = header[_HEADER["verdicts_at"]], header[_HEADER["verdicts"]]
    for number in range(count):
        struct.pack_into("=B", memory, start + at + 8 * number, Action.ALLOW)
    memory.close()


def test_what_nobody_changed_is_left_alone(host: Guarded, checking: Enforcer) -> None:
    generation = host.dataplane.generation
    for _ in range(3):
        enforced = checking.enforce(WORLD)
        assert (enforced.drifts, enforced.generation) == (0, generation)


def test_an_image_changed_by_others_is_reported_and_put_right(
    host: Guarded, checking: Enforcer, caplog: pytest.LogCaptureFixture
) -> None:
    assert not host.hosts.peer_reaches_node()
    generation = host.dataplane.generation
    allow_all(host)
    assert host.hosts.peer_reaches_node(), "the change had an effect"
    host.forget()
    with caplog.at_level(logging.ERROR):
        enforced = checking.enforce(WORLD)
    assert f"generation {generation} does not read back as it was applied" in caplog.text
    assert enforced.drifts == 1
    assert "does not read back" in enforced.last_drift
    assert enforced.generation == generation + 1
    assert enforced.protected
    assert not host.hosts.peer_reaches_node()
    assert checking.enforce(WORLD).drifts == 1, "once put right, it is right"


def test_failsafes_opened_by_others_are_closed(host: Guarded, checking: Enforcer) -> None:
    bitmap = host.dataplane.map("failsafe")
    before = bitmap.get(bytes(4))
    assert before is not None
    bitmap.set(bytes(4), b"\xff" * len(before))
    assert checking.enforce(WORLD).drifts == 1
    assert bitmap.get(bytes(4)) == before
    net = abi.FAILSAFE_KEY.pack(abi.FAILSAFE_FIXED_BITS, b"\x14\x14", abi.FAILSAFE_TCP, 4, bytes(16))
    host.dataplane.map("failsafe_nets").set(net, struct.pack("=I", 1))
    assert checking.enforce(WORLD).drifts == 2
    assert host.dataplane.map("failsafe_nets").get(net) is None


def test_another_generation_in_force_is_put_right(host: Guarded, checking: Enforcer) -> None:
    generation = host.dataplane.generation
    memory = host.dataplane.map("control").memory()
    cell = ctypes.c_uint32.from_buffer(memory)
    cell.value = generation - 1
    del cell
    memory.close()
    enforced = checking.enforce(WORLD)
    assert f"generation {generation - 1} is in force, not {generation}" in enforced.last_drift
    assert enforced.problem == ""
    assert not host.hosts.peer_reaches_node()


def test_programs_taken_off_by_others_come_back(host: Guarded, checking: Enforcer) -> None:
    for link in host.pins.links():
        descriptor = syscall.obj_get(link.path)
        syscall.link_detach(descriptor)
        os.close(descriptor)
    reached = any(host.hosts.peer_reaches_node() for _ in range(10))  # the kernel takes its time
    assert reached, "nothing judges there any more"
    assert checking.enforce(WORLD).protected
    assert not host.hosts.peer_reaches_node()
