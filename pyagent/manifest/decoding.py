"""Plain values to resources: strict, and every misplaced field and wrong type is reported, not one.

msgspec stops at the first fault. So a fault is noted, what caused it is taken out of a copy, and decoding is
tried again until it succeeds or nothing more can be taken out.
"""

from __future__ import annotations

import re
from typing import Any, Generic, TypeVar

import msgspec

from pyagent.errors import Problem
from pyagent.manifest.felix_fields import is_upstream_field
from pyagent.manifest.paths import Positions, child
from pyagent.model import KINDS, EndpointSlice, FelixConfiguration, Node, Resource, Service
from pyagent.model.config import FelixConfigurationSpec

#: Most decoding faults reported of one document.
MAX_FAULTS = 50
_MAX_ATTEMPTS = 1000
#: Where unknown fields are dropped, not refused: objects that Kubernetes writes and that grow with it.
_LENIENT: dict[type[msgspec.Struct], tuple[str, ...]] = {
    Node: ("spec", "status"),
    Service: ("",),
    EndpointSlice: ("",),
}
#: Maps of texts, in which a key with nothing behind it is a key with an empty text.
_TEXT_MAPS = frozenset({"labels", "annotations", "labelsToApply", "environmentVars"})

_AT = re.compile(r" - at (?:`(key)` in )?`\$(?P<path>.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_EXPECTED = re.compile(r"Expected `(?P<expected>.*)`, got `(?P<got>.*)`", re.DOTALL)
_STEP = re.compile(r"\[(\.\.\.|[0-9]+)\]|\.?([A-Za-z0-9]+)")
_TYPE_NAMES = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "nothing",
}
_UNQUOTED = frozenset({"int", "float", "bool"})

Step = str | int
Decoded = TypeVar("Decoded", bound=msgspec.Struct)


def kind_of(value: Any) -> tuple[type[Resource] | None, list[Problem]]:
    """The class for a document's apiVersion and kind, or what is wrong with them."""
    if not isinstance(value, dict):
        return None, [Problem("document", "is not an object with apiVersion and kind")]
    kind, version = value.get("kind"), value.get("apiVersion")
    problems = [
        Problem(name, f"{name} is required" if given is None else f"{name} must be text")
        for name, given in (("apiVersion", version), ("kind", kind))
        if not isinstance(given, str)
    ]
    if problems:
        return None, problems
    cls = KINDS.get(str(kind))
    if cls is None:
        return None, [Problem("kind", f"resource type '{kind}' is not supported", str(kind))]
    if version != cls.API_VERSION:
        reason = f"apiVersion of {kind} is {cls.API_VERSION}"
        return None, [Problem("apiVersion", reason, str(version))]
    return cls, []


def convert(
    value: dict[str, Any], cls: type[Decoded], positions: Positions
) -> tuple[Decoded | None, list[Problem]]:
    """``value`` as an object of class ``cls``, or every fault found; faults have no line yet."""
    problems: list[Problem] = []
    if issubclass(cls, FelixConfiguration):
        value, problems = _fold_upstream(value)
    try:
        resource = msgspec.convert(value, cls)
    except msgspec.ValidationError:
        return _Repair(value, cls, positions, problems).run()
    return (None if problems else resource), problems


class _Repair(Generic[Decoded]):
    """One document that does not decode at once."""

    def __init__(
        self, value: dict[str, Any], cls: type[Decoded], positions: Positions, problems: list[Problem]
    ) -> None:
        self._value = _without_nulls(value, "")
        self._cls = cls
        self._positions = positions
        self._problems = problems

    def run(self) -> tuple[Decoded | None, list[Problem]]:
        for _ in range(_MAX_ATTEMPTS):
            try:
                resource = msgspec.convert(self._value, self._cls)
            except msgspec.ValidationError as error:
                if not self._take_out(str(error)) or len(self._problems) >= MAX_FAULTS:
                    break
            else:
                return (None if self._problems else resource), self._problems
        return None, self._problems or [Problem("document", "has too many unknown fields")]

    def _take_out(self, message: str) -> bool:
        """Note the fault that ``message`` tells and remove its cause; False when it cannot be removed."""
        at = _AT.search(message)
        steps = _steps(at["path"] if at else "")
        fault = message[: at.start()] if at else message
        if unknown := _UNKNOWN.fullmatch(fault):
            return self._unknown_field(steps, unknown[1])
        if missing := _MISSING.fullmatch(fault):
            self._problems.append(Problem(_joined([*steps, missing[1]]), f"{missing[1]} is required"))
            return self._remove(steps)
        expected = _EXPECTED.fullmatch(fault)
        places = self._wrong_entries(steps) if "..." in steps else [steps]
        for place in places:
            self._problems.append(self._type_problem(place, expected, fault))
            self._remove(place)
        return bool(places) and steps != []

    def _unknown_field(self, steps: list[Step], name: str) -> bool:
        if not self._is_lenient(steps):
            self._problems.append(Problem(_joined([*steps, name]), f"{_NOT_RECOGNIZED}: {name}"))
        return self._remove([*steps, name])

    def _is_lenient(self, steps: list[Step]) -> bool:
        top = str(steps[0]) if steps else ""
        places = _LENIENT.get(self._cls, ())
        return "" in places or top in places

    def _type_problem(self, steps: list[Step], expected: re.Match[str] | None, fault: str) -> Problem:
        path = _joined(steps)
        found = self._look_up(steps)
        value = "" if isinstance(found, dict | list) or found is None else str(found)
        spelling = self._positions.spelling(path) or value
        if expected is None:
            return Problem(path, fault, spelling)
        wanted = expected["expected"].split(" | ")
        names = " or ".join(_TYPE_NAMES.get(name, name) for name in wanted if name != "null")
        got = _type_name(found)
        if wanted[0] == "str" and got in _UNQUOTED:
            what = "true or false" if got == "bool" else "a number"
            return Problem(
                path, f'must be {names}, but {spelling} is {what} in YAML: write "{spelling}"', spelling
            )
        return Problem(path, f"must be {names}, not {_TYPE_NAMES.get(got, got)}", spelling)

    def _wrong_entries(self, steps: list[Step]) -> list[list[Step]]:
        """The entries of a map of texts that are no texts; msgspec does not say which they are."""
        at = steps.index("...")
        entries = self._look_up(steps[:at])
        if not isinstance(entries, dict):
            return []
        return [[*steps[:at], key] for key, value in entries.items() if not isinstance(value, str)]

    def _look_up(self, steps: list[Step]) -> Any:
        value: Any = self._value
        for step in steps:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def _remove(self, steps: list[Step]) -> bool:
        """Take out the value at ``steps``; a list goes as a whole, for indexes must not shift."""
        while steps and isinstance(steps[-1], int):
            steps = steps[:-1]
        if not steps:
            return False
        parent = self._look_up(steps[:-1])
        if not isinstance(parent, dict) or steps[-1] not in parent:
            return False
        del parent[steps[-1]]
        return True


def _fold_upstream(value: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Upstream's settings of FelixConfiguration moved to the field that keeps them in the model."""
    spec = value.get("spec")
    if not isinstance(spec, dict):
        return value, []
    problems = [Problem("spec.upstream", f"{_NOT_RECOGNIZED}: upstream")] if "upstream" in spec else []
    kept = {name: item for name, item in spec.items() if name not in _MODELLED and is_upstream_field(name)}
    rest = {name: item for name, item in spec.items() if name not in kept and name != "upstream"}
    exclude = rest.get("interfaceExclude")
    if isinstance(exclude, str):  # upstream's notation: a comma list
        rest["interfaceExclude"] = [name.strip() for name in exclude.split(",") if name.strip()]
    return {**value, "spec": {**rest, "upstream": kept}}, problems


_NOT_RECOGNIZED = "field in document is not recognized or is in the wrong location"
_MODELLED = frozenset(field.encode_name for field in msgspec.structs.fields(FelixConfigurationSpec))


def _without_nulls(value: Any, key: str) -> Any:
    """A copy in which what is null is not given at all, as Kubernetes reads it."""
    if isinstance(value, dict):
        if key in _TEXT_MAPS:
            return {name: "" if item is None else _without_nulls(item, "") for name, item in value.items()}
        return {name: _without_nulls(item, name) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(item, "") for item in value]
    return value


def _steps(path: str) -> list[Step]:
    return [
        ("..." if match[1] == "..." else int(match[1])) if match[1] else match[2]
        for match in _STEP.finditer(path)
    ]


def _joined(steps: list[Step]) -> str:
    path = ""
    for step in steps:
        path = child(path, step)
    return path


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "object"
    return "array" if isinstance(value, list | tuple) else type(value).__name__
