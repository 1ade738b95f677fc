"""What this node's kernel has in force right now, looked up as its program does. Needs root; changes nothing.

The image, and which endpoint is in force on which interface, are the kernel's own; only addresses' and
failsafes' part beside them is calculated. So a kernel that lags behind the resources shows.
"""

from __future__ import annotations

import dataclasses
import socket
import struct
from pathlib import Path
from typing import Any, Final

from pyagent import abi
from pyagent.bpf.maps import Map
from pyagent.bpf.pins import Pins
from pyagent.calc import NodeView
from pyagent.compiler.pipeline import Pipeline
from pyagent.compiler.saved import load_metadata, open_image
from pyagent.errors import AutohepError
from pyagent.inquiry.answer import RUNNING, Answer, image_answer
from pyagent.inquiry.route import Crossing
from pyagent.model.facts import HostFacts, InterfaceFacts
from pyagent.reference import FlowState

_ZERO: Final = bytes(4)


class Running:
    """The generation in force at the time of asking.

    Raises AutohepError if no agent has put one in force, or if what the agent saved of it is missing or of
    another generation (it is just changing: ask again).
    """

    def __init__(self, pins: Pins, state_directory: Path) -> None:
        self._pins = pins
        self.metadata: dict[str, Any] = load_metadata(state_directory)
        with self._map("control") as control:
            (self._generation,) = struct.unpack_from("=I", control.get(_ZERO) or _ZERO)
        if not self._generation:
            raise AutohepError("this node's kernel has no policy in force yet")
        if self.metadata["generation"] != self._generation:
            saved = self.metadata["generation"]
            raise AutohepError(
                f"the kernel has generation {self._generation} in force, and {state_directory} describes "
                f"{saved}: the agent is just changing it, or these are another agent's files"
            )
        self._data = self._image()

    @property
    def node(self) -> str:
        """The node that this is."""
        return str(self.metadata["node"])

    def _map(self, name: str) -> Map:
        return Map.open(self._pins.map(name))

    def _image(self) -> bytes:
        with self._map("images") as images:
            memory = images.memory(writable=False)
            try:
                start = (self._generation & 1) * images.info.value_size
                data = memory[start : start + images.info.value_size]
            finally:
                memory.close()
        open_image(data, f"the image of generation {self._generation} in the kernel")
        return data

    def ask(self, view: NodeView, facts: HostFacts, crossing: Crossing, flow: FlowState) -> Answer:
        """What the image in force says of a packet at an interface of this machine."""
        slot, flags = self._interface(crossing.interface)
        here = InterfaceFacts(crossing.interface, workload=bool(flags & abi.IF_WORKLOAD))
        others = tuple(each for each in facts.interfaces if each.name != crossing.interface)
        pipeline = Pipeline(
            self._data,
            dataclasses.replace(
                view,
                interfaces={} if slot is None else {crossing.interface: slot},
                excluded={crossing.interface: "in the kernel"} if flags & abi.IF_EXCLUDED else {},
            ),
            dataclasses.replace(facts, interfaces=(*others, here)),
        )
        return image_answer(RUNNING, pipeline, self.metadata, crossing, flow)

    def _interface(self, name: str) -> tuple[int | None, int]:
        """The slot in force on an interface (None: no endpoint's) and its IF_* flags."""
        try:
            index = socket.if_nametoindex(name)
        except OSError as error:
            raise AutohepError(f"this machine has no interface {name}: name one with --in") from error
        with self._map("ifstate") as near, self._map("ifstate_more") as far:
            found = near.get(struct.pack("=I", index % near.info.max_entries))
            entry = abi.IFSTATE.unpack(found) if found else (0,) * 7
            if entry[0] != index:
                more = far.get(struct.pack("=I", index))
                entry = abi.IFSTATE.unpack(more) if more else (index, *(0,) * 6)
        slot = entry[1 + (self._generation & 1)]
        return (slot - 1 if slot else None), entry[5]
