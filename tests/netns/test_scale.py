"""The simulation of a large cluster works, so that its figures can be had at any time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_a_hundred_nodes_beat_and_a_label_comes_into_force(tmp_path: Path) -> None:
    report = tmp_path / "scale.json"
    command = [sys.executable, "-m", "benchmarks.scale", "--smoke", "--nodes", "100", "--seconds", "2"]
    done = subprocess.run(
        [*command, "--json", str(report)], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())
    assert found["latency"]["changes"] == 3
    assert found["heartbeats"]["beats"] > 10
    bytes_sent, requests = (found["heartbeats"]["traffic"][what] for what in ("bytes", "requests"))
    assert bytes_sent["watch nodes"] > 10 * 10_000, "the controller hears every heartbeat"
    assert requests.get("update hostendpoints", 0) <= 1, "no more than the status of the start"
    assert "create hostendpoints" not in requests
