"""The names of automatic host endpoints."""

from __future__ import annotations

import base64
import hashlib

_SUFFIX = "auto-hep"
_NAME_LIMIT = 253
_NOT_IN_HASHED_NAMES = str.maketrans("", "", "-_.")


def endpoint_name(node: str, template: str = "", interface: str = "") -> str:
    """The name of a node's default endpoint, of a template's, or of a template's for one interface.

    A name beyond 253 characters is replaced by its hash; node and template can then be read from the spec
    only.
    """
    name = "-".join(part for part in (node, template, interface, _SUFFIX) if part)
    if len(name) <= _NAME_LIMIT:
        return name
    digest = base64.urlsafe_b64encode(hashlib.sha256(name.encode()).digest()).decode().rstrip("=")
    return f"{digest.translate(_NOT_IN_HASHED_NAMES)}-{_SUFFIX}".lower()[:_NAME_LIMIT]
