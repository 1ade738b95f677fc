"""A site: one node with a real agent and a pod, and a peer outside, as network namespaces joined by veths.

The peer has two addresses, so that rules can tell sources apart. What a test wants enforced it hands over as
documents; the site waits until the agent has put exactly that in force.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyagent import abi, manifest
from pyagent.abi import Direction, Reason
from pyagent.agent.mirror import KINDS, digest
from pyagent.bpf import layout
from pyagent.bpf.maps import Map
from pyagent.bpf.pins import Pins
from pyagent.datastore import open_datastore
from pyagent.model import Resource
from tests.lab.lab import HEPCTL, PINS
from tests.lab.namespace import enter
from tests.lab.processes import Processes
from tests.netns.wires import RAW, Attempt, Services

NODE: Final = "node1"
#: Of each place, by family; the peer's second address and the pod's node are places of their own.
ADDRESSES: Final = {
    "node": {4: "192.0.2.1", 6: "2001:db8::1"},
    "peer": {4: "192.0.2.2", 6: "2001:db8::2"},
    "peer2": {4: "192.0.2.3", 6: "2001:db8::3"},
    "pod": {4: "10.65.0.2", 6: "fd65::2"},
    "loopback": {4: "127.0.0.1", 6: "::1"},
}
TCP: Final = (22, 2379, 8055, 8056, 8057, 6443)
UDP: Final = 5000
#: Seconds: how long an attempt that is to be denied is waited for, and one that is to be answered at most.
DENIED_AFTER, ANSWERED_WITHIN = 0.35, 8.0
#: Seconds that the agent may take on a machine that is busy with other things.
PATIENCE: Final = 600.0 if os.environ.get("AUTOHEP_VM") else 60.0  # emulated, the compiler takes minutes

_SYSCTLS: Final = (
    "net.ipv6.conf.all.accept_dad=0",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv4.ping_group_range=0 2147483647",
)


class SiteError(Exception):
    """Something on the site did not happen; carries the end of the agent's log."""


@dataclass(frozen=True)
class Probe:
    """From one place to another (or to a literal address), in each of ``families``.

    ``far`` is the peer by whatever address the kernel chooses.
    """

    source: str
    target: str
    port: int = 0
    protocol: str | int = "tcp"
    families: tuple[int, ...] = (4, 6)
    size: int = 16
    source_port: int = 0


def run(*command: str, stdin: str = "") -> str:
    """A command that must succeed; its output."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SiteError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class Site:
    """Use it as made by :func:`site`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.directory = Path("/run/autohep-lab") / name
        self.processes = Processes(self.directory / "run")
        self.datastore = open_datastore(f"dir://{self.directory}/datastore")
        self.pins = Pins(name)
        self.services: Services | None = None

    # ---- up and down

    def namespace(self, place: str) -> str:
        """The namespace of a place, as ``ip netns`` knows it."""
        return f"{self.name}-{ {'peer2': 'peer', 'far': 'peer', 'loopback': 'node'}.get(place, place) }"

    def path(self, place: str) -> Path:
        """The namespace of a place, as a file."""
        return Path("/run/netns") / self.namespace(place)

    def up(self, *agent_options: str) -> None:
        """Make everything and start the agent; it has nothing to enforce yet."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for place in ("node", "peer", "pod"):
            run("ip", "netns", "add", self.namespace(place))
            self.inside(place, "sysctl", "-q", *_SYSCTLS)
            self.inside(place, "ip", "link", "set", "lo", "up")
        self._join()
        self._serve()
        self.start_agent(*agent_options)

    def down(self) -> None:
        """Remove everything that is there."""
        self.processes.stop_all()
        if self.services is not None:
            self.services.close()
        for place in ("node", "peer", "pod"):
            if self.path(place).exists():
                run("ip", "netns", "delete", self.namespace(place))
        shutil.rmtree(PINS / self.name, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _join(self) -> None:
        peer, pod = self.namespace("peer"), self.namespace("pod")
        address = ADDRESSES
        self.batch(
            "node",
            f"link add eth0 type veth peer name eth0 netns {peer}",
            f"link add cali0 type veth peer name eth0 netns {pod}",
            f"address add {address['node'][4]}/24 broadcast + dev eth0",
            f"address add {address['node'][6]}/64 dev eth0 nodad",
            "address add 10.65.0.1/32 dev cali0",
            "address add fe80::65/64 dev cali0 nodad",
            "link set eth0 up",
            "link set cali0 up",
            f"route add {address['pod'][4]}/32 dev cali0",
            f"route add {address['pod'][6]}/128 dev cali0",
        )
        self.batch(
            "peer",
            "link set eth0 up",
            f"address add {address['peer'][4]}/24 broadcast + dev eth0",
            f"address add {address['peer2'][4]}/24 dev eth0",
            f"address add {address['peer'][6]}/64 dev eth0 nodad",
            f"address add {address['peer2'][6]}/64 dev eth0 nodad preferred_lft 0",
            f"route add {address['pod'][4]}/32 via {address['node'][4]}",
            f"route add {address['pod'][6]}/128 via {address['node'][6]}",
        )
        self.batch(
            "pod",
            "link set eth0 up",
            f"address add {address['pod'][4]}/32 dev eth0",
            f"address add {address['pod'][6]}/128 dev eth0 nodad",
            "route add 10.65.0.1 dev eth0 scope link",
            "route add default via 10.65.0.1",
            "route add default via fe80::65 dev eth0",
        )
        self.inside("node", "sysctl", "-q", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")

    def _serve(self) -> None:
        self.services = Services()
        for place in ("node", "peer", "pod"):
            for port in TCP:
                self.services.tcp(self.path(place), port)
            for address in ADDRESSES[place].values():
                self.services.udp(self.path(place), address, UDP)
                for protocol in RAW:
                    self.services.raw(self.path(place), address, protocol)

    def start_agent(self, *options: str) -> None:
        """Start the node's agent and wait until it says that it is ready."""
        command = [str(HEPCTL), "agent", "--node", NODE, "--datastore", f"dir://{self.directory}/datastore"]
        command += ["--instance", self.name, "--state-dir", str(self.directory / "state"), *options]
        self.processes.start("agent", ["nsenter", f"--net={self.path('node')}", "--", *command])
        self.wait(lambda status: status.get("pid") == self.processes.pid("agent") and status["ready"])

    # ---- commands

    def inside(self, place: str, *command: str, stdin: str = "") -> str:
        """Run a command in a place's namespace (not by ``ip netns exec``, which hides /sys/fs/bpf)."""
        return run("nsenter", f"--net={self.path(place)}", "--", *command, stdin=stdin)

    def batch(self, place: str, *lines: str) -> None:
        """Several ``ip`` commands at once."""
        run("ip", "-netns", self.namespace(place), "-batch", "-", stdin="\n".join(lines) + "\n")

    @contextmanager
    def entered(self, place: str) -> Iterator[None]:
        """The calling thread is in the place's namespace meanwhile."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        enter(self.path(place))
        try:
            yield
        finally:
            enter(Path(f"/proc/self/fd/{before}"))
            os.close(before)

    # ---- policy

    def status(self) -> dict[str, Any]:
        """What the agent last said of itself."""
        try:
            status: dict[str, Any] = json.loads((self.directory / "state" / "status.json").read_text())
        except FileNotFoundError:
            return {}
        return status

    def wait(self, condition: Callable[[dict[str, Any]], bool], patience: float = PATIENCE) -> dict[str, Any]:
        """Until the agent's status meets the condition; returns the status."""
        deadline = time.monotonic() + patience
        while not (status := self.status()) or not condition(status):
            if time.monotonic() > deadline or self.processes.pid("agent") is None:
                raise SiteError(f"{status}\n{self.processes.log('agent')}")
            time.sleep(0.01)
        return status

    def enforce(self, *documents: dict[str, Any]) -> dict[str, Any]:
        """Have these resources and no others, in force, with no flow known; returns the agent's status."""
        wanted = {(one.kind, one.name): one for one in map(manifest.decode, documents)}
        for kind in KINDS:
            for stored in self.datastore.list(kind)[0]:
                if (kind, stored.name) not in wanted:
                    self.datastore.delete(kind, stored.name, stored.metadata.namespace)
                elif not _same(stored, wanted[kind, stored.name]):
                    self.datastore.update(wanted.pop((kind, stored.name)))
                else:
                    del wanted[kind, stored.name]
        for resource in wanted.values():
            self.datastore.create(resource)
        observed = digest(resource for kind in KINDS for resource in self.datastore.list(kind)[0])
        status = self.wait(lambda status: status["observed"] == observed and status["ready"])
        self.forget_flows()
        return status

    def map(self, name: str) -> Map:
        """One of the agent's maps, to be closed."""
        specs = {spec.name: spec for spec in layout.map_specs()}
        return Map.open(self.pins.map(name), specs[name])

    def forget_flows(self) -> None:
        """No flow and no fragment is known."""
        for name in ("flows4", "flows6", "fragments"):
            with self.map(name) as opened:
                opened.clear()

    def counted(self, interface: str, direction: Direction, reason: Reason) -> int:
        """Packets that an interface has counted under a reason."""
        index = self.ifindex("node", interface)
        with self.map("counters") as counters:
            cells = counters.sum_per_cpu(index.to_bytes(4, sys.byteorder))
        assert cells is not None
        return int(cells[int(direction) * abi.REASON_MAX + int(reason)])

    def ifindex(self, place: str, interface: str) -> int:
        """Index of an interface in its namespace."""
        return int(self.inside(place, "ip", "-o", "link", "show", interface).split(":", 1)[0])

    # ---- packets

    def expect(self, *, allowed: Iterable[Probe] = (), denied: Iterable[Probe] = ()) -> None:
        """All these probes at the same time, in each of their families; AssertionError names what differs."""
        wanted = [(probe, family, True) for probe in allowed for family in probe.families]
        wanted += [(probe, family, False) for probe in denied for family in probe.families]
        found: dict[int, bool] = {}

        def attempt(number: int, probe: Probe, family: int, answer: bool) -> None:
            patience = ANSWERED_WITHIN if answer else DENIED_AFTER
            found[number] = self.attempt(probe, family).answered(patience)

        threads = [threading.Thread(target=attempt, args=(number, *one)) for number, one in enumerate(wanted)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wrong = [
            f"{probe} over IPv{family}: {'no answer' if answer else 'answered'}"
            for number, (probe, family, answer) in enumerate(wanted)
            if found[number] != answer
        ]
        assert not wrong, "\n" + "\n".join(wrong)

    def attempt(self, probe: Probe, family: int) -> Attempt:
        """A probe in one family."""
        source = ADDRESSES[probe.source][family] if probe.source.startswith("peer") else ""
        target = ADDRESSES[probe.target][family] if probe.target in ADDRESSES else probe.target
        return Attempt(
            self.path(probe.source), target, probe.port, probe.protocol, source, probe.size, probe.source_port
        )


def _same(stored: Resource, wanted: Resource) -> bool:
    old, new = manifest.encode(stored), manifest.encode(wanted)
    return bool(
        old.get("spec") == new.get("spec") and old["metadata"].get("labels") == new["metadata"].get("labels")
    )


@contextmanager
def site(name: str, *agent_options: str) -> Iterator[Site]:
    """A site that is up; its agent's log is shown if something raises, and nothing is left behind."""
    made = Site(f"{name}{os.getpid()}")
    try:
        made.up(*agent_options)
        yield made
    finally:
        made.down()


# ---- documents


def document(
    kind: str, name: str, spec: dict[str, Any], labels: dict[str, str] | None = None
) -> dict[str, Any]:
    """A resource as a manifest has it."""
    metadata: dict[str, Any] = {"name": name, **({"labels": labels} if labels else {})}
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}


def endpoint(interface: str = "*", name: str = "", **spec: Any) -> dict[str, Any]:
    """A host endpoint of the node, labelled ``host: node1``."""
    own = {"node": NODE, **({"interfaceName": interface} if interface else {}), **spec}
    return document("HostEndpoint", name or f"hep-{interface.replace('*', 'all')}", own, {"host": NODE})


def policy(name: str, kind: str = "GlobalNetworkPolicy", **spec: Any) -> dict[str, Any]:
    """A policy on every host endpoint unless a selector is given."""
    return document(kind, name, {"selector": "has(host)", **spec})


def rule(action: str, sender: str = "", receiver: str = "", **fields: Any) -> dict[str, Any]:
    """A rule; ``sender`` and ``receiver`` name places whose :func:`place_set` the site has."""
    made: dict[str, Any] = {"action": action, **fields}
    for side, place in (("source", sender), ("destination", receiver)):
        if place:
            made[side] = {"selector": f"place == '{place}'", **made.get(side, {})}
    return made


def to_port(port: int | str, protocol: str = "TCP") -> dict[str, Any]:
    """What a rule says of a destination port."""
    return {"protocol": protocol, "destination": {"ports": [port]}}


def place_set(place: str) -> dict[str, Any]:
    """The addresses of a place, both families, for rules to select."""
    return document("GlobalNetworkSet", place, {"nets": list(ADDRESSES[place].values())}, {"place": place})
