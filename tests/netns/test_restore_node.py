"""``hepctl restore-node``: the saved policy is in force at boot, before any agent runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyagent.agent.state import BOOT, StateDirectory
from pyagent.attach.uninstall import uninstall
from pyagent.bpf.pins import Pins
from tests.lab.lab import HEPCTL
from tests.netns.guarded import Guarded, endpoint, guarded, listen
from tests.netns.test_restore import ONLY_OPEN, OPEN, OTHER, reaches, reset, saved

INSTANCE = f"boot{os.getpid()}"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("state")) as made, listen(4, OPEN), listen(4, OTHER):
        reset(made)
        yield made


@pytest.fixture(autouse=True)
def no_trace(host: Guarded) -> Iterator[None]:
    yield
    uninstall(Pins(INSTANCE))
    reset(host)


def restore_node(host: Guarded, state: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["nsenter", f"--net=/run/netns/{host.hosts.node}", str(HEPCTL), "restore-node", "--node", "guarded",
         "--instance", INSTANCE, "--state-dir", str(state)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_saved_policy_is_in_force_when_the_command_has_ended(host: Guarded, tmp_path: Path) -> None:
    generation = saved(host, tmp_path, endpoint(), ONLY_OPEN)
    assert reaches(host, OTHER, 3), "nothing is enforced yet"
    done = restore_node(host, tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout == f"generation {generation} is in force on wire\n"
    assert reaches(host, OPEN, 3)
    assert not reaches(host, OTHER)
    again = restore_node(host, tmp_path)
    assert (again.returncode, again.stdout) == (0, done.stdout), "a second time changes nothing"


def test_without_a_saved_policy_it_does_nothing_and_succeeds(host: Guarded, tmp_path: Path) -> None:
    done = restore_node(host, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing is saved" in done.stdout
    assert not Pins(INSTANCE).root.exists()
    assert reaches(host, OTHER, 3)


def test_a_damaged_image_is_not_put_in_force_and_the_command_fails(host: Guarded, tmp_path: Path) -> None:
    saved(host, tmp_path, endpoint(), ONLY_OPEN)
    content = bytearray((tmp_path / BOOT).read_bytes())
    content[-10] ^= 0xFF
    (tmp_path / BOOT).write_bytes(content)
    done = restore_node(host, tmp_path)
    assert done.returncode != 0
    assert BOOT in done.stderr
    assert reaches(host, OTHER, 3)


def test_it_is_refused_while_an_agent_runs(host: Guarded, tmp_path: Path) -> None:
    saved(host, tmp_path, endpoint(), ONLY_OPEN)
    with StateDirectory(tmp_path) as state:
        state.claim()
        done = restore_node(host, tmp_path)
    assert done.returncode != 0
    assert "another agent runs" in done.stderr
