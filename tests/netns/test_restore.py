"""A start without datastore: the last policy saved is in force until the datastore answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pyagent import abi
from pyagent.agent.enforce import Enforcer
from pyagent.agent.state import BOOT, StateDirectory
from pyagent.attach.uninstall import uninstall
from pyagent.bpf.pins import Pins
from pyagent.calc import World
from pyagent.datastore import open_datastore
from tests.lab.lab import HEPCTL
from tests.lab.namespace import open_socket
from tests.netns.guarded import NODE, Guarded, endpoint, guarded, listen, policy
from tests.netns.two_hosts import run

OPEN, OTHER = 5301, 5302
PATIENCE = 60.0
ONLY_OPEN = policy(ingress=[{"action": "Allow", "protocol": "TCP", "destination": {"ports": [OPEN]}}])
ONLY_OTHER = policy(ingress=[{"action": "Allow", "protocol": "TCP", "destination": {"ports": [OTHER]}}])


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("state")) as made, listen(4, OPEN), listen(4, OTHER):
        yield made


@pytest.fixture(autouse=True)
def as_after_boot(host: Guarded) -> Iterator[None]:
    """Nothing is attached, and no generation was ever in force."""
    reset(host)
    yield
    reset(host)


def reset(host: Guarded) -> None:
    host.lift()
    host.dataplane.map("control").set(bytes(4), bytes(abi.CONTROL.size))


@contextmanager
def enforcer(host: Guarded, directory: Path) -> Iterator[Enforcer]:
    with StateDirectory(directory) as state:
        yield Enforcer("guarded", host.pins, host.dataplane, state)


def saved(host: Guarded, directory: Path, *resources: Any) -> int:
    """Enforce once, as before a reboot; returns the generation that was in force."""
    with enforcer(host, directory) as before:
        enforced = before.enforce(World.from_resources(resources))
        assert enforced.problem == ""
    reset(host)
    return enforced.generation


def reaches(host: Guarded, port: int, patience: float = 0.3) -> bool:
    with open_socket(host.peer, socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(patience)
        return client.connect_ex((NODE[4], port)) == 0


def test_a_saved_policy_is_in_force_again(host: Guarded, tmp_path: Path) -> None:
    generation = saved(host, tmp_path, endpoint(), ONLY_OPEN)
    assert reaches(host, OTHER, 3), "nothing is enforced yet"
    with enforcer(host, tmp_path) as after:
        restored = after.restore()
        assert (restored.generation, restored.restored, restored.problem) == (generation, True, "")
        assert restored.protected
        assert reaches(host, OPEN, 3)
        assert not reaches(host, OTHER)
        assert after.restore().generation == generation
        replaced = after.enforce(World.from_resources([endpoint(), ONLY_OTHER]))
        assert (replaced.restored, replaced.generation) == (False, generation + 1)
        assert reaches(host, OTHER, 3)
        assert not reaches(host, OPEN)


def test_without_a_saved_policy_nothing_is_attached_and_the_host_is_called_unprotected(
    host: Guarded, tmp_path: Path
) -> None:
    with enforcer(host, tmp_path) as after:
        enforced = after.restore()
    assert not enforced.protected
    assert enforced.interfaces == ()
    assert "nothing is enforced" in enforced.problem
    assert host.pins.links() == []
    assert reaches(host, OTHER, 3)


def test_another_image_of_the_same_number_in_force_is_not_taken_for_the_saved_one(
    host: Guarded, tmp_path: Path
) -> None:
    generation = saved(host, tmp_path / "saved", endpoint(), ONLY_OPEN)
    with enforcer(host, tmp_path / "other") as other:
        assert other.enforce(World.from_resources([endpoint(), ONLY_OTHER])).generation == generation
    with enforcer(host, tmp_path / "saved") as after:
        enforced = after.restore()
    assert "another image of that number" in enforced.problem
    assert (enforced.generation, enforced.restored) == (generation, False)
    assert reaches(host, OTHER, 3)
    with enforcer(host, tmp_path / "other") as other:
        assert other.restore().problem == ""


def test_a_damaged_image_in_force_is_not_taken_for_the_saved_one(host: Guarded, tmp_path: Path) -> None:
    with enforcer(host, tmp_path) as before:
        generation = before.enforce(World.from_resources([endpoint(), ONLY_OPEN])).generation
    with enforcer(host, tmp_path) as after:
        assert after.restore().problem == ""
    memory = host.dataplane.map("images").memory()
    memory[(generation & 1) * host.dataplane.image_bytes + 5000] ^= 1
    memory.close()
    with enforcer(host, tmp_path) as after:
        assert "is damaged" in after.restore().problem


@pytest.mark.parametrize("place", [10, -10])
def test_a_damaged_file_is_refused(host: Guarded, tmp_path: Path, place: int) -> None:
    saved(host, tmp_path, endpoint(), ONLY_OPEN)
    content = bytearray((tmp_path / BOOT).read_bytes())
    content[place] ^= 0xFF
    (tmp_path / BOOT).write_bytes(content)
    with enforcer(host, tmp_path) as after:
        enforced = after.restore()
    assert BOOT in enforced.problem
    assert not enforced.protected
    assert host.pins.links() == []


def test_an_image_of_another_layout_is_refused_by_name_what_is_in_force_stays_and_a_pass_saves_anew(
    host: Guarded, tmp_path: Path
) -> None:
    world = World.from_resources([endpoint(), ONLY_OPEN])
    with enforcer(host, tmp_path) as before:
        generation = before.enforce(world).generation
    place = (tmp_path / BOOT).read_bytes()
    image_at = place.index(b"\n") + 1
    number = abi.IMAGE_HEADER_FIELDS.index("abi")
    header = list(abi.IMAGE_HEADER.unpack_from(place, image_at))
    header[number] = abi.ABI_VERSION - 1
    older = bytearray(place)
    abi.IMAGE_HEADER.pack_into(older, image_at, *header)
    (tmp_path / BOOT).write_bytes(older)
    with enforcer(host, tmp_path) as after:
        enforced = after.restore()
        assert f"in layout {abi.ABI_VERSION - 1} where this one has {abi.ABI_VERSION}" in enforced.problem
        assert (enforced.generation, enforced.protected) == (generation, False)
        assert reaches(host, OPEN, 3)
        assert not reaches(host, OTHER)
        assert after.enforce(world).problem == ""
    reset(host)
    with enforcer(host, tmp_path) as later:
        assert later.restore().protected
        assert not reaches(host, OTHER)


def test_interfaces_that_were_not_there_before_are_covered_by_the_wildcard(
    host: Guarded, tmp_path: Path
) -> None:
    saved(host, tmp_path, endpoint("all", "*"), ONLY_OPEN)
    run("ip", "link", "add", "late0", "type", "bridge")
    try:
        with enforcer(host, tmp_path) as after:
            first = {report.interface for report in after.restore().interfaces}
            assert {"late0", "wire"} <= first
            run("ip", "link", "add", "later0", "type", "bridge")
            again = after.restore()
            assert {report.interface for report in again.interfaces} == {*first, "later0"}
            assert again.protected
    finally:
        for name in ("late0", "later0"):
            subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)


# ---- the whole agent


@contextmanager
def agent(host: Guarded, datastore: Path, state: Path) -> Iterator[Callable[[], dict[str, Any]]]:
    """A process on the guarded host, which gives up waiting for its datastore at once; yields its status."""
    instance = f"restore{os.getpid()}"
    process = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{host.hosts.node}", str(HEPCTL), "agent", "--node", "guarded",
         "--datastore", str(datastore), "--instance", instance, "--state-dir", str(state),
         "--restore-after", "0.2"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def status() -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((state / "status.json").read_text())
        except FileNotFoundError:
            return {}
        return found if found["pid"] == process.pid else {}

    try:
        yield status
    finally:
        process.terminate()
        _, log = process.communicate(timeout=10)
        print(log)
        uninstall(Pins(instance))


def wait(status: Callable[[], dict[str, Any]], condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while not condition(found := status()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def test_an_agent_whose_datastore_is_away_enforces_what_it_saved_until_the_datastore_answers(
    host: Guarded, tmp_path: Path
) -> None:
    state, datastore = tmp_path / "state", tmp_path / "datastore"
    generation = saved(host, state, endpoint(), ONLY_OPEN)
    datastore.write_text("a file where a directory should be")
    with agent(host, datastore, state) as status:
        first = wait(status, lambda found: found.get("restored", False))
        assert (first["generation"], first["protected"], first["ready"]) == (generation, True, False)
        assert not first["datastoreConnected"]
        assert reaches(host, OPEN, 3)
        assert not reaches(host, OTHER)
        store = open_datastore(str(tmp_path / "elsewhere"))
        for resource in (endpoint(), ONLY_OTHER):
            store.create(resource)
        datastore.unlink()
        (tmp_path / "elsewhere").rename(datastore)
        later = wait(status, lambda found: found.get("ready", False) and found["generation"] > generation)
        assert later["protected"]
        assert later["datastoreConnected"]
        assert reaches(host, OTHER, 3)
        assert not reaches(host, OPEN)


def test_an_agent_without_datastore_or_saved_policy_says_that_the_host_is_unprotected(
    host: Guarded, tmp_path: Path
) -> None:
    state, datastore = tmp_path / "state", tmp_path / "datastore"
    datastore.write_text("a file where a directory should be")
    with agent(host, datastore, state) as status:
        found = wait(status, bool)
        assert not found["protected"]
        assert not found["ready"]
        assert "nothing is enforced" in found["problem"]
        assert reaches(host, OTHER, 3)
