"""The kernel as an engine: the real program, loaded for this run alone, asked by test runs.

Nothing is attached and no packet is sent: frames are judged in a network namespace of their own, by programs
and maps that are pinned for this process and gone when it ends. Needs root.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from pyagent import abi
from pyagent.abi import Action, Direction, Reason
from pyagent.bpf import syscall, testrun
from pyagent.bpf.clock import Jiffies
from pyagent.bpf.loader import load
from pyagent.bpf.pins import BPFFS, Pins, ensure_bpffs
from pyagent.calc import NodeView
from pyagent.compiler import compile_image
from pyagent.dataplane import Dataplane, Interface
from pyagent.errors import KernelError, UsageError
from pyagent.inquiry import frames
from pyagent.inquiry.answer import BY_TABLE, KERNEL, Answer
from pyagent.inquiry.route import Crossing
from pyagent.model.facts import HostFacts
from pyagent.reference import FlowState

_BASE: Final = BPFFS / "autohep-test"
_FLOWS_MAX: Final = 1024
_CLONE_NEWNET: Final = 0x40000000
_OPPOSITE: Final = {Direction.INGRESS: Direction.EGRESS, Direction.EGRESS: Direction.INGRESS}
_PROGRAMS: Final = {Direction.INGRESS: "tc_ingress", Direction.EGRESS: "tc_egress"}
#: Interfaces are numbered from here; what they are called does not matter to the program.
_FIRST_INDEX: Final = 10
#: How many interfaces a host under question may have.
INTERFACES_MAX: Final = 64
#: Where a forwarded packet came in: an interface that no question is about.
_ELSEWHERE: Final = _FIRST_INDEX + INTERFACES_MAX

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def open_kernel() -> Iterator[KernelEngine]:
    """The engine, ready to be asked; takes a second or two. Raises UsageError without root, and what
    loading raises."""
    if os.geteuid() != 0:
        raise UsageError("the engine kernel loads the real program, which only root can: run as root")
    ensure_bpffs()
    pins = Pins(f"run{os.getpid()}", _BASE)
    try:
        loaded = load(pins, flows_max=_FLOWS_MAX)
        programs = {
            direction: syscall.obj_get(loaded.programs[name]) for direction, name in _PROGRAMS.items()
        }
        try:
            with _network(), Dataplane(pins, flows_max=_FLOWS_MAX) as dataplane:
                yield KernelEngine(dataplane, programs)
        finally:
            for descriptor in programs.values():
                os.close(descriptor)
    finally:
        pins.remove()


class KernelEngine:
    """The loaded program with one node's image in force at a time."""

    def __init__(self, dataplane: Dataplane, programs: dict[Direction, int]) -> None:
        self._dataplane, self._programs = dataplane, programs
        self._view: NodeView | None = None
        self._indices: dict[str, int] = {}
        self._metadata: Any = {}
        self._hits: list[int] = []

    def ask(self, view: NodeView, facts: HostFacts, crossing: Crossing, flow: FlowState) -> Answer:
        """What the program says of a packet on a node; nothing is remembered of it."""
        if view is not self._view:
            self._install(view, facts)
        direction = Direction[crossing.direction.upper()]
        flows = self._dataplane.map(f"flows{crossing.packet.version}")
        flows.clear()
        self._dataplane.map("fragments").clear()
        if (key := _flow_of(crossing, direction, flow)) is not None:
            flows.set(key, frames.flow_entry(_OPPOSITE[direction], _jiffies()))
        index = self._indices[crossing.interface]
        came_in = index if direction is Direction.INGRESS else _ELSEWHERE if crossing.received else 0
        before = self._counters(index)
        testrun.run(
            self._programs[direction], frames.frame(crossing.packet), ifindex=index, ingress_ifindex=came_in
        )
        flows.clear()
        return self._answer(_counted(before, self._counters(index)))

    def _install(self, view: NodeView, facts: HostFacts) -> None:
        names = [each.name for each in facts.interfaces if each.name != "lo"]
        if len(names) > INTERFACES_MAX:
            raise UsageError(f"the engine kernel knows at most {INTERFACES_MAX} interfaces of a host")
        self._indices = {"lo": 1, **{name: _FIRST_INDEX + number for number, name in enumerate(names)}}
        interfaces = [
            Interface(
                self._indices[each.name],
                view.interfaces.get(each.name),
                endpoint=view.interfaces.get(each.name, 0),
                workload=each.workload,
                excluded=each.name in view.excluded,
            )
            for each in facts.interfaces
        ]
        image = compile_image(view, self._dataplane.next_generation)
        self._dataplane.apply(image, interfaces, view.failsafes)
        self._view, self._metadata = view, dict(image.metadata)
        self._hits = self._all_hits()

    def _counters(self, index: int) -> bytes:
        value = self._dataplane.map("counters").get(struct.pack("=I", index))
        assert value is not None, "every interface that was installed has counters"
        return value

    def _all_hits(self) -> list[int]:
        """How often each verdict of the generation in force was given."""
        start = (self._dataplane.generation & 1) * abi.VERDICTS_MAX
        hits = self._dataplane.map("hits")
        found = [
            hits.sum_per_cpu(struct.pack("=I", start + number))
            for number in range(len(self._metadata["verdicts"]))
        ]
        return [each[0] if each else 0 for each in found]

    def _answer(self, reason: Reason) -> Answer:
        """The reason with the verdicts that were given meanwhile."""
        before, self._hits = self._hits, self._all_hits()
        verdicts = self._metadata["verdicts"]
        met = [verdicts[number] for number, hits in enumerate(self._hits) if hits != before[number]]
        places = self._metadata["rules"]
        decided = [each for each in met if each["action"] != Action.NONE.name.capitalize()]
        return Answer(
            KERNEL,
            reason < abi.REASON_DROPPED,
            reason,
            places[str(decided[0]["rule"])] if decided and reason in BY_TABLE else "",
            tuple(places[str(key)] for verdict in met for key in verdict["logs"]),
            tuple(sorted((name, said) for verdict in met for name, said in verdict["staged"].items())),
        )


def _flow_of(crossing: Crossing, direction: Direction, flow: FlowState) -> bytes | None:
    """The key of the flow that has to be there for the packet to be what the question says."""
    if flow is FlowState.ESTABLISHED:
        return frames.flow_key(crossing.packet, direction)
    if flow is FlowState.RELATED:
        return frames.flow_key(frames.complaint_about(crossing.packet), _OPPOSITE[direction])
    return None


def _jiffies() -> int:
    clock = Jiffies()
    try:
        return clock.now()
    finally:
        clock.close()


def _counted(before: bytes, after: bytes) -> Reason:
    """The one reason that was counted between two readings of an interface's counters."""
    cells = len(before) // 8
    for cell, (old, new) in enumerate(
        zip(struct.unpack(f"={cells}Q", before), struct.unpack(f"={cells}Q", after), strict=True)
    ):
        if old != new:
            return Reason(cell % abi.REASON_MAX)
    raise KernelError("count a packet of a test run", 0, "no counter of its interface changed")


@contextmanager
def _network() -> Iterator[None]:
    """This thread is in a network namespace with interfaces of every number, which goes when it leaves."""
    made = _made_in_a_thread(range(_FIRST_INDEX, _ELSEWHERE + 1))
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(made)
        try:
            yield
        finally:
            _enter(before)
    finally:
        os.close(before)
        os.close(made)


def _made_in_a_thread(indices: Sequence[int]) -> int:
    """A new namespace; made in a thread that takes its own way into it to its end."""
    made: list[int] = []
    failed: list[BaseException] = []

    def make() -> None:
        try:
            if _libc.unshare(_CLONE_NEWNET) != 0:
                raise KernelError("make a network namespace", ctypes.get_errno())
            lines = "\n".join(f"link add t{index} index {index} type bridge" for index in indices)
            subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True, capture_output=True)
            made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET) != 0:
        raise KernelError("enter a network namespace", ctypes.get_errno())
