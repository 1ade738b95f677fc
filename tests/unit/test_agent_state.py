"""The agent's directory: whole files, lasting endpoint numbers, one agent."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pyagent import abi
from pyagent.agent.state import ENDPOINTS, STATUS, StateDirectory
from pyagent.errors import AutohepError


def test_an_endpoint_keeps_its_number_when_others_come_and_go(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    first = state.endpoint_numbers(["b", "c"])
    later = state.endpoint_numbers(["a", "c"])
    assert later["c"] == first["c"]
    assert later["a"] != later["c"]


def test_numbers_survive_a_restart(tmp_path: Path) -> None:
    before = StateDirectory(tmp_path).endpoint_numbers(["x", "y", "z"])
    again = StateDirectory(tmp_path).endpoint_numbers(["z"])
    assert again["z"] == before["z"]


def test_more_endpoints_than_numbers_share_the_last_one_and_only_that(tmp_path: Path) -> None:
    names = [f"endpoint-{number:03}" for number in range(abi.ENDPOINTS_MAX + 5)]
    numbers = StateDirectory(tmp_path).endpoint_numbers(names)
    shared = [name for name, number in numbers.items() if number == abi.ENDPOINTS_MAX - 1]
    assert len(shared) == 6
    assert len({number for name, number in numbers.items() if name not in shared}) == abi.ENDPOINTS_MAX - 1


def test_a_damaged_file_of_numbers_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / ENDPOINTS).write_text("[1, 2")
    assert StateDirectory(tmp_path).endpoint_numbers(["a"]) == {"a": 0}


def test_the_status_is_replaced_whole_and_leaves_no_other_file(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.write_status({"ready": False})
    state.write_status({"ready": True})
    assert json.loads((tmp_path / STATUS).read_text()) == {"ready": True}
    assert {path.name for path in tmp_path.iterdir()} == {STATUS}


HOLDER = """
import sys
from pathlib import Path
from pyagent.agent.state import StateDirectory
with StateDirectory(Path(sys.argv[1])) as state:
    state.claim()
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_agent_of_the_same_directory_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            StateDirectory(tmp_path) as second,
            pytest.raises(AutohepError, match="another agent runs"),
        ):
            second.claim()
    with StateDirectory(tmp_path) as after:
        after.claim()


def test_what_a_killed_agent_had_half_written_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".image.bin.k3_9x0ab").write_bytes(b"half")
    (tmp_path / "kept.json").write_text("{}")
    with StateDirectory(tmp_path) as state:
        state.claim()
        assert {path.name for path in tmp_path.iterdir()} == {".lock", "kept.json"}


def test_a_status_that_could_not_be_written_is_told(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "gone")
    assert state.write_status({"ready": True})
    shutil.rmtree(tmp_path / "gone")
    assert not state.write_status({"ready": False})
