"""Images on disk: the agent keeps the one in force beside what people need to know of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyagent import abi
from pyagent.compiler.image import image_hash
from pyagent.compiler.walk import Walker
from pyagent.errors import AutohepError, DriftError

#: Names of the two files in a directory.
IMAGE: Final = "image.bin"
METADATA: Final = "image.json"


@dataclass(frozen=True, slots=True)
class Saved:
    """An image and its metadata, of the same generation and undamaged."""

    path: Path
    walker: Walker
    metadata: dict[str, Any]
    size: int

    @property
    def generation(self) -> int:
        """The generation it was compiled for."""
        return self.walker.header["generation"]


def load(directory: Path) -> Saved:
    """Read what was saved in ``directory``.

    Raises AutohepError if there is nothing, DriftError if it is damaged, of another version of the program,
    or of two generations.
    """
    data, metadata = _bytes(directory / IMAGE), load_metadata(directory)
    walker = open_image(data, str(directory / IMAGE))
    if metadata["generation"] != walker.header["generation"]:
        raise DriftError(
            f"{directory}: {IMAGE} is of generation {walker.header['generation']}, "
            f"{METADATA} of generation {metadata['generation']}"
        )
    return Saved(directory, walker, metadata, len(data))


def load_metadata(directory: Path) -> dict[str, Any]:
    """Read the metadata alone. Raises AutohepError if there is none, DriftError if it is damaged."""
    path = directory / METADATA
    try:
        metadata = json.loads(_bytes(path))
    except ValueError as error:
        raise DriftError(f"{path} is damaged: {error}") from error
    if not isinstance(metadata, dict) or not isinstance(metadata.get("generation"), int):
        raise DriftError(f"{path} is damaged: it names no generation")
    return metadata


def open_image(data: bytes, place: str) -> Walker:
    """Open an image's bytes; DriftError, naming ``place``, if they are not what was sealed."""
    if len(data) >= abi.IMAGE_HEADER.size:
        header = dict(zip(abi.IMAGE_HEADER_FIELDS, abi.IMAGE_HEADER.unpack_from(data), strict=True))
        if header["magic"] == abi.IMAGE_MAGIC and header["abi"] != abi.ABI_VERSION:
            raise DriftError(
                f"{place} was saved by another version of the agent, in layout {header['abi']} where this "
                f"one has {abi.ABI_VERSION}; the agent saves it anew as soon as it has read the datastore"
            )
    try:
        walker = Walker(data)
    except DriftError as error:
        raise DriftError(f"{place}: {error}") from error
    if image_hash(walker.whole) != walker.header["hash"]:
        raise DriftError(f"{place} is damaged: its contents do not have the hash that its header names")
    return walker


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise AutohepError(f"{path} does not exist: no agent has saved an image there") from error
    except OSError as error:
        raise AutohepError(f"cannot read {path}: {error.strerror}") from error
