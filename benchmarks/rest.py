"""What an agent costs that has nothing to do: memory, CPU, and the time from its start to enforcement."""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.latency import NODE, agent, others, resource
from pyagent.datastore import open_datastore
from tests.netns.two_hosts import two_hosts

PATIENCE_S = 120.0
_TICK = os.sysconf("SC_CLK_TCK")


def measure(nodes: int, policies: int, settle: float, seconds: float) -> dict[str, Any]:
    """Start one agent among so many nodes and policies; once it enforces, let it settle and watch it."""
    with tempfile.TemporaryDirectory() as folder, two_hosts() as hosts:
        _fill(f"{folder}/datastore", nodes, policies)
        state = Path(folder) / "state"
        begun = time.monotonic()
        with agent(hosts.node, Path(folder) / "datastore", state) as process:
            started = _ready(state) - begun
            time.sleep(settle)
            before, cpu, switches = time.monotonic(), _cpu(process.pid), _switches(process.pid)
            time.sleep(seconds)
            elapsed = time.monotonic() - before
            return {
                "nodes": nodes,
                "policies": policies,
                "start_to_enforced_s": round(started, 2),
                "rss_mib": round(_rss(process.pid), 1),
                "cpu_percent": round(100 * (_cpu(process.pid) - cpu) / elapsed, 2),
                "wake_ups_per_s": round((_switches(process.pid) - switches) / elapsed, 1),
            }


def _fill(place: str, nodes: int, policies: int) -> None:
    store, dice = open_datastore(place), random.Random(1)
    for number in range(nodes):
        labels = {key: str(dice.randrange(size)) for key, size in (("zone", 3), ("role", 5), ("rack", 40))}
        spec = {"node": NODE if not number else f"n{number}", "interfaceName": "*"}
        spec["expectedIPs"] = [f"10.{number >> 8 & 255}.{number & 255}.10"]
        store.create(resource("HostEndpoint", f"h{number}", labels, **spec))
    for each in others(policies):
        store.create(each)


def _ready(state: Path) -> float:
    deadline = time.monotonic() + PATIENCE_S
    while (now := time.monotonic()) < deadline:
        try:
            if json.loads((state / "status.json").read_bytes())["protected"]:
                return now
        except FileNotFoundError:
            pass
        time.sleep(0.02)
    raise AssertionError("the agent never enforced anything")


def _cpu(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _rss(process: int) -> float:
    return _status(process, "VmRSS") / 1024


def _switches(process: int) -> int:
    """Times that any of its threads went to sleep, which it does as often as it wakes up."""
    threads = Path(f"/proc/{process}/task").iterdir()
    return sum(_status(f"{process}/task/{each.name}", "voluntary_ctxt_switches") for each in threads)


def _status(place: int | str, field: str) -> int:
    lines = Path(f"/proc/{place}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
