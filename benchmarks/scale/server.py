"""The API server's stand-in with thousands of nodes that beat, as a process of its own.

Heartbeats are made inside of it: what a node's kubelet would cost a server is not what is measured. It takes
lines of JSON on standard input and answers each with a line.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyagent.controller.predefined import predefined
from pyagent.manifest import encode
from tests.support.apiserver.server import ApiServer
from tests.support.apiserver.storage import Object, Storage

LABELS, IMAGES = 21, 50
_CONDITIONS = ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")


def node(number: int) -> Object:
    """A Node of the size that a real one has: 15 KB, 21 labels, 50 images of two names, 4 conditions."""
    name = f"node-{number:05d}"
    labels = {
        f"topology.example.org/label-{key:02d}": f"value-{number % (key + 2)}" for key in range(LABELS - 2)
    }
    images = [
        {
            "names": [
                f"registry.example.org/team-{at:02d}/service@sha256:{at:064x}",
                f"registry.example.org/team-{at:02d}/service-of-some-length:v1.{at}.{number % 7}",
            ],
            "sizeBytes": 10_000_000 + at,
        }
        for at in range(IMAGES)
    ]
    address = f"10.{100 + number // 65536}.{number // 256 % 256}.{number % 256}"
    return {
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "tier": "a", **labels},
            "annotations": {"node.alpha.kubernetes.io/ttl": "0", "notes.example.org/text": "n" * 2500},
        },
        "spec": {
            "podCIDR": f"10.{number // 256 % 256}.{number % 256}.0/24",
            "providerID": f"example://{name}",
        },
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "capacity": {"cpu": "64", "memory": "263856000Ki", "pods": "110"},
            "conditions": [
                _condition(kind) for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
            ],
            "nodeInfo": {
                "kernelVersion": "6.12.0",
                "osImage": "Debian",
                "kubeletVersion": "v1.36.0",
            },
            "images": images,
        },
    }


def _condition(kind: str) -> Object:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": kind,
        "status": "True" if kind == "Ready" else "False",
        "reason": "KubeletIsPosting",
        "message": "kubelet is posting its state as it does every time that it does so",
        "lastHeartbeatTime": now,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


class Beats(threading.Thread):
    """Heartbeats, ``rate`` a second over all nodes, until stopped."""

    def __init__(self, storage: Storage, rate: float) -> None:
        super().__init__(daemon=True)
        self.storage, self.rate = storage, rate
        self.ended = threading.Event()
        self.made = 0

    def run(self) -> None:
        kind = self.storage.kind("v1", "nodes")
        keys = list(self.storage.shelf(kind).objects)
        begun = time.monotonic()
        while not self.ended.wait(0.01):
            due = int((time.monotonic() - begun) * self.rate)
            while self.made < due and not self.ended.is_set():
                with self.storage.changed:
                    before = self.storage.shelf(kind).objects[keys[self.made % len(keys)]]
                    condition = _condition("Ready")
                    status = {
                        **before["status"],
                        "conditions": [*before["status"]["conditions"][:3], condition],
                    }
                    self.storage._store(kind, "MODIFIED", {**before, "status": status})
                self.made += 1


class Cluster:
    """The server and what may be asked of it; every public method is an order."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._beats: Beats | None = None

    def fill(self, nodes: int, policies: int) -> dict[str, Any]:
        """Make nodes, the configuration that makes endpoints of them, and policies on a label each."""
        storage = self._server.storage
        kind = storage.kind("v1", "nodes")
        for number in range(nodes):
            storage.create(kind, "", node(number))
        for resource in predefined():
            storage.create(storage.kind("projectcalico.org/v3", resource.PLURAL), "", encode(resource))
        settings = {"controllers": {"node": {"hostEndpoint": {"autoCreate": "Enabled"}}}}
        self._put("kubecontrollersconfigurations", "default", settings)
        for number in range(policies):
            self.policy(f"policy-{number:04d}", f"tier == 'a' && label-{number} != 'x'", 1000 + number)
        self.policy("of-b", "tier == 'b'", 7)
        first = next(iter(storage.shelf(kind).objects.values()))
        return {"bytes_a_node": len(json.dumps(first, separators=(",", ":")))}

    def policy(self, name: str, selector: str, port: int) -> None:
        """A policy that opens one port, anew."""
        rules = [{"action": "Allow", "protocol": "TCP", "destination": {"ports": [port]}}]
        self._put("globalnetworkpolicies", name, {"selector": selector, "order": 10, "ingress": rules})

    def label(self, name: str, tier: str) -> None:
        """Change one label of a node."""
        kind = self._server.storage.kind("v1", "nodes")
        self._server.storage.patch(kind, "", name, {"metadata": {"labels": {"tier": tier}}})

    def beat(self, rate: float) -> int:
        """Have the nodes beat, or (0) stop; the beats made so far."""
        made = 0
        if self._beats is not None:
            self._beats.ended.set()
            self._beats.join()
            made = self._beats.made
            self._beats = None
        if rate:
            self._beats = Beats(self._server.storage, rate)
            self._beats.start()
        return made

    def traffic(self) -> dict[str, Any]:
        """Bytes sent and requests so far."""
        requests: dict[str, int] = {}
        for asked in self._server.faults.requests.copy():
            what = f"{asked.verb} {asked.plural}"
            requests[what] = requests.get(what, 0) + 1
        sent = {" ".join(what): count for what, count in self._server.sent.items()}
        return {"requests": requests, "bytes": sent}

    def came(self, plural: str, last: int) -> list[float]:
        """When the last requests of a kind that read all anew came, in seconds of the monotonic clock."""
        asked = [each for each in self._server.faults.requests.copy() if each.plural == plural]
        return [each.at for each in asked if each.verb == "list" or "sendInitialEvents" in each.query][-last:]

    def count(self, plural: str) -> int:
        """Objects of a kind."""
        storage = self._server.storage
        kind = next(each for each in storage.kinds.values() if each.plural == plural)
        return len(storage.shelf(kind).objects)

    def compact(self) -> None:
        """Forget histories and break connections, as a restart does."""
        self._server.storage.compact()
        self._server.cut_connections()

    def _put(self, plural: str, name: str, spec: Object) -> None:
        storage = self._server.storage
        kind = storage.kind("projectcalico.org/v3", plural)
        if ("", name) in storage.shelf(kind).objects:
            storage.patch(kind, "", name, {"spec": spec})
        else:
            storage.create(kind, "", {"metadata": {"name": name}, "spec": spec})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    server = ApiServer(Storage(window=20_000))
    # In a namespace of its own; an agent never shuts this port.
    server.port = 6443
    server.start()
    server.kubeconfig(options.folder)
    cluster = Cluster(server)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(getattr(cluster, order.pop("do"))(**order)), flush=True)


if __name__ == "__main__":
    main()
