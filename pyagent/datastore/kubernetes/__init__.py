"""The datastore in a cluster's API server; the only home of the ``kubernetes`` package.

Importing this costs a third of a second and 40 MB: ``open_datastore`` does so only when it has to.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from pyagent.datastore.kubernetes.connection import Connection
from pyagent.datastore.kubernetes.pace import Pace
from pyagent.datastore.kubernetes.store import KubernetesDatastore
from pyagent.errors import DatastoreError

__all__ = ["KubernetesDatastore", "Pace", "open_kubernetes"]


def open_kubernetes(url: str, pace: Pace | None = None) -> KubernetesDatastore:
    """The datastore at ``kubernetes:`` (in a pod: its cluster) or ``kubernetes:///?kubeconfig=PATH&context=NAME``.

    Nothing is sent yet. Raises DatastoreError for a bad URL or a configuration that cannot be read.
    """
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    options = dict(pairs)
    known = options.keys() <= {"kubeconfig", "context"} and len(options) == len(pairs)
    if parts.scheme != "kubernetes" or parts.netloc or parts.path not in ("", "/") or not known:
        msg = f"datastore {url!r} is not supported: give kubernetes: or kubernetes:///?kubeconfig=PATH&context=NAME"
        raise DatastoreError(msg)
    if options.get("context") and not options.get("kubeconfig"):
        raise DatastoreError(f"datastore {url!r}: a context needs a kubeconfig")
    return KubernetesDatastore(Connection(options.get("kubeconfig", ""), options.get("context", ""), pace))
