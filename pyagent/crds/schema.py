"""The model's types as structural OpenAPI v3 schemas, narrowed by the table of limits."""

from __future__ import annotations

import types
from enum import StrEnum
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from pyagent.crds.limits import FIELDS, OPEN_STRUCTS, REQUIRED, RULES

Schema = dict[str, Any]

_SCALARS: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
#: Kept in the object under names of their own, not as a field of this name.
_FOLDED = frozenset({"upstream"})


def struct_schema(cls: type[msgspec.Struct], leave_out: frozenset[str] = _FOLDED) -> Schema:
    """The schema of one struct of the model; ``leave_out`` are fields that get none."""
    hints = get_type_hints(cls)
    properties = {
        field.encode_name: field_schema(cls, field.name, hints[field.name])
        for field in msgspec.structs.fields(cls)
        if field.name not in leave_out
    }
    schema: Schema = {"type": "object", "properties": properties}
    if description := _description(cls):
        schema["description"] = description
    if required := REQUIRED.get(cls):
        schema["required"] = sorted(required)
    if cls in OPEN_STRUCTS:
        schema["x-kubernetes-preserve-unknown-fields"] = True
    if rules := RULES.get(cls):
        schema["x-kubernetes-validations"] = [{"rule": rule, "message": message} for rule, message in rules]
    return schema


def field_schema(cls: type[msgspec.Struct], name: str, annotation: Any) -> Schema:
    """The schema of one field: its type, and what the tables say of it."""
    limits = FIELDS.get((cls, name), {})
    if limits.get("x-kubernetes-preserve-unknown-fields"):
        return dict(limits)
    schema = _of_type(_without_none(annotation))
    items = limits.get("items")
    schema |= {key: value for key, value in limits.items() if key != "items"}
    if items:
        schema["items"] = {**schema["items"], **items}
    return schema


def _of_type(wanted: Any) -> Schema:
    if isinstance(wanted, type) and issubclass(wanted, StrEnum):
        wanted = str  # only statuses have such, and another release may know more words
    if wanted in _SCALARS:
        return {"type": _SCALARS[wanted]}
    if _is_union(wanted) and set(get_args(wanted)) == {int, str}:
        return {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        return struct_schema(wanted)
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin is tuple:
        return {"type": "array", "items": _of_type(arguments[0])}
    if origin is dict and arguments[1] in (str, int):
        return {"type": "object", "additionalProperties": {"type": _SCALARS[arguments[1]]}}
    if origin is dict:
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    msg = f"no schema for {wanted}"
    raise TypeError(msg)


def _is_union(wanted: Any) -> bool:
    return get_origin(wanted) in (Union, types.UnionType)


def _without_none(wanted: Any) -> Any:
    if not _is_union(wanted):
        return wanted
    rest = tuple(argument for argument in get_args(wanted) if argument is not type(None))
    return rest[0] if len(rest) == 1 else Union[rest]  # noqa: UP007 (made of a tuple)


def _description(cls: type[msgspec.Struct]) -> str:
    return (cls.__doc__ or "").partition("\n\n")[0].replace("``", "").strip()
