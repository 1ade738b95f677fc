"""A host whose old and new policy differ in all that a half-done apply could mix; and the judge."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from pyagent import manifest
from pyagent.abi import Direction
from pyagent.agent.enforce import Enforced, Enforcer
from pyagent.agent.state import StateDirectory
from pyagent.attach.clsact import Clsact
from pyagent.attach.tcx import ATTACH_TYPE
from pyagent.attach.uninstall import uninstall
from pyagent.bpf import loader, objects, syscall, testrun
from pyagent.bpf.pins import Pins, ensure_bpffs
from pyagent.calc import World
from pyagent.compiler import saved
from pyagent.dataplane import Dataplane
from pyagent.model import Resource
from pyagent.model.packet import Packet
from tests.netns.two_hosts import NODE_ADDRESS, PEER_ADDRESS, ifindex_of, run, two_hosts
from tests.support.frames import frame

FLOWS_MAX: Final = 1024
#: ``one`` and ``two`` change endpoints; only the new policy covers ``three``, only the old one ``four``.
INTERFACES: Final = ("one", "two", "three", "four")
PORTS: Final = range(1001, 1009)
FAILSAFES: Final = (2001, 2002, 2003, 2004)
_SYN: Final = 2
_SHOT: Final = 2
#: The host's address of version 6.
NODE_ADDRESS6: Final = "2001:db8:1::1"


def made_resource(kind: str, name: str, spec: dict[str, Any], role: str = "") -> Resource:
    """A resource with a label that names it, and one for its role."""
    metadata: dict[str, Any] = {"name": name, "labels": {"of": name, "role": role}}
    return manifest.decode(
        {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}
    )


def _world(places: dict[str, str], ports: dict[str, int], failsafes: tuple[int, int]) -> World:
    """Endpoints at interfaces, what each allows, and two failsafes: for everybody, and for one network."""
    everybody, some = failsafes
    opened: list[dict[str, Any]] = [
        {"protocol": "TCP", "port": everybody},
        {"protocol": "TCP", "port": some, "net": "192.0.2.0/24"},
    ]
    made = [made_resource("FelixConfiguration", "default", {"failsafeInboundHostPorts": opened})]
    for name, interface in places.items():
        rule = {"action": "Allow", "protocol": "TCP", "destination": {"ports": [ports[name]]}}
        made.append(made_resource("HostEndpoint", name, {"node": "swept", "interfaceName": interface}))
        made.append(
            made_resource("GlobalNetworkPolicy", name, {"selector": f"of == '{name}'", "ingress": [rule]})
        )
    return World.from_resources(made)


OLD: Final = _world({"a": "one", "b": "two", "d": "four"}, {"a": 1001, "b": 1002, "d": 1003}, (2001, 2002))
NEW: Final = _world({"b": "one", "a": "two", "c": "three"}, {"a": 1005, "b": 1006, "c": 1007}, (2003, 2004))
#: What was before the old: whatever the apply to the new writes, this left something else in its place.
BEFORE: Final = _world({"p": "four"}, {"p": 1008}, (2001, 2002))
#: Which of PORTS each interface lets in; an interface without endpoint lets all in.
PASSING: Final = {
    "old": {"one": {1001}, "two": {1002}, "three": set(PORTS), "four": {1003}},
    "new": {"one": {1006}, "two": {1005}, "three": {1007}, "four": set(PORTS)},
}
OPEN: Final = {"old": {2001, 2002}, "new": {2003, 2004}}
COVERED: Final = {"old": {"one", "two", "four"}, "new": {"one", "two", "three"}}


@dataclass
class Scene:
    """The host; this thread is in its namespace."""

    pins: Pins
    directory: Path
    indices: dict[str, int]
    programs: list[dict[str, int]]

    @contextmanager
    def agent(self) -> Iterator[Enforcer]:
        """An agent that has just started: it knows what the kernel and the disk hold."""
        with StateDirectory(self.directory) as state, Dataplane(self.pins, FLOWS_MAX) as dataplane:
            state.claim()
            yield Enforcer("swept", self.pins, dataplane, state)

    def enforce(self, world: World) -> Enforced:
        """One pass of such an agent."""
        with self.agent() as enforcer:
            return enforcer.enforce(world)

    def load(self) -> None:
        """Load two of the programs anew, as a start does with all, beside the maps that are there."""
        loader.load(self.pins, ("tc_ingress", "tc_egress"), flows_max=FLOWS_MAX)

    def replace_programs(self) -> None:
        """Pin the other set of programs, as a loader does: the next pass puts them into the links."""
        self.programs.reverse()
        for name, program in self.programs[0].items():
            self.pins.program(name).unlink()
            syscall.obj_pin(program, self.pins.program(name))

    # ---- the judge

    def in_force(self) -> str:
        """``old`` or ``new``, as packets find it. AssertionError: a mixture, or a failsafe that is closed."""
        passing = {name: self._passing(name, PORTS) for name in INTERFACES}
        found = [name for name, expected in PASSING.items() if passing == expected]
        assert len(found) == 1, f"a mixture: {passing}"
        for name in COVERED[found[0]]:
            opened = self._passing(name, FAILSAFES)
            assert opened >= OPEN[found[0]], (
                f"{found[0]} is in force, of its failsafes only {opened} are open"
            )
        return found[0]

    def failsafes(self, interface: str) -> set[int]:
        """The failsafe ports that are open there."""
        return self._passing(interface, FAILSAFES)

    def _passing(self, interface: str, ports: Any) -> set[int]:
        return self.passing(interface, ports, PEER_ADDRESS, NODE_ADDRESS)

    def passing(self, interface: str, ports: Iterable[int], source: str, destination: str) -> set[int]:
        """To which of these ports a SYN gets through that comes in there."""
        program = syscall.obj_get(self.pins.program("tc_ingress"))
        try:
            verdicts = {
                port: testrun.run(
                    program, _syn(source, destination, port), ifindex=self.indices[interface]
                ).verdict
                for port in ports
            }
        finally:
            os.close(program)
        return {port for port, verdict in verdicts.items() if verdict != _SHOT}

    def attached(self) -> set[tuple[str, Direction]]:
        """Where a program of ours runs."""
        hooks = ((name, index, direction) for name, index in self.indices.items() for direction in Direction)
        return {
            (name, direction)
            for name, index, direction in hooks
            if f"autohep_{direction.name.lower()}" in self._run_at(index, direction)
        }

    def _run_at(self, index: int, direction: Direction) -> set[str]:
        """Names of the programs of a hook, whoever attached them, by tcx or by clsact."""
        by_link = {
            objects.program_name(program) for program, _ in syscall.prog_query(index, ATTACH_TYPE[direction])
        }
        with Clsact(self.pins) as clsact:
            return by_link | {
                objects.program_name(each.program_id) for each in clsact.filters(index, direction)
            }

    def disk_agrees(self) -> bool:
        """Whether what is kept for inspection and for a start without datastore is what is in force."""
        with StateDirectory(self.directory) as state, Dataplane(self.pins, FLOWS_MAX) as dataplane:
            boot = state.read_boot()
            kept = saved.load(self.directory)
            return (
                boot is not None
                and boot.image.generation == kept.generation == dataplane.generation
                and bytes(boot.image.data) == dataplane.image_in_force()
            )

    def leftovers(self) -> list[str]:
        """Files half written."""
        return [file.name for file in self.directory.iterdir() if file.name.count(".") > 2]


def everywhere(covered: set[str]) -> set[tuple[str, Direction]]:
    """Both directions of some interfaces."""
    return {(name, direction) for name in covered for direction in Direction}


def _syn(source: str, destination: str, port: int) -> bytes:
    ends = ip_address(source), ip_address(destination)
    return frame(
        Packet(
            version=ends[0].version, protocol=6, source=int(ends[0]), destination=int(ends[1]),
            source_port=40000, destination_port=port, tcp_flags=_SYN,
        )
    )  # fmt: skip


@contextmanager
def scene(directory: Path) -> Iterator[Scene]:
    """Make the host and load the program; nothing is enforced yet, and nothing is left."""
    with two_hosts() as hosts:
        for name in INTERFACES:
            run("ip", "-n", hosts.node, "link", "add", name, "type", "veth", "peer", "name", f"{name}p")
            run("ip", "-n", hosts.node, "link", "set", name, "up")
        run("ip", "-n", hosts.node, "address", "add", f"{NODE_ADDRESS6}/64", "dev", "one", "nodad")
        ensure_bpffs()
        pins = Pins(f"swept{os.getpid()}", Path("/sys/fs/bpf/autohep_test"))
        pins.create()
        try:
            indices = {name: ifindex_of(name) for name in INTERFACES}
            with _programs(pins) as first, _programs(pins) as second:
                yield Scene(pins, directory, indices, [second, first])
        finally:
            uninstall(pins)


@contextmanager
def _programs(pins: Pins) -> Iterator[dict[str, int]]:
    """Load the programs and keep them, by name."""
    loaded = loader.load(pins, loader.PROGRAMS, flows_max=FLOWS_MAX)
    opened = {name: syscall.obj_get(path) for name, path in loaded.programs.items()}
    try:
        yield opened
    finally:
        for program in opened.values():
            os.close(program)
