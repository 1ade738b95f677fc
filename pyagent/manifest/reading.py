"""Text to plain values with their lines: safe YAML (and JSON) that no file can turn against the reader.

Only text, numbers, booleans, null, lists and objects exist; no tag makes anything else. Nesting, anchors and
size are bounded, a key given twice is refused. Scalars follow what Kubernetes' tools do: ``yes`` and ``on``
are booleans, dates are text, and there are no base-60 numbers (``20:22`` is a port range, not 1222).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import yaml

from pyagent.errors import Problem
from pyagent.manifest.building import MAX_DEPTH, UNICODE_BREAKS, Builder, RefusedError
from pyagent.manifest.paths import Positions

#: Longest text that is read, in characters.
MAX_TEXT = 32 * 1024 * 1024
#: The path that problems of a whole document bear.
WHOLE = "document"

_SEPARATOR = re.compile(r"^---(?=\s|$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class RawDocument:
    """One document as plain values. ``problems`` non-empty: it cannot be read, ``value`` is None."""

    value: Any
    positions: Positions
    line: int
    problems: tuple[Problem, ...] = ()


def read(text: str) -> list[RawDocument]:
    """All documents of ``text`` but empty ones; one that cannot be read does not spoil the others."""
    if len(text) > MAX_TEXT:
        return [_unreadable(f"longer than {MAX_TEXT} characters", 1)]
    found = [document for chunk, first_line in _chunks(text) for document in _read_chunk(chunk, first_line)]
    return [document for document in found if document.problems or document.value is not None]


def _chunks(text: str) -> Iterator[tuple[str, int]]:
    """The pieces between ``---`` lines, each with the number of its first line.

    In YAML no content can have ``---`` at the beginning of a line, so that splitting there is exact.
    """
    starts = [0, *(match.start() for match in _SEPARATOR.finditer(text) if match.start()), len(text)]
    line, pending = 1, ""
    for start, end in pairwise(starts):
        piece = pending + text[start:end]
        pending = ""
        if end < len(text) and _is_only_directives(piece):
            pending = piece
            continue
        if piece.strip() not in {"", "---"}:
            yield piece, line
        line += piece.count("\n")


def _is_only_directives(piece: str) -> bool:
    """Whether ``piece`` has ``%`` lines and otherwise nothing: then it belongs to the document behind it."""
    seen = False
    for line in piece.splitlines():
        if line.startswith("%"):
            seen = True
        elif line.strip() and not line.lstrip().startswith("#"):
            return False
    return seen


def _read_chunk(chunk: str, first_line: int) -> list[RawDocument]:
    builder = Builder(first_line)
    looks_like_json = chunk.lstrip().startswith(("{", "["))
    if looks_like_json and UNICODE_BREAKS.intersection(chunk) and (document := _read_json(chunk, first_line)):
        return [document]
    try:
        for event in yaml.parse(chunk, Loader=_LOADER):
            builder.take(event)
    except RefusedError as refusal:
        problem = Problem(refusal.path or WHOLE, refusal.reason, line=refusal.line)
        return [RawDocument(None, Positions(), first_line, (problem,))]
    except yaml.YAMLError as error:
        if looks_like_json and (document := _read_json(chunk, first_line)):
            return [document]
        return [_yaml_error(error, chunk, first_line)]
    except UnicodeEncodeError:
        return [_unreadable("contains a character that is no Unicode character", first_line)]
    return [
        RawDocument(None if problems else value, positions, line, tuple(problems))
        for value, positions, line, problems in builder.documents
    ]


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _read_json(text: str, first_line: int) -> RawDocument | None:
    """``text`` as JSON, for what YAML reads otherwise or not (tabs, surrogate pairs); without lines."""
    repeated: list[Problem] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            keys = [key for key, _ in pairs]
            key = next(key for key in keys if keys.count(key) > 1)
            repeated.append(Problem(WHOLE, f"key {key!r} is given twice in one object", line=first_line))
        return result

    try:
        value = json.loads(text, object_pairs_hook=unique)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    if _deeper_than(value, MAX_DEPTH):
        return _unreadable(f"nested deeper than {MAX_DEPTH} levels", first_line)
    positions = Positions({"": first_line})
    return RawDocument(None if repeated else value, positions, first_line, tuple(repeated))


def _deeper_than(value: Any, depth: int) -> bool:
    level = [value]
    while level and depth >= 0:
        depth -= 1
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


def _yaml_error(error: yaml.YAMLError, chunk: str, first_line: int) -> RawDocument:
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
    if context := getattr(error, "context", None):
        reason = f"{context}: {reason}"
    if mark is not None:
        return _unreadable(reason, first_line + mark.line)
    position = getattr(error, "position", 0)
    line = first_line + chunk.encode("utf-8", "replace")[:position].count(b"\n")
    return _unreadable(reason, line)


def _unreadable(reason: str, line: int) -> RawDocument:
    return RawDocument(None, Positions(), line, (Problem(WHOLE, f"cannot be read: {reason}", line=line),))
