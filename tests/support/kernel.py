"""The real program in a network namespace of its own: policy goes in as resources, frames as bytes, out comes
the reason that its counters tell."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pyagent import abi
from pyagent.abi import Direction, Reason
from pyagent.bpf import syscall, testrun
from pyagent.bpf.clock import Jiffies
from pyagent.bpf.loader import PROGRAMS, load
from pyagent.bpf.pins import Pins, ensure_bpffs
from pyagent.calc import World, node_view
from pyagent.calc.view import NodeView
from pyagent.compiler import compile_image
from pyagent.compiler.image import Image
from pyagent.compiler.table import DENSE_BYTES
from pyagent.dataplane import Dataplane, Interface
from pyagent.model import Resource
from pyagent.model.facts import HostFacts
from pyagent.model.packet import Packet
from tests.support.frames import PLAIN, Wrapping, frame
from tests.support.small_world import FACTS

#: Interfaces of the namespace and their indices; the harness makes them, tests name them. far0's place among
#: the direct-mapped ones is eth0's, so that it is one of the others.
INTERFACES: Final = {
    "lo": 1,
    "eth0": 2,
    "eth1": 3,
    "wg0": 4,
    "cali1": 5,
    "cali2": 6,
    "new0": 7,
    "far0": 2 + abi.IFSTATE_MAX,
}
PASS, DROP = -1, 2
XDP_DROP, XDP_PASS = 1, 2
FLOWS_MAX: Final = 8192
BASE: Final = Path("/sys/fs/bpf/autohep_test")

_CLONE_NEWNET: Final = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Observed:
    """What the kernel did with a frame, and why, as its counters say."""

    reason: Reason

    @property
    def passed(self) -> bool:
        return self.reason < abi.REASON_DROPPED


@dataclass(frozen=True, slots=True)
class Installed:
    """A generation in force and what it was made of."""

    view: NodeView
    image: Image

    def slot(self, interface: str) -> int | None:
        """The endpoint in force there."""
        return self.view.interfaces.get(interface, self.view.wildcard)


class Network:
    """A network namespace with :data:`INTERFACES`; threads enter it for a while."""

    def __init__(self) -> None:
        made: list[int] = []
        failed: list[BaseException] = []

        def make() -> None:  # in a thread of its own, which takes its namespace with it when it ends
            try:
                _checked(_libc.unshare(_CLONE_NEWNET))
                lines = [
                    f"link add {name} index {index} type bridge"
                    for name, index in INTERFACES.items()
                    if name != "lo"
                ]
                subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
                made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        self._descriptor = made[0]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in the namespace meanwhile."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _checked(_libc.setns(self._descriptor, _CLONE_NEWNET))
            try:
                yield
            finally:
                _checked(_libc.setns(before, _CLONE_NEWNET))
        finally:
            os.close(before)

    def close(self) -> None:
        """The namespace goes when nobody is in it any more."""
        os.close(self._descriptor)


def _checked(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class Kernel:
    """The loaded program and its maps. Frames run only in a thread that entered its network."""

    def __init__(self, instance: str) -> None:
        ensure_bpffs()
        self.pins = Pins(f"{instance}{os.getpid()}", BASE)
        self._programs: dict[tuple[Direction, bool], int] = {}
        try:
            self._load()
        except BaseException:
            self.pins.remove()
            raise
        self._before: dict[int, bytes] = {}
        self._clock = Jiffies()

    def _load(self) -> None:
        loaded = load(self.pins, PROGRAMS, flows_max=FLOWS_MAX)
        names = {Direction.INGRESS: "tc_ingress", Direction.EGRESS: "tc_egress"}
        for direction, name in names.items():
            for layer3, suffix in ((False, ""), (True, "_l3")):
                self._programs[direction, layer3] = syscall.obj_get(loaded.programs[name + suffix])
        self._xdp = syscall.obj_get(loaded.programs["xdp_ingress"])
        self.dataplane = Dataplane(self.pins, flows_max=FLOWS_MAX)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unload everything."""
        self.dataplane.close()
        self._clock.close()
        for descriptor in (self._xdp, *self._programs.values()):
            os.close(descriptor)
        self.pins.remove()

    # -- policy

    def enforce(
        self, *resources: Resource, facts: HostFacts = FACTS, keep: bool = False, dense: int = DENSE_BYTES
    ) -> Installed:
        """Put the policy of ``resources`` in force, with no flow known unless those before are kept.

        ``dense``: bytes beyond which tables are in pages.
        """
        view = node_view(World.from_resources(resources), facts)
        image = compile_image(view, self.dataplane.next_generation, dense=dense)
        return self.install(Installed(view, image), facts, keep=keep)

    def install(self, installed: Installed, facts: HostFacts, *, keep: bool = False) -> Installed:
        """Put an image in force that was compiled for the next generation."""
        workloads = {each.name for each in facts.interfaces if each.workload}
        view = installed.view
        known = {each.name for each in facts.interfaces}
        interfaces = [
            Interface(
                index,
                slot := view.interfaces.get(name) if name in known else view.wildcard,
                endpoint=slot or 0,
                workload=name in workloads,
                excluded=name in view.excluded,
            )
            for name, index in INTERFACES.items()
        ]
        self.dataplane.apply(installed.image, interfaces, view.failsafes)
        if not keep:
            self.forget()
        self._before.clear()
        return installed

    def withdraw(self) -> None:
        """No generation is in force any more, as before the first one."""
        self.dataplane.map("control").set(bytes(4), bytes(abi.CONTROL.size))

    def age(self, name: str, seconds: float) -> int:
        """Make every entry of ``flows4``, ``flows6`` or ``fragments`` older; returns how many there are."""
        entries = self.dataplane.map(name)
        layout, at = (abi.FRAGMENT, 0) if name == "fragments" else (abi.FLOW, 3)
        count = 0
        for key, value in list(entries.items()):
            fields = list(layout.unpack(value))
            fields[at] = (fields[at] - int(seconds * self.rate)) & 0xFFFFFFFF
            entries.set(key, layout.pack(*fields))
            count += 1
        return count

    def forget(self) -> None:
        """No flow and no fragment is known."""
        for name in ("flows4", "flows6", "fragments"):
            self.dataplane.map(name).clear()

    # -- packets

    def judge(
        self, packet: Packet, wrapping: Wrapping = PLAIN, *, interface: str = "eth0",
        direction: Direction = Direction.INGRESS, received: str = "",
    ) -> Reason:  # fmt: skip
        """What becomes of a packet, and why."""
        return self.run(frame(packet, wrapping), interface, direction, received=received).reason

    def run(
        self, data: bytes, interface: str = "eth0", direction: Direction = Direction.INGRESS, *,
        received: str = "", layer3: bool = False,
    ) -> Observed:  # fmt: skip
        """Judge a frame at an interface; ``received``: at egress, the interface where it came in."""
        index = INTERFACES[interface]
        before = self._before.get(index) or self.counters(interface)
        came_in = index if direction is Direction.INGRESS else INTERFACES.get(received, 0)
        result = testrun.run(self._programs[direction, layer3], data, ifindex=index, ingress_ifindex=came_in)
        after = self._before[index] = self.counters(interface)
        reason = _counted(before, after, direction)
        dropped = reason >= abi.REASON_DROPPED
        assert result.verdict == (DROP if dropped else PASS), f"{result.verdict} for {reason.name}"
        return Observed(reason)

    def drops_early(self, data: bytes, interface: str = "eth0") -> bool:
        """Judge a frame by the XDP program at an interface."""
        index = INTERFACES[interface]
        self._before.pop(index, None)  # a drop is counted
        verdict = testrun.run_xdp(self._xdp, data, ingress_ifindex=index).verdict
        assert verdict in {XDP_DROP, XDP_PASS}
        return verdict == XDP_DROP

    def repeat(self, data: bytes, runs: int) -> int:
        """Judge a frame at eth0's ingress many times; the mean nanoseconds of a run."""
        index = INTERFACES["eth0"]
        fd = self._programs[Direction.INGRESS, False]
        self._before.pop(index, None)
        return testrun.run(fd, data, ifindex=index, ingress_ifindex=index, repeat=runs).nanoseconds

    def counters(self, interface: str) -> bytes:
        """The raw counters of an interface, CPU by CPU; far ones share those of number 0."""
        index = INTERFACES[interface]
        cell = index if index < abi.IFSTATE_MAX else 0
        value = self.dataplane.map("counters").get(struct.pack("=I", cell))
        assert value is not None
        return value

    @cached_property
    def rate(self) -> int:
        """Jiffies in a second."""
        return self._clock.rate()

    def jiffies(self) -> int:
        """The clock that flows are dated by."""
        return self._clock.now()

    def hits(self, verdict_id: int) -> tuple[int, int]:
        """Packets and bytes judged by a verdict id of the generation in force."""
        side = self.dataplane.generation & 1
        found = self.dataplane.map("hits").sum_per_cpu(
            struct.pack("=I", side * abi.VERDICTS_MAX + verdict_id)
        )
        assert found is not None
        return found[0], found[1]


def _counted(before: bytes, after: bytes, direction: Direction) -> Reason:
    """The one reason that was counted between two readings."""
    changed = int.from_bytes(before, "little") ^ int.from_bytes(after, "little")
    assert changed, "the packet was not counted"
    cell = ((changed & -changed).bit_length() - 1) // 64
    assert changed >> (cell + 1) * 64 == 0, "the packet was counted twice"
    place = cell % (2 * abi.REASON_MAX)
    assert place // abi.REASON_MAX == direction, "the packet was counted in the other direction"
    return Reason(place % abi.REASON_MAX)
