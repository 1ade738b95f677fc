"""The image: every table of one generation as the bytes of bpf/abi.h, and what people need to know beside
them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from pyagent import abi
from pyagent.errors import CapacityError

if TYPE_CHECKING:
    from pyagent.compiler.edit import Editor

Section = bytes | bytearray | npt.NDArray[Any]

#: Where the header's hashes are: its last two fields, behind the count of edits.
HASH_AT: Final = abi.IMAGE_HEADER.size - 8
COMPILED_AT: Final = HASH_AT - 8
EDITS_AT: Final = COMPILED_AT - 4
#: An image is hashed in pieces, so that a change of one does not mean reading all.
PAGE: Final = 4096
#: What an image that is too large has too many of.
IMAGE_BYTES: Final = "image bytes"


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A compiled generation.

    ``data`` is the image itself. ``slots``: endpoint names by slot. ``metadata``, good for JSON
    as a dict: ``verdicts`` (a list; its index is the verdict id) of {action, rule, logs, staged:
    {policy: action}},
    where ``rule`` and ``logs`` are rule keys; ``rules``: rule key in decimal -> where the rule stands;
    ``sets``: name and size of each address set; ``tables``: statistics of each table; ``classes``: how many
    of each field. ``outline`` makes what :mod:`pyagent.compiler.outline` adds to it; asked for only after the
    image is in force. ``editor`` makes what can edit it in place; None for an image read from a file.
    """

    data: bytes | bytearray
    generation: int
    metadata: Mapping[str, Any]
    slots: tuple[str, ...]
    outline: Callable[[], dict[str, Any]] = dict
    editor: Callable[[], Editor | None] = lambda: None

    @property
    def hash(self) -> int:
        """The header's hash: equal images of one generation have equal hashes."""
        return int.from_bytes(self.data[HASH_AT : HASH_AT + 8], "little")

    def describe(self) -> str:
        """A few lines for people: sizes of the image and of each table."""
        classes = ", ".join(f"{count} {name}" for name, count in self.metadata["classes"].items())
        verdicts = len(self.metadata["verdicts"])
        lines = [
            f"generation {self.generation}: {len(self.data)} bytes, hash {self.hash:016x}",
            f"  {verdicts} verdicts; classes: {classes}",
        ]
        lines += [
            f"  {table['endpoint']} {table['table']}: {table['rules']} rules, "
            f"{table['rows']} x {table['columns']} cells, "
            f"painted as {table['painted_rows']} x {table['painted_columns']}"
            for table in self.metadata["tables"]
        ]
        return "\n".join(lines)


class Later(Mapping[str, Any]):
    """A mapping that is made when somebody first looks at it, which is after the flip."""

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make: Callable[[], dict[str, Any]] | None = make
        self._made: dict[str, Any] = {}

    def _content(self) -> dict[str, Any]:
        if self._make is not None:
            self._made, self._make = self._make(), None  # and lets go of what it was made from
        return self._made

    def __getitem__(self, key: str) -> Any:
        return self._content()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content())

    def __len__(self) -> int:
        return len(self._content())


class Layout:
    """Collects sections behind the header, each at a multiple of 8 bytes; CapacityError beyond ``limit``."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[tuple[int, Section]] = []
        self.size = 0

    def add(self, section: Section) -> int:
        """Append a section; returns its offset."""
        place = self.size
        length = section.nbytes if isinstance(section, np.ndarray) else len(section)
        self.size += (length + 7) // 8 * 8
        self._parts.append((place, section))
        return place

    def reserve(self, length: int) -> int:
        """Room for something that is known only later; see :meth:`fill`."""
        place = self.size
        self.size += (length + 7) // 8 * 8
        return place

    def spare(self, length: int) -> int:
        """Room of that many bytes for later, or of what the limit leaves; returns how many."""
        length = max(0, min(length, self._limit - self.size)) // 8 * 8
        self.size += length
        return length

    def fill(self, place: int, section: Section) -> None:
        """What belongs into reserved room."""
        self._parts.append((place, section))

    def finish(self) -> bytearray:
        """All sections in one piece; lets go of each as it is copied."""
        if self.size > self._limit:
            raise CapacityError(IMAGE_BYTES, self.size, self._limit)
        whole = bytearray(self.size)
        while self._parts:
            place, section = self._parts.pop()
            if isinstance(section, np.ndarray):
                room = np.frombuffer(whole, section.dtype, section.size, place).reshape(section.shape)
                room[:] = section
            else:
                whole[place : place + len(section)] = section
        return whole


def page_hash(image: bytes | bytearray | memoryview, page: int) -> int:
    """The hash of one page of an image and its place; what an edit does not count in is taken as 0."""
    content = bytes(image[page * PAGE : (page + 1) * PAGE])
    if page == 0:
        content = content[:EDITS_AT] + bytes(abi.IMAGE_HEADER.size - EDITS_AT) + content[HASH_AT + 8 :]
    return int.from_bytes(blake2b(content, digest_size=8, key=page.to_bytes(4, "little")).digest(), "little")


def image_hash(image: bytes | bytearray | memoryview) -> int:
    """The hash of an image: its pages' hashes, each at its place, joined by XOR."""
    view = memoryview(image)
    found = 0
    for page in range((len(view) + PAGE - 1) // PAGE):
        found ^= page_hash(view, page)
    return found


def compiled_hash(image: bytes | bytearray | memoryview) -> int:
    """The hash that an image was compiled with, whatever was edited since."""
    return int.from_bytes(image[COMPILED_AT : COMPILED_AT + 8], "little")


def seal(data: bytearray) -> None:
    """Write the image's hash into the header: as its own, and as the one it was compiled with."""
    data[COMPILED_AT : COMPILED_AT + 8] = data[HASH_AT : HASH_AT + 8] = image_hash(data).to_bytes(8, "little")
