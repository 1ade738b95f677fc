"""The embedded datastore under kill -9 in the middle of writing: whole files, nothing lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from pyagent import manifest
from pyagent.datastore import EmbeddedDatastore
from pyagent.errors import NotFoundError
from tests.support.datastore_contract import KIND, nets_of
from tests.support.resources import network_set

ROUNDS = 50


def write_forever(root: Path, start: int, acknowledge: Callable[[str], None]) -> None:
    """Create, update and delete five resources in turn, each with an address of its own."""
    store = EmbeddedDatastore(root)
    acknowledge("ready")
    for number in count(start):
        name = f"set-{number % 5}"
        if number % 7 == 6:
            with contextlib.suppress(NotFoundError):
                store.delete(KIND, name)
            acknowledge(f"deleted {name}")
            continue
        resource = network_set(name, net_of(number))
        try:
            stored = store.update(resource)
        except NotFoundError:
            stored = store.create(resource)
        acknowledge(f"stored {name} {stored.spec.nets[0]} {stored.metadata.resource_version}")


def net_of(number: int) -> str:
    return f"10.{number >> 8 & 255}.{number & 255}.0/24"


class Writer:
    """A child process that writes as fast as it can and tells of each write once it is done."""

    def __init__(self, root: Path, start: int) -> None:
        output, told = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                write_forever(root, start, lambda line: os.write(told, f"{line}\n".encode()))
            finally:
                os._exit(1)
        os.close(told)
        self._lines = os.fdopen(output, encoding="ascii")
        assert self._lines.readline() == "ready\n"

    def kill(self) -> list[list[str]]:
        """Kill it at once; every write it had acknowledged, as words."""
        os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        assert os.WIFSIGNALED(status)
        with self._lines:
            return [line.split() for line in self._lines if line.endswith("\n")]


def check_files(root: Path) -> None:
    for path in root.rglob("*.yaml"):
        documents = manifest.load(path.read_text(), str(path))
        assert [document.problems for document in documents] == [()], path


def test_a_writer_killed_again_and_again_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    root = tmp_path / "store"
    EmbeddedDatastore(root)
    chance = random.Random(4)
    acknowledged: dict[str, str | None] = {}
    versions: list[int] = []
    position = 0
    writer = Writer(root, position)
    for _ in range(ROUNDS):
        time.sleep(chance.uniform(0.0005, 0.02))
        told = writer.kill()
        check_files(root)
        touched: dict[str, str | None] = {}
        for verb, name, *rest in told:
            touched[name] = rest[0] if verb == "stored" else None
            if verb == "stored":
                versions.append(int(rest[1]))
        acknowledged |= touched
        position += len(told)
        store = EmbeddedDatastore(root)
        found = {resource.name: nets_of(resource)[0] for resource in store.list(KIND)[0]}
        in_flight = f"set-{position % 5}"
        for name, net in acknowledged.items():
            if name != in_flight:
                assert found.get(name) == net, f"{name} after {position} writes"
        # The write that was cut off either happened or did not.
        attempted = net_of(position) if position % 7 != 6 else None
        assert found.get(in_flight) in (acknowledged.get(in_flight), attempted)
        acknowledged[in_flight] = found.get(in_flight)
        assert not list(root.rglob(".tmp-*"))
        position += 1
        writer = Writer(root, position)
    writer.kill()
    assert len(versions) > ROUNDS
    assert versions == sorted(set(versions))
    assert int(store_version(root)) > versions[-1]


def store_version(root: Path) -> str:
    return EmbeddedDatastore(root).create(network_set("last")).metadata.resource_version


def test_several_processes_write_at_once_without_losing_or_sharing_a_version(tmp_path: Path) -> None:
    root = tmp_path / "store"
    EmbeddedDatastore(root)
    writers = [Writer(root, start) for start in (0, 1000, 2000)]
    time.sleep(0.3)
    told = [line for writer in writers for line in writer.kill()]
    versions = [int(line[3]) for line in told if line[0] == "stored"]
    assert len(versions) > 20
    assert len(set(versions)) == len(versions)
    check_files(root)
