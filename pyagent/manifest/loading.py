"""From text and files to documents: each either a valid, defaulted resource or the list of its problems."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyagent.errors import ManifestError, Problem
from pyagent.manifest.decoding import convert, kind_of
from pyagent.manifest.defaults import default
from pyagent.manifest.paths import Positions
from pyagent.manifest.reading import RawDocument, read
from pyagent.manifest.validation import validate
from pyagent.model import KINDS, Resource

#: The name that problems give to standard input.
STANDARD_INPUT = "<stdin>"
_ENDINGS = frozenset({".yaml", ".yml", ".json"})


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file; ``resource`` is None exactly when there are ``problems``.

    ``kind`` and ``name`` are what the document says, as far as it says it; ``line`` is where it begins, and
    ``positions`` has the lines of its fields.
    """

    resource: Resource | None
    problems: tuple[Problem, ...] = ()
    kind: str = ""
    name: str = ""
    file: str = ""
    line: int = 0
    positions: Positions = field(default_factory=Positions, repr=False, compare=False)


def load(text: str, file: str = "") -> list[Document]:
    """Every document of ``text`` (YAML or JSON); lists are taken apart, empty documents left out."""
    return [document for raw in read(text) for document in _documents(raw, file)]


def load_paths(paths: Sequence[str], recursive: bool = False) -> list[Document]:
    """The documents of files, of directories (``.yaml``, ``.yml``, ``.json``) and of ``-``, standard input.

    Subdirectories are read only if ``recursive``. What cannot be read becomes a document with that problem.
    """
    return [document for path in paths for document in _load_path(path, recursive=recursive)]


def decode(obj: dict[str, Any], file: str = "", lines: Positions | None = None) -> Resource:
    """``obj`` strictly decoded, defaulted and validated. Raises ManifestError with every problem."""
    resource, problems = _decode(obj, file, lines or Positions())
    if resource is None:
        raise ManifestError(problems)
    return resource


def _decode(value: Any, file: str, positions: Positions) -> tuple[Resource | None, list[Problem]]:
    cls, problems = kind_of(value)
    if cls is not None:
        resource, problems = convert(value, cls, positions)
        if resource is not None:
            resource = default(resource)
            problems = validate(resource)
            if not problems:
                return resource, []
    return None, [positions.placed(problem, file) for problem in problems]


def _documents(raw: RawDocument, file: str) -> Iterator[Document]:
    if raw.problems:
        problems = tuple(raw.positions.placed(problem, file) for problem in raw.problems)
        yield Document(None, problems, file=file, line=raw.line)
        return
    for value, positions in _items(raw.value, raw.positions):
        resource, found = _decode(value, file, positions)
        kind, name = _called(value)
        yield Document(resource, tuple(found), kind, name, file, positions.line(""), positions)


def _items(value: Any, positions: Positions) -> Iterator[tuple[Any, Positions]]:
    """``value`` itself, or the items of a bare array, a ``List`` or a ``<Kind>List``."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _items(item, positions.below(index))
        return
    item_kind = _item_kind(value)
    if item_kind is None:
        yield value, positions
        return
    inside = positions.below("items")
    items = value.get("items") or []
    if not isinstance(items, list):
        yield value, positions
        return
    for index, item in enumerate(items):
        if item_kind and isinstance(item, dict) and "kind" not in item:
            item = {"apiVersion": value.get("apiVersion"), "kind": item_kind, **item}  # noqa: PLW2901
        yield from _items(item, inside.below(index))


def _item_kind(value: Any) -> str | None:
    """The kind of a list's items that do not say it (empty: they do say it); None when it is no list."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or not kind.endswith("List"):
        return None
    item_kind = kind.removesuffix("List")
    return item_kind if not item_kind or item_kind in KINDS else None


def _called(value: Any) -> tuple[str, str]:
    if not isinstance(value, dict):
        return "", ""
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    kind = value.get("kind")
    return kind if isinstance(kind, str) else "", name if isinstance(name, str) else ""


def _load_path(path: str, *, recursive: bool) -> list[Document]:
    if path == "-":
        return _load_bytes(sys.stdin.buffer.read(), STANDARD_INPUT)
    try:
        files = _files(Path(path), recursive=recursive)
    except OSError as error:
        return [_unreadable(path, error.strerror or str(error))]
    return [document for file in files for document in _load_file(file)]


def _files(path: Path, *, recursive: bool) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = path.rglob("*") if recursive else path.iterdir()
    return sorted(file for file in found if file.suffix in _ENDINGS and file.is_file())


def _load_file(path: Path) -> list[Document]:
    try:
        content = path.read_bytes()
    except OSError as error:
        return [_unreadable(str(path), error.strerror or str(error))]
    return _load_bytes(content, str(path))


def _load_bytes(content: bytes, file: str) -> list[Document]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return [_unreadable(file, "cannot be read: not UTF-8", line)]
    return load(text, file)


def _unreadable(file: str, reason: str, line: int = 0) -> Document:
    problem = Problem("file", reason, line=line, file=file)
    return Document(None, (problem,), file=file, line=line)
