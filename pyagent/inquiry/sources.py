"""Resources together with the places they stand at, from files or from a datastore."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyagent.errors import ManifestError, Problem
from pyagent.manifest import Document, load_paths
from pyagent.model import KINDS, Resource

if TYPE_CHECKING:
    from pyagent.datastore import Datastore

#: Kind, namespace, name.
Key = tuple[str, str, str]


def key_of(resource: Resource) -> Key:
    """What tells a resource from all others."""
    return resource.KIND, resource.metadata.namespace, resource.name


@dataclass(frozen=True, slots=True)
class Sources:
    """Resources, each once, and the documents they come from (none for those of a datastore)."""

    resources: tuple[Resource, ...]
    documents: Mapping[Key, Document] = field(default_factory=dict)

    def place(self, kind: str, name: str, path: str = "") -> tuple[str, int]:
        """File and line of a resource, or of a field of it; ``("", 0)`` where it comes from no file."""
        document = self.documents.get((kind, "", name))
        return ("", 0) if document is None else (document.file, document.positions.line(path))

    def where(self, kind: str, name: str, path: str = "") -> str:
        """The place as ``file:line``; empty where it comes from no file."""
        file, line = self.place(kind, name, path)
        return f"{file}:{line}" if file and line else file


def from_documents(documents: Iterable[Document]) -> Sources:
    """The resources of documents. Raises ManifestError if one is invalid or given twice."""
    problems: list[Problem] = []
    found: dict[Key, Document] = {}
    resources: list[Resource] = []
    for document in documents:
        problems += document.problems
        if document.resource is None:
            continue
        first = found.setdefault(key_of(document.resource), document)
        if first is not document:
            problems.append(_twice(document, first))
        resources.append(document.resource)
    if problems:
        raise ManifestError(problems)
    return Sources(tuple(resources), found)


def _twice(document: Document, first: Document) -> Problem:
    reason = f"{document.kind} is given twice, first at {first.file}:{first.line}"
    line = document.positions.line("metadata.name")
    return Problem("metadata.name", reason, document.name, line, document.file)


def from_paths(paths: Sequence[str], *, recursive: bool = False) -> Sources:
    """The resources of files and directories; policy tests that lie beside them are passed over.

    Raises ManifestError as :func:`from_documents`.
    """
    return from_documents(documents_of(paths, recursive=recursive))


def documents_of(paths: Sequence[str], *, recursive: bool = False) -> list[Document]:
    """The documents of files and directories, without the policy tests found in directories."""
    found = []
    for path in paths:
        documents = load_paths([path], recursive=recursive)
        found += [each for each in documents if each.file == path or not _is_policy_test(each)]
    return found


def _is_policy_test(document: Document) -> bool:
    return not document.kind and "cases" in document.positions.lines


def from_datastore(datastore: Datastore) -> Sources:
    """Everything that a datastore holds."""
    return Sources(tuple(resource for kind in KINDS for resource in datastore.list(kind)[0]))
