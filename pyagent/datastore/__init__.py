"""Where resources are kept: one protocol, and the embedded store in a directory of YAML files."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from pyagent.datastore.embedded import RESYNC_S, EmbeddedDatastore
from pyagent.datastore.protocol import Datastore, EventType, WatchEvent
from pyagent.errors import DatastoreError

__all__ = ["Datastore", "EmbeddedDatastore", "EventType", "WatchEvent", "open_datastore"]


def open_datastore(url: str, resync: float = RESYNC_S) -> Datastore:
    """The datastore at ``url``: ``dir:///absolute/path`` or a plain path.

    ``resync``: seconds between a watch's full comparisons. Raises DatastoreError for an unknown scheme or a
    directory that cannot be used.
    """
    if "://" not in url and not url.startswith("dir:"):
        if not url:
            raise DatastoreError("no datastore given")
        return EmbeddedDatastore(Path(url).absolute(), resync)
    parts = urlsplit(url)
    if parts.scheme != "dir" or parts.netloc or not parts.path.startswith("/"):
        msg = f"datastore {url!r} is not supported: give a path or dir:///absolute/path"
        raise DatastoreError(msg)
    return EmbeddedDatastore(Path(unquote(parts.path)), resync)
