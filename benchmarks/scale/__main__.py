"""A cluster of thousands of nodes, simulated: what controller, agent and API server pay.

Runs itself in a network namespace of its own (root). ``--nodes``, ``--seconds`` (of each window), ``--json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.scale.processes import PROJECT, Measured, Server, wait_until
from pyagent.datastore import open_datastore
from pyagent.datastore.kubernetes import KubernetesDatastore

HEPCTL = str(PROJECT / ".venv/bin/hepctl")
INSIDE = "AUTOHEP_SCALE_INSIDE"
OWN = "node-00000"


class Bench:
    """The processes, and what is measured of them."""

    def __init__(self, folder: Path, nodes: int, seconds: float) -> None:
        self.folder, self.nodes, self.seconds = folder, nodes, seconds
        self.instance = f"scale{os.getpid()}"
        self.url = f"kubernetes:///?kubeconfig={folder}/kubeconfig"
        self.server = Server(folder)
        self.controller: Measured
        self.agent: Measured
        self.found: dict[str, Any] = {"nodes": nodes, "window_s": seconds}

    def run(self) -> dict[str, Any]:
        """Everything in turn."""
        self.found |= self.server.order("fill", nodes=self.nodes, policies=50)
        self.start_controller()
        self.start_agent()
        for name, rate in (("per_300s", self.nodes / 300), ("per_10s", self.nodes / 10)):
            self.found[f"heartbeats_{name}"] = self.window(rate)
        self.found["idle"] = self.window(0)
        self.found["latency"] = self.latency()
        self.found["status_writes"] = self.status_writes()
        self.found["policies_500"] = self.more_policies()
        self.found["storm"] = self.storm()
        return self.found

    def smoke(self) -> dict[str, Any]:
        """Enough to see that all of it works."""
        self.found |= self.server.order("fill", nodes=self.nodes, policies=5)
        self.start_controller()
        self.start_agent()
        self.found["heartbeats"] = self.window(self.nodes / 10)
        self.found["latency"] = self.latency(3)
        return self.found

    def end(self) -> None:
        """Stop everything and take the agent's traces away."""
        for name in ("agent", "controller", "server"):
            if (process := getattr(self, name, None)) is not None:
                process.end()
        state = str(self.folder / "state")
        subprocess.run(
            [HEPCTL, "uninstall-node", "--instance", self.instance, "--state-dir", state], check=False
        )

    def start_controller(self) -> None:
        begun = time.monotonic()
        command = [HEPCTL, "controller", "--metrics-address", "off", "--datastore", self.url]
        self.controller = Measured(command, self.folder / "controller.log", stdout=subprocess.DEVNULL)
        wait_until(lambda: self.server.order("count", plural="hostendpoints") >= self.nodes, 900)
        took = time.monotonic() - begun
        self.found["controller_start"] = {
            "seconds_until_all_endpoints": round(took, 1),
            "endpoints_a_second": round(self.nodes / took, 1),
            "cpu_s": self.controller.cpu,
            "rss_mb": self.controller.memory(),
            "server_cpu_s": self.server.cpu,
        }

    def start_agent(self) -> None:
        before = self.server.order("traffic")
        command = [HEPCTL, "agent", "--node", OWN, "--instance", self.instance, "--metrics-address", "off"]
        command += ["--datastore", self.url, "--state-dir", str(self.folder / "state")]
        self.agent = Measured(command, self.folder / "agent.log", stdout=subprocess.DEVNULL)
        took = wait_until(lambda: self.status().get("ready"), 120)
        self.found["agent_start"] = {
            "seconds_until_enforced": round(took, 2),
            "cpu_s": self.agent.cpu,
            "rss_mb": self.agent.memory(),
            "traffic": difference(before, self.server.order("traffic")),
        }

    def status(self) -> dict[str, Any]:
        """What the agent says of itself."""
        try:
            found: dict[str, Any] = json.loads((self.folder / "state" / "status.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    def window(self, rate: float) -> dict[str, Any]:
        """What everybody pays while nodes beat."""
        traffic = self.server.order("traffic")
        self.server.order("beat", rate=rate)
        with self.costs() as costs:
            time.sleep(self.seconds)
        made = self.server.order("beat", rate=0)
        costs["beats"] = made
        costs["beats_a_second"] = round(made / costs["seconds"], 1)
        if made:
            costs["controller_ms_a_beat"] = round(costs["controller_cpu_s"] / made * 1e3, 3)
        costs["traffic"] = difference(traffic, self.server.order("traffic"))
        return costs

    @contextmanager
    def costs(self) -> Iterator[dict[str, Any]]:
        """CPU seconds of all three, and what they hold at the end."""
        found: dict[str, Any] = {}
        names = ("controller", "agent", "server")
        before, begun = {name: getattr(self, name).cpu for name in names}, time.monotonic()
        yield found
        found["seconds"] = round(time.monotonic() - begun, 2)
        for name in names:
            found[f"{name}_cpu_s"] = round(getattr(self, name).cpu - before[name], 2)
            found[f"{name}_percent"] = round(100 * found[f"{name}_cpu_s"] / found["seconds"], 1)
            found[f"{name}_rss_mb"] = getattr(self, name).memory()

    def latency(self, times: int = 60) -> dict[str, Any]:
        """From the change of a node's label to the policy of that label being in force on it."""
        taken = []
        with self.costs() as costs:
            for turn in range(times):
                generation = self.status()["generation"]
                begun = time.monotonic()
                self.server.order("label", name=OWN, tier="b" if turn % 2 == 0 else "a")
                wait_until(lambda before=generation: self.status()["generation"] != before, 60)
                taken.append(time.monotonic() - begun)
                time.sleep(0.2)
        return {**quantiles(taken), "changes": times, **costs}

    def status_writes(self) -> dict[str, Any]:
        """As many statuses as agents would write after a change of a policy, as fast as one writer can."""
        datastore = open_datastore(self.url)
        assert isinstance(datastore, KubernetesDatastore)
        count = min(self.nodes, 1000)
        traffic = self.server.order("traffic")
        with self.costs() as costs:
            begun = time.monotonic()
            for number in range(1, count + 1):
                name = f"node-{number % self.nodes:05d}-auto-hep"
                datastore.reports.write_status(
                    "HostEndpoint", name, "", {"observed": f"{time.time():.3f}", "agentVersion": "0"}
                )
            took = time.monotonic() - begun
            time.sleep(3)
        datastore.close()
        costs["writes"] = count
        costs["writes_a_second"] = round(count / took, 1)
        for who in ("controller", "agent"):
            costs[f"{who}_ms_a_write"] = round(costs[f"{who}_cpu_s"] / count * 1e3, 3)
        costs["traffic"] = difference(traffic, self.server.order("traffic"))
        return costs

    def more_policies(self) -> dict[str, Any]:
        """Ten times the policies, one after the other, and then the latency of one change."""
        with self.costs() as costs:
            for number in range(50, 500):
                self.server.order(
                    "policy",
                    name=f"policy-{number:04d}",
                    selector=_tenth(number),
                    port=1000 + number,
                )
            time.sleep(3)
        return {**costs, "after": self.latency(20)}

    def storm(self, processes: int = 5, each: int = 100) -> dict[str, Any]:
        """Hundreds of watchers, and a server that has forgotten what they saw last."""
        command = [sys.executable, "-m", "benchmarks.scale.reflectors", str(self.folder / "kubeconfig")]
        command += ["GlobalNetworkPolicy", str(each)]
        log = self.folder / "reflectors.log"
        crowd = [
            Measured(command, log, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(processes)
        ]
        try:
            for one in crowd:
                assert one.child.stdout is not None
                one.child.stdout.readline()
            watchers = processes * each
            begun = time.monotonic()
            self.server.order("compact")
            time.sleep(15)
            came = [
                at - begun for at in self.server.order("came", plural="globalnetworkpolicies", last=watchers)
            ]
        finally:
            for one in crowd:
                one.child.kill()
                one.child.communicate()
        most = max(sum(at <= other < at + 0.1 for other in came) for at in came)
        return {
            "watchers": watchers,
            **quantiles(came),
            "most_within_100_ms": most,
            "last_s": round(max(came), 2),
        }


def _tenth(number: int) -> str:
    return f"tier == 'a' && label-{number} != 'x'"


def quantiles(taken: list[float]) -> dict[str, float]:
    """Median, 99th percentile (of few: the largest) and maximum, in seconds."""
    ordered = sorted(taken)
    at = min(len(ordered) - 1, round(0.99 * (len(ordered) - 1)))
    return {
        "p50_s": round(statistics.median(ordered), 3),
        "p99_s": round(ordered[at], 3),
        "max_s": round(ordered[-1], 3),
    }


def difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What was asked and sent meanwhile."""
    return {
        what: {
            name: count - before[what].get(name, 0)
            for name, count in after[what].items()
            if count != before[what].get(name, 0)
        }
        for what in after
    }


def machine() -> dict[str, Any]:
    """Where this ran."""
    return {
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--smoke", action="store_true", help="only what shows that it works")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if INSIDE not in os.environ:
        command = ["unshare", "--net", sys.executable, "-m", "benchmarks.scale", *sys.argv[1:]]
        sys.exit(
            subprocess.run(command, cwd=PROJECT, env={**os.environ, INSIDE: "1"}, check=False).returncode
        )
    for line in ("link set lo up", "link add eth0 type veth peer name eth1", "link set eth0 up"):
        subprocess.run(["ip", *line.split()], check=True)
    found = {"machine": machine()}
    with tempfile.TemporaryDirectory(prefix="autohep-scale-") as folder:
        bench = Bench(Path(folder), options.nodes, options.seconds)
        try:
            found |= bench.smoke() if options.smoke else bench.run()
        finally:
            bench.end()
    text = json.dumps(found, indent=1)
    if options.json is not None:
        options.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
