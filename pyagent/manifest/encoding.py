"""Resources to plain values and to text, in the shape and style of upstream's output."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import msgspec
import yaml

from pyagent.manifest.building import UNICODE_BREAKS, plain
from pyagent.model.config import FelixConfigurationSpec
from pyagent.model.resource import Resource

_WIDEST = 1 << 30


def encode(resource: Resource) -> dict[str, Any]:
    """``resource`` as plain dicts and lists with names as on the wire; what has its default is left out."""
    return _struct(resource)


def _struct(value: msgspec.Struct) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for attribute, wire_name, default in _fields(type(value)):
        item = getattr(value, attribute)
        if item != default or type(item) is not type(default):
            result[wire_name] = _plain(item)
    if isinstance(value, FelixConfigurationSpec):
        result = {**result.pop("upstream", {}), **result}
    return result


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[tuple[str, str, Any], ...]:
    """(attribute, wire name, default) of every field; NODEFAULT equals no value."""
    return tuple(
        (
            field.name,
            field.encode_name,
            field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory(),
        )
        for field in msgspec.structs.fields(kind)
    )


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return _struct(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Quotes only what must be, with double quotes around text that would read as something else."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def text(self, value: str) -> yaml.ScalarNode:
        """A scalar node for text."""
        style = None
        if UNICODE_BREAKS.intersection(value):
            style = '"'
        elif "\n" in value:
            style = "|"
        elif value in _AMBIGUOUS or not isinstance(plain(value), str) or self._is_special(value):
            style = '"'
        node: yaml.ScalarNode = self.represent_scalar(_TEXT_TAG, value, style=style)
        return node

    def _is_special(self, value: str) -> bool:
        """Whether some YAML reader takes ``value`` for a number, a date or the like."""
        return self.resolve(yaml.ScalarNode, value, (True, False)) not in _TEXT_TAGS


_TEXT_TAG = "tag:yaml.org,2002:str"
#: The second is PyYAML's for text that begins like syntax, such as ``*``; the emitter quotes it by itself.
_TEXT_TAGS = frozenset({_TEXT_TAG, "tag:yaml.org,2002:yaml"})
_AMBIGUOUS = frozenset({"y", "Y", "n", "N"})
_Dumper.add_representer(str, _Dumper.text)


def dump_yaml(value: Any) -> str:
    """Plain values as one YAML document with sorted keys, ending in a newline."""
    text: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, width=_WIDEST)
    return text


def dump_json(value: Any) -> str:
    """Plain values as JSON with sorted keys and two blanks of indentation, ending in a newline."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
