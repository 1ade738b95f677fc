"""The lines of a watch: whole, bounded, and as values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from pyagent.datastore.kubernetes.errors import UnreachableError

#: Longest line; the largest object a server stores is about 1.5 MB.
MAX_LINE = 32 * 1024 * 1024


class Event(msgspec.Struct, frozen=True):
    """One event as it was sent."""

    type: str
    object: msgspec.Raw


class _BookmarkMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    annotations: dict[str, str] | None = None


class _Bookmark(msgspec.Struct):
    metadata: _BookmarkMeta


_decode = msgspec.json.Decoder(Event).decode


def events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """The events in a stream. Half a line at its end is no event; raises UnreachableError for garbage."""
    for line in _lines(chunks):
        try:
            yield _decode(line)
        except msgspec.MsgspecError as error:
            msg = f"the API server sent what is no watch event: {line[:80]!r}"
            raise UnreachableError(msg) from error


def bookmark(event: Event) -> tuple[str, bool]:
    """The resourceVersion of a bookmark, and whether the initial events of a WatchList end with it."""
    metadata = msgspec.json.decode(event.object, type=_Bookmark).metadata
    return metadata.resource_version, (metadata.annotations or {}).get("k8s.io/initial-events-end") == "true"


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line for line in whole if line.strip())
        if len(rest) > MAX_LINE:
            raise UnreachableError("the API server sent an event without end")
