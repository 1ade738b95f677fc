"""`hepctl node status` beside a real agent: what it says is so, and its exit code tells good from bad."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pyagent.attach.uninstall import uninstall
from pyagent.bpf.pins import Pins
from pyagent.cli.main import cli
from pyagent.datastore import open_datastore
from tests.lab.lab import HEPCTL
from tests.netns.guarded import endpoint, policy
from tests.netns.two_hosts import two_hosts

INSTANCE = f"standing{os.getpid()}"
PATIENCE = 60.0


@contextmanager
def agent(namespace: str, datastore: Path, state: Path) -> Iterator[subprocess.Popen[str]]:
    """A real agent in the namespace; what it attached stays when it ends."""
    words = ("agent", "--datastore", str(datastore), "--node", "guarded", "--instance", INSTANCE)
    enter = ("nsenter", f"--net=/run/netns/{namespace}", str(HEPCTL))
    process = subprocess.Popen([*enter, *words, "--state-dir", str(state)], stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        print(process.communicate(timeout=10)[1])


def node_status(state: Path, *words: str) -> Result:
    where = ("--instance", INSTANCE, "--state-dir", str(state))
    return CliRunner().invoke(cli, ("node", "status", *where, *words), prog_name="hepctl")


def results(datastore: Path, state: Path) -> dict[str, set[str]]:
    """Names of the doctor's checks by result; its exit code tells whether there was a problem."""
    where = ("--instance", INSTANCE, "--state-dir", str(state), "--datastore", str(datastore))
    done = CliRunner().invoke(cli, ("doctor", *where, "-o", "json"), prog_name="hepctl")
    found = json.loads(done.stdout)
    by_result: dict[str, set[str]] = {"ok": set(), "warning": set(), "problem": set()}
    for each in found:
        by_result[each["result"]].add(each["check"])
        assert (each["result"] == "ok") == (each["fix"] == ""), each
    assert done.exit_code == bool(by_result["problem"])
    return by_result


def wait(state: Path, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while True:
        result = node_status(state, "-o", "json")
        found: dict[str, Any] = json.loads(result.stdout) if result.stdout else {}
        if found and condition(found):
            return found
        assert time.monotonic() < deadline, result.output
        time.sleep(0.1)


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    with two_hosts() as hosts:
        try:
            yield hosts.node
        finally:
            uninstall(Pins(INSTANCE))


def test_a_protected_node_says_so_and_what_is_wrong_with_one_that_is_not(
    namespace: str, tmp_path: Path
) -> None:
    datastore, state = tmp_path / "datastore", tmp_path / "state"
    store = open_datastore(str(datastore))
    store.create(endpoint())
    store.create(policy(ingress=[{"action": "Allow", "protocol": "TCP"}]))
    with agent(namespace, datastore, state) as process:
        found = wait(state, lambda found: not found["problems"])
        assert (found["running"], found["pid"], found["protected"]) == (True, process.pid, True)
        assert found["generation"] == found["generationInKernel"] > 0
        result = node_status(state)
        assert result.exit_code == 0
        assert "node guarded" in result.stdout
        assert ": protected" in result.stdout
        assert ["wire", "ingress"] in [line.split()[:2] for line in result.stdout.splitlines()]
        assert results(datastore, state)["problem"] == set()
        assert results(datastore, state)["ok"] >= {"agent", "image", "maps", "failsafe ports", "datastore"}
        opened = CliRunner().invoke(cli, ("rescue", "open", "--for", "5m", "--instance", INSTANCE))
        assert opened.exit_code == 0, opened.output
        assert "rescue is open" in node_status(state).stdout
        assert "NOT protected" in node_status(state).stdout
        assert node_status(state).exit_code == 1
        assert results(datastore, state)["problem"] == {"agent"}
        CliRunner().invoke(cli, ("rescue", "close", "--instance", INSTANCE))
        assert node_status(state).exit_code == 0
    left = wait(state, lambda found: not found["running"])
    assert left["generationInKernel"] == found["generation"], "what is in force stays in force"
    assert node_status(state).exit_code == 1
    assert "no agent runs" in node_status(state).stdout
    assert "datastore: nobody asks it" in node_status(state).stdout


def test_without_a_firewall_there_is_one_message(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ("node", "status", "--instance", "nobody", "--state-dir", str(tmp_path)))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no firewall of instance nobody is loaded here" in result.stderr
