"""An image with its names, from the running kernel or from a directory, and what can be told of it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pyagent import abi
from pyagent.bpf.pins import Pins
from pyagent.compiler import saved
from pyagent.compiler.walk import Walker
from pyagent.errors import AutohepError, DriftError
from pyagent.inspection.names import Names
from pyagent.inspection.pinned import Pinned
from pyagent.inspection.spans import Members


@dataclass(frozen=True)
class Held:
    """An image. ``metadata`` None: what is saved is of another generation; ``problem`` says so.

    ``limit``: bytes that the node has for an image, 0: unknown.
    """

    place: str
    walker: Walker
    metadata: dict[str, Any] | None
    limit: int = 0
    problem: str = ""

    @classmethod
    def live(cls, pins: Pins, state_directory: Path) -> Self:
        """The image in force. Raises AutohepError if there is none, DriftError if it is damaged."""
        pinned = Pinned(pins)
        with pinned.open("control") as control, pinned.open("images") as images:
            generation = abi.CONTROL.unpack(control.get(bytes(4)) or bytes(abi.CONTROL.size))[0]
            if not generation:
                raise AutohepError(f"instance {pins.instance} has no image in force yet")
            data = images.get(struct.pack("=I", generation & 1)) or b""
            limit = images.info.value_size
        walker = saved.open_image(data, f"the image in force of instance {pins.instance}")
        metadata, problem = _metadata_of(generation, state_directory)
        return cls(f"instance {pins.instance}", walker, metadata, limit, problem)

    @classmethod
    def saved(cls, directory: Path) -> Self:
        """The image in a directory. Raises AutohepError or DriftError if it is not there or not whole."""
        found = saved.load(directory)
        return cls(str(directory), found.walker, found.metadata)

    @property
    def generation(self) -> int:
        """The generation it was compiled for."""
        return self.walker.header["generation"]

    def known(self) -> dict[str, Any]:
        """The metadata with the outline; AutohepError if it is not there."""
        if self.metadata is None:
            raise AutohepError(self.problem)
        if "policies" not in self.metadata:
            raise DriftError(f"{self.place}: its metadata was written by an agent without outlines")
        return self.metadata

    @cached_property
    def names(self) -> Names:
        """Names of rules and endpoints; empty ones without metadata."""
        return Names(self.generation) if self.metadata is None else Names.of(self.metadata)

    @cached_property
    def members(self) -> Members:
        """The address sets."""
        return Members(self.walker, self.known())

    def describe(self) -> dict[str, Any]:
        """Sizes and counts, from the bytes themselves."""
        header = self.walker.header
        return {
            "place": self.place,
            "generation": self.generation,
            "hash": f"{header['hash']:016x}",
            "bytes": header["size"],
            "limit": self.limit,
            "verdicts": header["verdicts"],
            "verdictsLimit": abi.VERDICTS_MAX,
            "flags": _flags(header["flags"]),
            "classes": {
                "addresses": header["address_classes"],
                "layer4": header["l4_classes"],
                "sourcePorts": header["sport_classes"],
            },
            "endpoints": [self._endpoint(slot) for slot in range(header["slots"])],
            "problem": self.problem,
        }

    def endpoint_name(self, slot: int) -> str:
        """The endpoint's name; its slot where names are not known."""
        return self.names.endpoints[slot] if slot < len(self.names.endpoints) else f"slot {slot}"

    def _endpoint(self, slot: int) -> dict[str, Any]:
        rules = {
            (each["slot"], each["table"]): each["rules"] for each in (self.metadata or {}).get("tables", ())
        }
        tables = [
            {
                "table": kind.name.lower(),
                "form": "pages" if table["pages_at"] else "dense",
                "rows": table["rows"],
                "columns": table["columns"],
                "bytes": 2 * (_cells(table) + table["combine_addresses"] + table["combine_l4"]),
                "rules": rules.get((slot, kind.name.lower())),
            }
            for kind, table in self.walker.slot_tables(slot).items()
        ]
        return {"slot": slot, "name": self.endpoint_name(slot), "tables": tables}


def _cells(table: dict[str, int]) -> int:
    """How many u16 a table has for its cells, numbers of runs included."""
    if not table["pages_at"]:
        return table["rows"] * table["columns"]
    return table["runs"] * abi.PAGE_CELLS + table["rows"] * -(-table["columns"] // abi.PAGE_CELLS)


def _metadata_of(generation: int, directory: Path) -> tuple[dict[str, Any] | None, str]:
    try:
        metadata = saved.load_metadata(directory)
    except AutohepError as error:
        return None, f"names are not known: {error}"
    if metadata["generation"] != generation:
        return None, (
            f"names are not known: {directory} is of generation {metadata['generation']}, "
            f"{generation} is in force"
        )
    return metadata, ""


def _flags(value: int) -> list[str]:
    names = {
        abi.IMAGE_UNTRACKED: "untracked",
        abi.IMAGE_POD_TO_HOST_ACCEPT: "pod-to-host-accept",
        abi.IMAGE_POD_TO_HOST_DROP: "pod-to-host-drop",
    }
    return [name for bit, name in names.items() if value & bit]
