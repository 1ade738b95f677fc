"""The dataplane of one instance: writes the side that is not in force, then flips.

A generation is complete (image, interfaces, failsafes) before the one store that puts it in force, and the
old one stays as it was until the next; so a failure at any point leaves the old or the new, never a mixture.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import reduce
from hashlib import blake2b
from operator import xor
from types import TracebackType
from typing import Final, Self

from pyagent import abi
from pyagent.bpf import layout
from pyagent.bpf.maps import Map
from pyagent.bpf.pins import Pins
from pyagent.calc.view import Failsafe
from pyagent.compiler.edit import Patch
from pyagent.compiler.image import EDITS_AT, HASH_AT, PAGE, Image, compiled_hash, image_hash, page_hash
from pyagent.compiler.walk import Walker
from pyagent.dataplane import failsafes as failsafe_maps
from pyagent.dataplane import grace
from pyagent.errors import CapacityError, DriftError

_ZERO: Final = bytes(4)
_FLAGS_AT: Final = 16  # offset of flags in struct image_header


_WORDS: Final = {2: ctypes.c_uint16, 4: ctypes.c_uint32}
#: The index under which the program looks for an interface it does not know.
UNKNOWN: Final = 0


@dataclass(frozen=True, slots=True)
class Interface:
    """What the program must know of one interface. ``slot`` None: no endpoint applies to it.

    Index :data:`UNKNOWN` stands for every interface that the program has not been told of.

    ``endpoint`` is the endpoint's lasting number (a bit of flow.approved), whatever its slot.
    """

    index: int
    slot: int | None
    endpoint: int = 0
    workload: bool = False
    excluded: bool = False
    layer3: bool = False

    @property
    def flags(self) -> int:
        """The IF_* bits."""
        return (
            (abi.IF_WORKLOAD if self.workload else 0)
            | (abi.IF_EXCLUDED if self.excluded else 0)
            | (abi.IF_LAYER3 if self.layer3 else 0)
        )


class Dataplane:
    """The pinned maps of one instance. Close it, or use it as a context manager.

    Methods block for milliseconds. Raises DriftError if a pinned map has another shape than asked for.
    """

    def __init__(self, pins: Pins, flows_max: int = abi.FLOWS_MAX, image_bytes: int = 0) -> None:
        self.pins = pins
        self.image_bytes = image_bytes or layout.image_bytes()
        self._maps: dict[str, Map] = {}
        self._memory: dict[str, mmap.mmap] = {}
        self._applied: _Applied | None = None
        self._held: dict[int, memoryview] | None = None
        try:
            for spec in layout.map_specs(flows_max, self.image_bytes):
                self._maps[spec.name] = Map.open(pins.map(spec.name), spec)
            for name in ("control", "failsafe"):
                self._memory[name] = self._maps[name].memory()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the maps; what is pinned stays in force."""
        for memory in self._memory.values():
            with suppress(BufferError):
                memory.close()
        for opened in self._maps.values():
            opened.close()
        self._memory.clear()
        self._maps.clear()

    def map(self, name: str) -> Map:
        """One of the maps, to look into."""
        return self._maps[name]

    @property
    def generation(self) -> int:
        """The generation in force; 0: none."""
        (number,) = struct.unpack_from("=I", self._memory["control"])
        return int(number)

    @property
    def next_generation(self) -> int:
        """The number to compile the next image for; its lowest bit is the side that is not in force."""
        number = (self.generation + 1) & 0xFFFFFFFF
        return number or 2

    def image_in_force(self) -> bytes:
        """A copy of the image of the generation in force; empty if there is none."""
        return self._read(self.generation & 1) if self.generation else b""

    def image_of(self, generation: int) -> bytes:
        """A copy of the image of a generation; empty if neither side holds it any more."""
        data = self._read(generation & 1)
        header = (
            dict(zip(abi.IMAGE_HEADER_FIELDS, abi.IMAGE_HEADER.unpack_from(data), strict=True))
            if data
            else {}
        )
        return data if header.get("generation") == generation else b""

    def apply(self, image: Image, interfaces: Iterable[Interface], failsafes: Sequence[Failsafe]) -> None:
        """Put a generation in force. ``image`` was compiled for :attr:`next_generation`.

        While none is in force any generation will do: a saved one keeps its number.

        Raises CapacityError if it does not fit, DriftError if what was written does not read back; the
        generation before it then stays in force.
        """
        if self.generation and image.generation != self.next_generation:
            raise DriftError(f"image of generation {image.generation}, expected {self.next_generation}")
        if len(image.data) > self.image_bytes:
            raise CapacityError("image bytes", len(image.data), self.image_bytes)
        nets = failsafe_maps.networks(failsafes)
        if len(nets) > abi.FAILSAFE_NETS_MAX:
            raise CapacityError("failsafe networks", len(nets), abi.FAILSAFE_NETS_MAX)
        side = image.generation & 1
        # Packets that began two generations ago must have ended before their side is overwritten.
        grace.wait()
        self._image(side, len(image.data))[: len(image.data)] = image.data
        if self._read(side) != image.data:
            raise DriftError(f"image of generation {image.generation} does not read back as written")
        self._write_interfaces(interfaces, (side,))
        self._open_failsafes(failsafes, nets)
        self._flip(image)
        self._close_failsafes(failsafes, nets)
        self._applied = _Applied(image.generation, image.hash, _digest(self._failsafe_ports(), nets))

    def difference(self, saved: Image) -> str:
        """What is in force in a sentence, if it is not ``saved`` or what edits in place made of it; else
        empty."""
        there = self.image_in_force()
        if self.generation != saved.generation:
            return f"generation {self.generation} is in force, generation {saved.generation} is saved"
        if compiled_hash(there) != compiled_hash(saved.data):
            return f"generation {self.generation} is in force, another image of that number is saved"
        if image_hash(there) != Image(there, saved.generation, {}, ()).hash:
            return f"generation {self.generation} in force is damaged"
        return ""

    def walker(self) -> Walker:
        """Reads the image in force where it is. Raises DriftError if there is none."""
        return Walker(self._image(self.generation & 1))

    @property
    def edits(self) -> int:
        """How often the image in force was edited in place."""
        return self.walker().header["edits"] if self.generation else 0

    def patch(self, patches: Callable[[Walker], Patch | None], count: int) -> int:
        """Edit the image in force in place, ``count`` times; ``patches`` gives one after the other.

        Each is old until one store makes it new. Returns how many were made: fewer if one of them is None.
        Raises DriftError if what was written does not read back.
        """
        image = self._image(self.generation & 1)
        for done in range(count):
            patch = patches(Walker(image))
            if patch is None:
                return done
            self._patch(image, patch)
        return count

    def _patch(self, image: memoryview, patch: Patch) -> None:
        size = len(Walker(image).whole)
        stores = [*patch.fresh, (patch.at, patch.value.to_bytes(patch.width, "little"))]
        pages = {page for at, new in stores for page in range(at // PAGE, (at + len(new) - 1) // PAGE + 1)}
        before = _pages_hash(image[:size], pages)
        for at, content in patch.fresh:
            image[at : at + len(content)] = content
        if patch.fresh:
            if any(image[at : at + len(content)] != content for at, content in patch.fresh):
                raise DriftError("what an edit adds to the image does not read back as written")
            grace.wait()  # also makes all CPUs see it before they can see the way to it
        word = _WORDS[patch.width].from_buffer(image, patch.at)
        word.value = patch.value
        change = before ^ _pages_hash(image[:size], pages)
        for at, kind, value in (
            (HASH_AT, ctypes.c_uint64, change ^ int.from_bytes(image[HASH_AT : HASH_AT + 8], "little")),
            (EDITS_AT, ctypes.c_uint32, 1 + int.from_bytes(image[EDITS_AT : EDITS_AT + 4], "little")),
        ):
            kind.from_buffer(image, at).value = value & ((1 << 8 * ctypes.sizeof(kind)) - 1)
        if self._applied is not None:
            self._applied = replace(self._applied, image=self._applied.image ^ change)

    def verify(self) -> None:
        """Read back what is in force: generation, image and failsafes are those applied last.

        Raises DriftError if they are not. An object that has applied nothing yet knows nothing.
        """
        if self._applied is None:
            return
        generation, there = self._applied.generation, self.image_in_force()
        if self.generation != generation:
            raise DriftError(f"generation {self.generation} is in force, not {generation}")
        nets = self._maps["failsafe_nets"].keys()
        found = _Applied(generation, image_hash(there), _digest(self._failsafe_ports(), nets))
        if found != self._applied:
            raise DriftError(f"generation {generation} does not read back as it was applied")

    def _failsafe_ports(self) -> bytes:
        return self._memory["failsafe"][: 2 * failsafe_maps.BITMAP_BYTES]

    def set_interfaces(self, interfaces: Iterable[Interface]) -> None:
        """Bring the interfaces up to date within the generation in force."""
        self._write_interfaces(interfaces, (0, 1))

    @contextmanager
    def images_held(self) -> Iterator[None]:
        """Keep the images mapped meanwhile, for who works on them a lot: mapping takes a millisecond."""
        self._held = {}
        try:
            yield
        finally:
            self._held = None  # unmapped once nobody looks into it any more

    def _image(self, side: int, size: int = 0) -> memoryview:
        """The first ``size`` bytes of a side or more; 0: as many as the image there says that it has.

        Mapped while the caller holds it, and no more than that: both sides' 16 MB would take four
        milliseconds and count as this process's memory.
        """
        known = None if self._held is None else self._held.get(side)
        if known is not None and len(known) >= size:
            return known
        at, images = side * self.image_bytes, self._maps["images"]
        if not size:
            size = self._size(memoryview(images.memory(at=at, length=PAGE)))
        image = memoryview(images.memory(at=at, length=max(size, PAGE)))
        if self._held is not None:
            self._held[side] = image
        return image

    def _size(self, image: memoryview) -> int:
        """Bytes of an image by its header, at most what there is room for."""
        header = dict(zip(abi.IMAGE_HEADER_FIELDS, abi.IMAGE_HEADER.unpack_from(image), strict=True))
        return int(min(header["size"], self.image_bytes))

    def _read(self, side: int) -> bytes:
        image = self._image(side)
        return bytes(image[: self._size(image)])

    def _flip(self, image: Image) -> None:
        """One aligned eight-byte store: generation and flags together."""
        (image_flags,) = struct.unpack_from("=I", image.data, _FLAGS_AT)
        flags = abi.CONTROL_UNTRACKED if image_flags & abi.IMAGE_UNTRACKED else 0
        cell = ctypes.c_uint64.from_buffer(self._memory["control"])
        cell.value = flags << 32 | image.generation
        del cell  # it holds the mapping open

    # ---- interfaces ----

    def _write_interfaces(self, interfaces: Iterable[Interface], sides: Sequence[int]) -> None:
        known = self._known_interfaces()
        wanted = {interface.index: interface for interface in interfaces}
        places = self._maps["ifstate"].info.max_entries
        for gone in known.keys() - wanted.keys():
            self._forget_interface(gone, places)
        for index, interface in wanted.items():
            before = known.get(index) or (0,) * 7
            entry = _ifstate(interface, before, sides)
            if entry == before:
                continue
            if index == UNKNOWN:
                self._maps["ifstate_more"].set(_ZERO, abi.IFSTATE.pack(*entry[:6], 0))
                continue
            place = index % places
            taken = abi.IFSTATE.unpack(self._maps["ifstate"].get(struct.pack("=I", place)) or bytes(16))[0]
            if taken in (0, index):
                counter = place
                if index not in known:
                    self._clear_counters(counter)
                value = abi.IFSTATE.pack(*entry[:6], counter)
                self._maps["ifstate"].set(struct.pack("=I", place), value)
            else:
                self._maps["ifstate_more"].set(struct.pack("=I", index), abi.IFSTATE.pack(*entry[:6], 0))

    def _known_interfaces(self) -> dict[int, tuple[int, ...]]:
        direct = (abi.IFSTATE.unpack(value) for _, value in self._maps["ifstate"].items())
        more = (abi.IFSTATE.unpack(value) for _, value in self._maps["ifstate_more"].items())
        return {**{entry[0]: entry for entry in direct if entry[0]}, **{entry[0]: entry for entry in more}}

    def _forget_interface(self, index: int, places: int) -> None:
        key = struct.pack("=I", index % places)
        held = self._maps["ifstate"].get(key)
        if index != UNKNOWN and held is not None and abi.IFSTATE.unpack(held)[0] == index:
            self._maps["ifstate"].set(key, bytes(abi.IFSTATE.size))
        else:
            self._maps["ifstate_more"].delete(struct.pack("=I", index))

    def _clear_counters(self, counter: int) -> None:
        counters = self._maps["counters"]
        counters.set(struct.pack("=I", counter), bytes(counters.value_bytes))

    # ---- failsafes ----

    def _open_failsafes(self, failsafes: Sequence[Failsafe], nets: dict[bytes, bytes]) -> None:
        """Before the flip: what either generation needs is open."""
        wanted = int.from_bytes(failsafe_maps.bitmaps(failsafes), "little")
        memory = self._memory["failsafe"]
        size = 2 * failsafe_maps.BITMAP_BYTES
        both = int.from_bytes(memory[:size], "little") | wanted
        self._maps["failsafe_nets"].update_many(nets.items())
        memory[:size] = both.to_bytes(size, "little")

    def _close_failsafes(self, failsafes: Sequence[Failsafe], nets: dict[bytes, bytes]) -> None:
        """After the flip: what only the old generation had is closed."""
        memory = self._memory["failsafe"]
        wanted = failsafe_maps.bitmaps(failsafes)
        memory[: len(wanted)] = bytes(wanted)
        trie = self._maps["failsafe_nets"]
        stale = set(trie.keys()) - nets.keys()
        trie.delete_many(stale)


def _ifstate(interface: Interface, before: tuple[int, ...], sides: Sequence[int]) -> tuple[int, ...]:
    slots, endpoints = [before[1], before[2]], [before[3], before[4]]
    for side in sides:
        slots[side] = 0 if interface.slot is None else interface.slot + 1
        endpoints[side] = interface.endpoint
    return (interface.index, *slots, *endpoints, interface.flags, before[6])


@dataclass(frozen=True, slots=True)
class _Applied:
    """What was put in force: the image's hash, edits included, and the failsafes' digest."""

    generation: int
    image: int
    failsafes: bytes


def _pages_hash(image: memoryview, pages: Iterable[int]) -> int:
    return reduce(xor, (page_hash(image, page) for page in pages), 0)


def _digest(failsafe_ports: bytes, nets: Iterable[bytes]) -> bytes:
    found = blake2b(failsafe_ports, digest_size=16)
    for net in sorted(nets):
        found.update(net)
    return found.digest()
