"""Where resources are kept: one protocol; a directory of YAML files or a cluster's API server behind it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from pyagent.datastore.embedded import RESYNC_S, EmbeddedDatastore
from pyagent.datastore.leases import Lease, Leases
from pyagent.datastore.protocol import Datastore, EventType, WatchEvent
from pyagent.datastore.reports import Reports
from pyagent.errors import DatastoreError

__all__ = [
    "Datastore",
    "EmbeddedDatastore",
    "EventType",
    "Lease",
    "Leases",
    "Reports",
    "WatchEvent",
    "open_datastore",
]


def open_datastore(url: str, resync: float = RESYNC_S) -> Datastore:
    """The datastore at ``url``: ``dir:///absolute/path`` or a plain path, or ``kubernetes:`` for a cluster.

    ``kubernetes:`` alone is the cluster this pod runs in; ``kubernetes:///?kubeconfig=PATH&context=NAME``
    names one. ``resync``: seconds between full comparisons of a directory's watch. Raises DatastoreError for
    an unknown scheme, or a directory or configuration that cannot be used.
    """
    if url.startswith("kubernetes:"):
        # A directory's users must not pay for loading this.
        from pyagent.datastore.kubernetes import open_kubernetes  # noqa: PLC0415

        return open_kubernetes(url)
    if "://" not in url and not url.startswith("dir:"):
        if not url:
            raise DatastoreError("no datastore given")
        return EmbeddedDatastore(Path(url).absolute(), resync)
    parts = urlsplit(url)
    if parts.scheme != "dir" or parts.netloc or not parts.path.startswith("/"):
        msg = f"datastore {url!r} is not supported: give a path, dir:///absolute/path or kubernetes:"
        raise DatastoreError(msg)
    return EmbeddedDatastore(Path(unquote(parts.path)), resync)
