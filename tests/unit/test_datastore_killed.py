"""The embedded datastore under kill -9 in the middle of writing: whole files, nothing lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from pyagent import manifest
from pyagent.datastore import EmbeddedDatastore
from pyagent.errors import AlreadyExistsError, NotFoundError
from pyagent.model import GlobalNetworkSet
from tests.support.datastore_contract import KIND, nets_of
from tests.support.directories import quick_directory
from tests.support.resources import network_set

ROUNDS = 50


@pytest.fixture
def root() -> Iterator[Path]:
    with quick_directory() as directory:
        yield directory / "store"


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
        stored = apply(store, network_set(name, net_of(number)))
        acknowledge(f"stored {name} {stored.spec.nets[0]} {stored.metadata.resource_version}")


def apply(store: EmbeddedDatastore, resource: GlobalNetworkSet) -> GlobalNetworkSet:
    """Update or create, although others create and delete the same resources meanwhile."""
    while True:
        with contextlib.suppress(NotFoundError):
            return store.update(resource)
        with contextlib.suppress(AlreadyExistsError):
            return store.create(resource)


def net_of(number: int) -> str:
    return f"10.{number >> 8 & 255}.{number & 255}.0/24"


class Writer:
    """A child process that writes as fast as it can and tells of each write once it is done."""

    def __init__(self, root: Path, start: int) -> None:
        output, told = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            # Without a reader left, the next line ends the child: it cannot outlive the test.
            os.close(output)
            try:
                write_forever(root, start, lambda line: os.write(told, f"{line}\n".encode()))
            finally:
                os._exit(1)
        os.close(told)
        self._lines = os.fdopen(output, encoding="ascii")
        assert self._lines.readline() == "ready\n"

    def kill(self, after: int, delay: float) -> list[list[str]]:
        """Kill it ``delay`` seconds after so many writes; what it had acknowledged by then, in words."""
        told = [self._lines.readline() for _ in range(after)]
        time.sleep(delay)
        os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        assert os.WIFSIGNALED(status)
        with self._lines:
            told.extend(line for line in self._lines if line.endswith("\n"))
        return [line.split() for line in told]


def check_files(root: Path) -> None:
    for path in root.rglob("*.yaml"):
        documents = manifest.load(path.read_text(), str(path))
        assert [document.problems for document in documents] == [()], path


def test_a_writer_killed_again_and_again_loses_nothing_it_acknowledged(root: Path) -> None:
    EmbeddedDatastore(root)
    chance = random.Random(4)
    acknowledged: dict[str, str | None] = {}
    versions: list[int] = []
    position = 0
    writer = Writer(root, position)
    for _ in range(ROUNDS):
        told = writer.kill(after=chance.randrange(6), delay=chance.uniform(0, 0.004))
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
    writer.kill(after=0, delay=0)
    assert len(versions) > ROUNDS
    assert versions == sorted(set(versions))
    assert int(store_version(root)) > versions[-1]


def store_version(root: Path) -> str:
    return EmbeddedDatastore(root).create(network_set("last")).metadata.resource_version


def test_several_processes_write_at_once_without_losing_or_sharing_a_version(root: Path) -> None:
    EmbeddedDatastore(root)
    writers = [Writer(root, start) for start in (0, 1000, 2000)]
    told = [line for writer in writers for line in writer.kill(after=20, delay=0)]
    versions = [int(line[3]) for line in told if line[0] == "stored"]
    assert len(versions) > 20
    assert len(set(versions)) == len(versions)
    check_files(root)
