"""YAML events to plain values, without recursion: the part of the reader that keeps lines and bounds."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from pyagent.errors import Problem
from pyagent.manifest.paths import Positions, child

#: Deepest nesting of lists and objects.
MAX_DEPTH = 64
#: Most values that one document may have once its aliases are written out.
MAX_VALUES = 2_000_000
#: Most values that aliases alone may add to a document.
MAX_ALIASED = 10_000

#: Characters that end a line in YAML 1.1 but nowhere else; inside quotes YAML reads them as a blank.
UNICODE_BREAKS = frozenset("\x85\u2028\u2029")

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"})
_FALSE = frozenset({"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"})
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,18})")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,16}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+)")
_SPECIAL_FLOAT = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
_TAG = "tag:yaml.org,2002:"
_TAGGED: dict[str, tuple[type, ...]] = {
    _TAG + "int": (int,),
    _TAG + "float": (int, float),
    _TAG + "bool": (bool,),
    _TAG + "null": (type(None),),
}
_CONTAINER_TAGS = frozenset({None, "!", _TAG + "map", _TAG + "seq"})


class RefusedError(Exception):
    """A document that must not be read further."""

    def __init__(self, path: str, line: int, reason: str) -> None:
        self.path, self.line, self.reason = path, line, reason
        super().__init__(reason)


@dataclass(slots=True)
class _Open:
    """A list or object whose end has not been seen."""

    value: list[Any] | dict[str, Any]
    path: str
    anchor: str | None
    values_before: int
    key: str | None = None


@dataclass(slots=True)
class Builder:
    """Takes the events of one stream.

    ``documents`` holds (value, positions, line, problems) of every document that is complete.
    """

    first_line: int
    documents: list[tuple[Any, Positions, int, list[Problem]]] = field(default_factory=list)
    _stack: list[_Open] = field(default_factory=list)
    _lines: dict[str, int] = field(default_factory=dict)
    _spellings: dict[str, str] = field(default_factory=dict)
    _anchors: dict[str, tuple[Any, int]] = field(default_factory=dict)
    _problems: list[Problem] = field(default_factory=list)
    _values: int = 0
    _aliased: int = 0
    _line: int = 1

    def take(self, event: Any) -> None:
        """Take the next event. Raises RefusedError."""
        self._line = self.first_line + event.start_mark.line
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.MappingStartEvent):
            self._begin(event, {})
        elif isinstance(event, yaml.SequenceStartEvent):
            self._begin(event, [])
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._end()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event.anchor)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._lines, self._spellings, self._anchors, self._problems = {}, {}, {}, []
            self._values = self._aliased = 0

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        frame = self._stack[-1] if self._stack else None
        if frame is not None and isinstance(frame.value, dict) and frame.key is None:
            self._key(frame, event)
            return
        path = self._next_path()
        value = self._scalar_value(event, path)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        if not isinstance(value, str):
            self._spellings[path] = event.value
        self._place(path, value)

    def _scalar_value(self, event: yaml.ScalarEvent, path: str) -> Any:
        tag = event.tag
        if tag is None:
            return plain(event.value) if event.implicit[0] else event.value
        if tag in {"!", _TAG + "str"}:
            return event.value
        value = plain(event.value)
        if type(value) not in _TAGGED.get(tag, ()):
            raise RefusedError(path, self._line, f"tag {tag} is not allowed here")
        return value

    def _key(self, frame: _Open, event: yaml.ScalarEvent) -> None:
        key = event.value
        assert isinstance(frame.value, dict)
        path = child(frame.path, key)
        if key == "<<" and event.implicit[0]:
            raise RefusedError(
                frame.path, self._line, "merge keys (<<) are not supported: write the fields out"
            )
        if key in frame.value:
            first = self._lines.get(path, 0)
            self._problems.append(
                Problem(path, f"key is given twice (first on line {first})", line=self._line)
            )
        self._lines[path] = self._line
        frame.key = key

    def _begin(self, event: Any, value: list[Any] | dict[str, Any]) -> None:
        self._refuse_as_key()
        path = self._next_path()
        if event.tag not in _CONTAINER_TAGS:
            raise RefusedError(path, self._line, f"tag {event.tag} is not allowed here")
        if len(self._stack) >= MAX_DEPTH:
            raise RefusedError(path, self._line, f"nested deeper than {MAX_DEPTH} levels")
        if event.anchor:
            self._anchors.pop(event.anchor, None)
        self._place(path, value)
        self._stack.append(_Open(value, path, event.anchor, self._values))

    def _end(self) -> None:
        closed = self._stack.pop()
        if closed.anchor:
            self._anchors[closed.anchor] = (closed.value, 1 + self._values - closed.values_before)
        if not self._stack:
            self._finish(closed.value)

    def _alias(self, anchor: str | None) -> None:
        self._refuse_as_key()
        path = self._next_path()
        if anchor is None or anchor not in self._anchors:
            raise RefusedError(
                path, self._line, f"alias *{anchor} has no anchor before it, or stands inside it"
            )
        value, size = self._anchors[anchor]
        self._aliased += size
        if self._aliased > MAX_ALIASED:
            raise RefusedError(path, self._line, f"aliases repeat more than {MAX_ALIASED} values")
        self._values += size - 1
        self._place(path, value)

    def _refuse_as_key(self) -> None:
        frame = self._stack[-1] if self._stack else None
        if frame is not None and isinstance(frame.value, dict) and frame.key is None:
            raise RefusedError(frame.path, self._line, "only text can be a key")

    def _next_path(self) -> str:
        if not self._stack:
            return ""
        frame = self._stack[-1]
        return child(frame.path, len(frame.value) if frame.key is None else frame.key)

    def _place(self, path: str, value: Any) -> None:
        """Put a value where it belongs; objects' keys have their line already."""
        self._values += 1
        if self._values > MAX_VALUES:
            raise RefusedError(path, self._line, f"more than {MAX_VALUES} values in one document")
        self._lines.setdefault(path, self._line)
        if not self._stack:
            if not isinstance(value, dict | list):
                self._finish(value)
            return
        frame = self._stack[-1]
        if isinstance(frame.value, list):
            frame.value.append(value)
        else:
            assert frame.key is not None
            frame.value[frame.key] = value
            frame.key = None

    def _finish(self, value: Any) -> None:
        positions = Positions(self._lines, self._spellings)
        self.documents.append((value, positions, self._lines.get("", self.first_line), self._problems))


def plain(text: str) -> Any:
    """What an unquoted scalar stands for."""
    first = text[:1]
    if first and (first.isdigit() or first in "+-."):
        return _number(text)
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    return False if text in _FALSE else text


def _number(text: str) -> Any:
    if _INTEGER.fullmatch(text):
        return int(text)
    if _HEXADECIMAL.fullmatch(text):
        return int(text, 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    special = _SPECIAL_FLOAT.get(text.lower())
    return text if special is None else float(special)
