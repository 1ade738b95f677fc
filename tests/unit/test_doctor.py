"""`hepctl doctor`: each thing that a machine can lack is found, with what to do about it."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from pyagent.bpf.pins import Pins
from pyagent.inspection.doctor import examine
from pyagent.model.status import HostEndpointStatus


def found(check, tmp_path):
    return {each.check: each for each in examine(Pins("nobody", tmp_path / "pins"), tmp_path / "state")}[
        check
    ]


@pytest.mark.parametrize(
    ("check", "place", "lacking", "fix"),
    [
        ("kernel", "platform.release", lambda: "4.19.0-1-amd64", "5.10 or newer"),
        ("compiler", "find_spec", lambda _: None, "apt install python3-bpfcc"),
        ("bpffs", "is_bpffs", lambda _: False, "mount -t bpf"),
        ("disk", "os.access", lambda *_: False, "writable"),
        ("capabilities", "CAPABILITIES", {"NONESUCH": 62}, "run as root"),
    ],
)
def test_what_is_lacking_is_a_problem_with_its_fix(check, place, lacking, fix, monkeypatch, tmp_path):  # noqa: PLR0917
    assert found(check, tmp_path).result == "ok"
    monkeypatch.setattr(f"pyagent.inspection.doctor.{place}", lacking)
    told = found(check, tmp_path)
    assert told.result == "problem"
    assert fix in told.fix


def test_a_disk_that_is_nearly_full_is_a_warning(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10 << 20))
    told = found("disk", tmp_path)
    assert (told.result, "10 MiB free" in told.what) == ("warning", True)


def test_a_machine_without_firewall_says_so_once(tmp_path):
    told = [each for each in examine(Pins("nobody", tmp_path / "pins"), tmp_path) if each.check == "firewall"]
    assert [(each.result, each.fix) for each in told] == [("problem", "start the agent")]


def test_a_datastore_that_cannot_be_read_is_a_problem(hepctl):
    hepctl.store.write_text("a file where a directory should be")
    told = json.loads(hepctl("doctor", "-o", "json", "--instance", "nobody").stdout)
    assert next(each["result"] for each in told if each["check"] == "datastore") == "problem"


def test_agents_of_another_version_are_a_warning(hepctl):
    hepctl.prepare(
        "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {name: a}\n"
        "spec: {node: a, interfaceName: '*'}\n"
    )
    words = ("doctor", "-o", "json", "--instance", "nobody")
    (before,) = [each for each in json.loads(hepctl(*words).stdout) if each["check"] == "versions"]
    assert before["result"] == "ok"
    store = hepctl.datastore
    endpoint = store.get("HostEndpoint", "a")
    store.update_status(replace(endpoint, status=HostEndpointStatus(agent_version="0.0.1").wire()))
    (after,) = [each for each in json.loads(hepctl(*words).stdout) if each["check"] == "versions"]
    assert (after["result"], "0.0.1" in after["what"]) == ("warning", True)
