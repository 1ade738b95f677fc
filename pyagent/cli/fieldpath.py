"""Field paths of ``-o custom-columns``: the simple part of kubectl's JSONPath.

Understood: ``.metadata.name``, ``metadata.name``, ``{.metadata.name}``, ``.spec.ingress[0].action``,
``.spec.ingress[*].action``, ``.metadata.labels.example\\.org/role``, ``.metadata.labels['a.b/c']``.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pyagent.errors import UsageError

_STEP = re.compile(r"""\.?(?P<field>(?:\\.|[^.\[\]\\{}])+)|\[(?P<index>-?\d+|\*)\]|\['(?P<quoted>[^']*)'\]""")

#: What a column shows where the field is absent.
ABSENT = "<none>"

Step = str | int


class FieldPath:
    """A parsed path; ``steps`` are field names, list positions and ``*``."""

    __slots__ = ("steps", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        body = text[1:-1] if text.startswith("{") and text.endswith("}") else text
        self.steps: tuple[Step, ...] = tuple(self._parse(body))

    def _parse(self, body: str) -> list[Step]:
        if body in {"", "."}:
            raise UsageError(f"custom-columns: empty field path in '{self.text}'")
        steps: list[Step] = []
        position = 0
        while position < len(body):
            match = _STEP.match(body, position)
            if match is None:
                raise UsageError(
                    f"custom-columns: '{self.text}' is not a field path (character {position + 1}); "
                    "expected such as .metadata.name"
                )
            steps.append(self._step(match))
            position = match.end()
        return steps

    @staticmethod
    def _step(match: re.Match[str]) -> Step:
        if match["index"] is not None:
            return "*" if match["index"] == "*" else int(match["index"])
        if match["quoted"] is not None:
            return match["quoted"]
        return re.sub(r"\\(.)", r"\1", match["field"])

    def find(self, value: Any) -> list[Any]:
        """Every value the path leads to in ``value`` (builtins)."""
        found = [value]
        for step in self.steps:
            found = [inner for outer in found for inner in _inside(outer, step)]
        return found

    def text_of(self, value: Any) -> str:
        """The cell for ``value``: several results are joined by commas, none at all is ``<none>``."""
        return ",".join(map(_plain, self.find(value))) or ABSENT


def _inside(value: Any, step: Step) -> list[Any]:
    if step == "*":
        if isinstance(value, dict):
            return list(value.values())
        return list(value) if isinstance(value, list) else []
    if isinstance(step, int):
        fits = isinstance(value, list) and -len(value) <= step < len(value)
        return [value[step]] if fits else []
    return [value[step]] if isinstance(value, dict) and step in value else []


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
