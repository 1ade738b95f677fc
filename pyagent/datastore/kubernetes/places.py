"""Where the API server serves each kind."""

from __future__ import annotations

from pyagent.datastore.layout import is_name, kind_directory
from pyagent.errors import NotFoundError
from pyagent.model import KINDS


def group_path(kind: str) -> str:
    """The path of a kind's group and version."""
    version = KINDS[kind].API_VERSION
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def collection(kind: str, namespace: str = "") -> str:
    """The path of all objects of a kind, or of those in one namespace. DatastoreError for an unknown kind."""
    plural, _ = kind_directory(kind)
    inside = f"namespaces/{namespace}/" if namespace else ""
    return f"{group_path(kind)}/{inside}{plural}"


def item(kind: str, name: str, namespace: str = "") -> str:
    """The path of one object. NotFoundError if no object of that kind can have such a name."""
    _, namespaced = kind_directory(kind)
    if not is_name(name) or (not is_name(namespace) if namespaced else bool(namespace)):
        raise NotFoundError(kind, name)
    return f"{collection(kind, namespace)}/{name}"
