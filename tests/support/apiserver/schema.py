"""Structural schemas at work: prune, default, check; CEL rules included."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import cel

Schema = dict[str, Any]
Cause = dict[str, str]

_OPEN = "x-kubernetes-preserve-unknown-fields"
_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}


def prune(value: Any, schema: Schema) -> Any:
    """``value`` without what the schema does not know."""
    if isinstance(value, list):
        items = schema.get("items")
        return [prune(item, items) for item in value] if items else value
    if not isinstance(value, dict) or "additionalProperties" in schema:
        return value
    properties = schema.get("properties")
    if properties is None:
        return value if schema.get(_OPEN) else {}
    return {
        name: prune(item, properties[name]) if name in properties else item
        for name, item in value.items()
        if name in properties or schema.get(_OPEN)
    }


def fill(value: Any, schema: Schema) -> Any:
    """``value`` with defaults; nulls of what has no null are dropped."""
    if isinstance(value, list):
        return [fill(item, schema.get("items", {})) for item in value]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    filled = {name: fill(item, properties.get(name, {})) for name, item in value.items() if item is not None}
    for name, inner in properties.items():
        if "default" in inner and name not in filled:
            filled[name] = inner["default"]
    return filled


def check(value: Any, schema: Schema, path: str = "") -> list[Cause]:
    """Everything that is wrong with ``value``."""
    causes = list(_check_type(value, schema, path))
    if causes:
        return causes
    causes += _check_value(value, schema, path)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                causes.append(_cause("FieldValueRequired", f"{path}.{name}", "Required value"))
        for name, item in value.items():
            inner = properties.get(name) or schema.get("additionalProperties")
            if inner:
                causes += check(item, inner, f"{path}.{name}")
    if isinstance(value, list):
        for index, item in enumerate(value):
            causes += check(item, schema.get("items", {}), f"{path}[{index}]")
    # As a real server: rules are looked at only where the types are right.
    return causes or list(_check_rules(value, schema, path))


def _check_type(value: Any, schema: Schema, path: str) -> list[Cause]:
    if schema.get("x-kubernetes-int-or-string"):
        good = isinstance(value, int | str) and not isinstance(value, bool)
    else:
        wanted = schema.get("type")
        good = wanted is None or isinstance(value, _TYPES[wanted])
        if isinstance(value, bool) and wanted in {"integer", "number"}:
            good = False
    if good:
        return []
    return [
        _cause("FieldValueTypeInvalid", path, f"Invalid value: {value!r}: in body must be of another type")
    ]


def _check_value(value: Any, schema: Schema, path: str) -> list[Cause]:
    faults = []
    if "enum" in schema and value not in schema["enum"]:
        allowed = ", ".join(f'"{each}"' for each in schema["enum"])
        return [
            _cause(
                "FieldValueNotSupported", path, f'Unsupported value: "{value}": supported values: {allowed}'
            )
        ]
    if isinstance(value, str):
        if len(value) > schema.get("maxLength", len(value)) or len(value) < schema.get("minLength", 0):
            faults.append("has a bad length")
        if "pattern" in schema and not re.search(schema["pattern"], value):
            faults.append(f"in body should match '{schema['pattern']}'")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            faults.append("in body is out of bounds")
    elif isinstance(value, list):
        if len(value) > schema.get("maxItems", len(value)):
            faults.append(f"must have at most {schema['maxItems']} items")
        if schema.get("x-kubernetes-list-type") == "set" and len(set(value)) < len(value):
            faults.append("Duplicate value")
        if schema.get("x-kubernetes-list-type") == "map":
            keys = [tuple(item.get(key) for key in schema["x-kubernetes-list-map-keys"]) for item in value]
            if len(set(keys)) < len(keys):
                faults.append("Duplicate value")
    return [_cause("FieldValueInvalid", path, f"Invalid value: {value!r}: {fault}") for fault in faults]


def _check_rules(value: Any, schema: Schema, path: str) -> list[Cause]:
    return [
        _cause("FieldValueInvalid", path, f"Invalid value: {rule['message']}")
        for rule in schema.get("x-kubernetes-validations", ())
        if not holds(rule["rule"], value)
    ]


#: Words that CEL keeps for itself; a field of such a name is __name__ in a rule.
_RESERVED = {
    *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if"),
    *("import", "let", "loop", "package", "namespace", "return"),
}


def holds(rule: str, value: Any) -> bool:
    """What a CEL rule says of ``value``."""
    return bool(_program(rule).execute({"self": _escaped(value)}))


def _escaped(value: Any) -> Any:
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, dict):
        return {f"__{name}__" if name in _RESERVED else name: _escaped(item) for name, item in value.items()}
    return value


@cache
def _program(rule: str) -> Any:
    return cel.compile(rule)


def _cause(reason: str, path: str, message: str) -> Cause:
    return {"reason": reason, "field": path.removeprefix("."), "message": message}
