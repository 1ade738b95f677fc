"""Where each resource's file lies: ``<plural>/<name>.yaml``, or ``<plural>/<namespace>/<name>.yaml``.

Names come from users, so nothing reaches a path unless it is a DNS-1123 subdomain: no slash, no leading dot.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from pyagent.errors import DatastoreError
from pyagent.model import KINDS

SUFFIX = ".yaml"
#: Last good versions, in the same tree below this directory.
LAST_GOOD = ".last-good"
LOCK = ".lock"
REVISION = ".revision"

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NAME_LIMIT = 253
#: A directory entry has at most 255 bytes, a name up to 253 characters and a suffix.
_STEM_LIMIT = 255 - len(SUFFIX)
_KEPT_OF_LONG_NAME = 180

_BY_PLURAL = {kind.PLURAL: kind for kind in KINDS.values()}
#: Every kind's directory.
PLURALS = tuple(_BY_PLURAL)


def is_name(text: str) -> bool:
    """Whether ``text`` is a DNS-1123 subdomain of at most 253 characters."""
    return len(text) <= _NAME_LIMIT and _SUBDOMAIN.fullmatch(text) is not None


def file_name(name: str) -> str:
    """The file of the resource ``name``. Names too long for a directory entry are cut and marked with a hash.

    A cut name has a ``~``, which no name can contain, so that no two resources share a file.
    """
    if len(name) > _STEM_LIMIT:
        name = f"{name[:_KEPT_OF_LONG_NAME]}~{hashlib.sha256(name.encode()).hexdigest()}"
    return name + SUFFIX


def is_resource_file(file: str) -> bool:
    """Whether an entry of a directory is meant as a resource; temporary and editors' files are not."""
    return file.endswith(SUFFIX) and not file.startswith((".", "#"))


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """One resource's place; ``file`` is ``<name>.yaml`` for names of usual length."""

    kind: str
    namespace: str
    file: str

    @property
    def name(self) -> str:
        """The resource's name as far as the file's name tells it."""
        return self.file.removesuffix(SUFFIX)

    @property
    def path(self) -> str:
        """The path below the datastore's directory, as text: thousands are made at a start."""
        plural = KINDS[self.kind].PLURAL
        return f"{plural}/{self.namespace}/{self.file}" if self.namespace else f"{plural}/{self.file}"

    @property
    def relative(self) -> Path:
        """The path below the datastore's directory."""
        return Path(self.path)


def slot_of(kind: str, namespace: str, name: str) -> Slot | None:
    """The place of a resource, or None if no resource of that kind can have such a name or namespace."""
    namespaced = kind_directory(kind)[1]
    if not is_name(name) or (not is_name(namespace) if namespaced else bool(namespace)):
        return None
    return Slot(kind, namespace, file_name(name))


def slot_at(relative: Path) -> Slot | None:
    """The place that a path below the datastore's directory is, or None if it is none."""
    plural, *namespace, file = relative.parts if len(relative.parts) > 1 else ("", "")
    kind = _BY_PLURAL.get(plural)
    if kind is None or len(namespace) != int(kind.NAMESPACED) or not is_resource_file(file):
        return None
    if not all(is_name(part) for part in namespace):
        return None
    return Slot(kind.KIND, "".join(namespace), file)


def kind_directory(kind: str) -> tuple[str, bool]:
    """The directory of a kind and whether namespaces are directories below it."""
    try:
        return KINDS[kind].PLURAL, KINDS[kind].NAMESPACED
    except KeyError:
        msg = f"resource type '{kind}' is not supported"
        raise DatastoreError(msg) from None
