"""Manifests given with ``-f``, as the verbs need them: read completely, and refused completely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyagent import manifest
from pyagent.cli.kinds import find_kind, kind_of
from pyagent.cli.outcome import Outcome, Verb, file_failure
from pyagent.cli.targets import DEFAULT_NAMESPACE, Target
from pyagent.errors import ManifestError, Problem, UsageError
from pyagent.manifest import Document
from pyagent.manifest.reading import read
from pyagent.model import KINDS, Resource


def read_documents(filenames: Sequence[str], recursive: bool) -> list[Document]:
    """Every document of the files, good and bad."""
    if not filenames:
        raise UsageError("no manifests given; name a file, a directory or - with -f")
    return manifest.load_paths(filenames, recursive=recursive)


def read_named(filenames: Sequence[str], recursive: bool) -> list[Target]:
    """What the files name. The contents need not be valid: kind and name are enough to find a resource."""
    documents = read_documents(filenames, recursive)
    nameless = [document for document in documents if not (document.kind in KINDS and document.name)]
    if nameless:
        raise file_failure([problem for document in nameless for problem in document.problems])
    return [_target(document) for document in documents]


def _target(document: Document) -> Target:
    if document.resource is not None:
        return target_of(document.resource)
    kind = find_kind(document.kind)
    return Target(kind, document.name, DEFAULT_NAMESPACE if kind.namespaced else "")


def read_valid(filenames: Sequence[str], recursive: bool, verb: Verb) -> list[Resource]:
    """The resources of the files; one defect anywhere refuses them all, so that nothing is half applied."""
    documents = read_documents(filenames, recursive)
    report_invalid(documents, verb)
    return [document.resource for document in documents if document.resource is not None]


def report_invalid(documents: Sequence[Document], verb: Verb, done: int = 0) -> None:
    """Raise :class:`Failure` with every problem, if there is one; ``done`` documents were dealt with anyhow.

    The message names the kind where the documents at least say what they are; else the file is at fault.
    """
    problems = [problem for document in documents for problem in document.problems]
    if any(document.problems and document.kind not in KINDS for document in documents):
        raise file_failure(problems)
    if problems:
        errors = [str(problem) for problem in problems]
        kinds = [document.kind for document in (documents if done else _invalid(documents))]
        Outcome(verb, kinds, done, errors).report()


def _invalid(documents: Sequence[Document]) -> list[Document]:
    return [document for document in documents if document.problems]


def target_of(resource: Resource) -> Target:
    """Where a resource stands."""
    kind = kind_of(resource)
    namespace = (resource.metadata.namespace or DEFAULT_NAMESPACE) if kind.namespaced else ""
    return Target(kind, resource.name, namespace)


def parse_yaml(text: str, source: str) -> Any:
    """One YAML (or JSON) document that is no resource, as builtins; None if there is nothing.

    Raises ManifestError that names ``source`` and the line.
    """
    documents = read(text)
    problems = [
        document.positions.placed(problem, source) for document in documents for problem in document.problems
    ]
    if len(documents) > 1:
        problems.append(
            Problem("document", "only one document is expected", line=documents[1].line, file=source)
        )
    if problems:
        raise ManifestError(problems)
    return documents[0].value if documents else None
