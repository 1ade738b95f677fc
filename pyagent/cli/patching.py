"""The three kinds of patch, on builtins: strategic merge, JSON merge (RFC 7386) and JSON Patch (RFC 6902)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from pyagent.errors import AutohepError

#: The directive of a strategic merge patch; the only one that means something for kinds without list keys.
DIRECTIVE = "$patch"


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386: maps are merged, null removes a field, everything else (lists too) is replaced."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def strategic_patch(target: Any, patch: Any) -> Any:
    """A merge in which ``$patch: replace`` or ``$patch: delete`` in a map replaces or empties that map.

    Lists are replaced whole: none of the kinds declares a key by which its list entries could be told apart.
    """
    if not isinstance(patch, dict):
        return deepcopy(patch)
    directive = patch.get(DIRECTIVE, "merge")
    if directive not in {"merge", "replace", "delete"}:
        raise AutohepError(f"unknown {DIRECTIVE} directive '{directive}' (known: merge, replace, delete)")
    if directive == "delete":
        return {}
    merged = dict(target) if isinstance(target, dict) and directive == "merge" else {}
    for key, value in patch.items():
        if key == DIRECTIVE:
            continue
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = strategic_patch(merged.get(key), value)
    return merged


def json_patch(target: Any, operations: Any) -> Any:
    """RFC 6902: a list of operations, all of which must succeed."""
    if not isinstance(operations, list):
        raise AutohepError(
            "a JSON patch is a list of operations such as {op: replace, path: /spec/order, value: 1}"
        )
    document = {"": deepcopy(target)}
    for number, operation in enumerate(operations):
        try:
            _operate(document, operation)
        except _PatchError as error:
            raise AutohepError(f"operation {number} of the JSON patch: {error}") from error
    return document[""]


class _PatchError(Exception):
    """An operation cannot be done."""


def _operate(document: dict[str, Any], operation: Any) -> None:
    name = _member(operation, "op")
    path = ["", *_pointer(_member(operation, "path"))]
    match name:
        case "add":
            _add(document, path, deepcopy(_member(operation, "value")))
        case "remove":
            _remove(document, path)
        case "replace":
            value = deepcopy(_member(operation, "value"))
            _remove(document, path)
            _add(document, path, value)
        case "move" | "copy":
            source = ["", *_pointer(_member(operation, "from"))]
            if name == "move" and path[: len(source)] == source and path != source:
                raise _PatchError("cannot move a value into itself")
            value = deepcopy(_find(document, source))
            if name == "move":
                _remove(document, source)
            _add(document, path, value)
        case "test":
            if not _same(_find(document, path), _member(operation, "value")):
                raise _PatchError(f"the value at {operation['path']} differs from the one tested for")
        case _:
            raise _PatchError(f"unknown op '{name}' (known: add, remove, replace, move, copy, test)")


def _member(operation: Any, key: str) -> Any:
    if not isinstance(operation, dict) or key not in operation:
        raise _PatchError(f"needs the member '{key}'")
    return operation[key]


def _pointer(text: Any) -> list[str]:
    """RFC 6901: the steps of ``/spec/controllers``; ``~1`` is a slash and ``~0`` a tilde."""
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise _PatchError(f"'{text}' is not a path such as /spec/order")
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def _find(document: Any, path: list[str]) -> Any:
    value = document
    for depth, step in enumerate(path):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list):
            value = value[_position(value, step, path, len(value) - 1)]
        else:
            raise _PatchError(f"there is nothing at {'/'.join(path[: depth + 1])}")
    return value


def _position(items: list[Any], step: str, path: list[str], highest: int) -> int:
    plain = step.isascii() and step.isdigit() and (step == "0" or not step.startswith("0"))
    if not plain or int(step) > highest:
        raise _PatchError(f"'{step}' in {'/'.join(path)} is not a position in a list of {len(items)}")
    return int(step)


def _add(document: Any, path: list[str], value: Any) -> None:
    parent, step = _find(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[step] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if step == "-" else _position(parent, step, path, len(parent)), value)
    else:
        raise _PatchError(f"{'/'.join(path[:-1])} has no fields")


def _remove(document: Any, path: list[str]) -> None:
    _find(document, path)
    parent, step = _find(document, path[:-1]), path[-1]
    del parent[step if isinstance(parent, dict) else int(step)]


def _same(one: Any, other: Any) -> bool:
    """Equality of JSON: unlike Python's, true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
