"""Interfaces as the program knows them, and their counters."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pyagent import abi
from pyagent.abi import Direction, Reason
from pyagent.bpf.maps import Map
from pyagent.errors import AutohepError
from pyagent.inspection.names import interface_name
from pyagent.inspection.pinned import Pinned

#: The counter that interfaces share whose own place is taken; loopback's index is never 0.
SHARED_COUNTER: Final = 0
#: Interfaces that the program was not told of; they share one entry and one counter.
OTHERS: Final = "(others)"


@dataclass(frozen=True, slots=True)
class Interface:
    """One entry of ifstate. ``slots`` and ``endpoints`` by side."""

    index: int
    slots: tuple[int, int]
    endpoints: tuple[int, int]
    flags: int
    counter: int
    direct: bool

    @property
    def name(self) -> str:
        """The interface's name; the entry for those the program was not told of has none."""
        return interface_name(self.index) if self.index else OTHERS

    @property
    def excluded(self) -> bool:
        """Excluded by configuration."""
        return bool(self.flags & abi.IF_EXCLUDED)

    def slot(self, side: int) -> int | None:
        """The endpoint's slot in the image of a side; None: no endpoint applies."""
        return self.slots[side] - 1 if self.slots[side] else None

    def describe(self, side: int) -> dict[str, Any]:
        """In words, for the side in force."""
        names = {
            abi.IF_WORKLOAD: "workload", abi.IF_EXCLUDED: "excluded", abi.IF_LAYER3: "layer3",
        }  # fmt: skip
        return {
            "interface": self.name,
            "index": self.index,
            "slot": self.slot(side),
            "endpointNumber": self.endpoints[side],
            "flags": [name for bit, name in names.items() if self.flags & bit],
            "counter": self.counter,
            "map": "ifstate" if self.direct else "ifstate_more",
        }


def interfaces(pinned: Pinned) -> list[Interface]:
    """Every interface that the program knows, by index."""
    found = []
    for name in ("ifstate", "ifstate_more"):
        with pinned.open(name) as entries:
            values = [abi.IFSTATE.unpack(value) for _, value in entries.items()]
        found += [
            Interface(index, (one, two), (first, second), flags, counter, name == "ifstate")
            for index, one, two, first, second, flags, counter in values
            if index or name == "ifstate_more"
        ]
    return sorted(found, key=lambda interface: interface.index)


def index_of(name: str) -> int:
    """An interface's index; AutohepError if there is no such interface here."""
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        here = ", ".join(name for _, name in socket.if_nameindex())
        raise AutohepError(f"there is no interface {name} here (there are: {here})") from error


def find_interface(pinned: Pinned, name: str) -> Interface:
    """The entry in force for an interface; AutohepError if there is no such interface, or no entry for it."""
    index = index_of(name)
    for entry in reversed(interfaces(pinned)):  # the entry for unknown ones is the last resort
        if entry.index in (index, 0):
            return entry
    raise AutohepError(f"interface {name} is not known to the firewall: the agent has not told it of it")


def side_in_force(pinned: Pinned) -> int:
    """The side of the generation in force."""
    with pinned.open("control") as control:
        return int(abi.CONTROL.unpack(control.get(bytes(4)) or bytes(abi.CONTROL.size))[0]) & 1


# ---- counters ----


def counters(pinned: Pinned, only: str | None = None) -> list[dict[str, Any]]:
    """Packets by interface, direction and reason; what was never counted is left out."""
    known = [find_interface(pinned, only)] if only else interfaces(pinned)
    places = {entry.counter: entry.name for entry in known if entry.counter != SHARED_COUNTER}
    if any(entry.counter == SHARED_COUNTER for entry in known) or not only:
        places[SHARED_COUNTER] = OTHERS
    with pinned.open("counters") as cells:
        return [row for counter, name in sorted(places.items()) for row in _rows(cells, counter, name)]


def _rows(cells: Map, counter: int, name: str) -> Iterator[dict[str, Any]]:
    packets = cells.sum_per_cpu(struct.pack("=I", counter)) or ()
    known = {int(reason) for reason in Reason}
    for place, count in enumerate(packets):
        direction, reason = divmod(place, abi.REASON_MAX)
        if count:
            yield {
                "interface": name,
                "direction": Direction(direction).name.lower(),
                "verdict": "deny" if reason >= abi.REASON_DROPPED else "allow",
                "reason": Reason(reason).name.lower() if reason in known else str(reason),
                "packets": count,
            }


def flush_counters(pinned: Pinned) -> int:
    """Set every counter to 0; returns how many interfaces had any."""
    with pinned.open("counters") as cells:
        used = [key for key, value in cells.items() if any(value)]
        cells.update_many((key, bytes(cells.value_bytes)) for key in used)
    return len(used)
