"""Log records as one JSON object a line, for those who collect them; or as text, for those who read them."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

#: The end of an event's name and the pairs after it, as all of this project's messages have them.
_FIRST_PAIR: Final = re.compile(r"(?:^|\s)[A-Za-z_][A-Za-z0-9_]*=")
_PAIR: Final = re.compile(r"""([A-Za-z_][A-Za-z0-9_]*)=('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\S*)""")
_RESERVED: Final = frozenset({"time", "level", "logger", "event", "exception"})


class LogFormat(StrEnum):
    """How a log is written."""

    TEXT = "text"
    JSON = "json"


class JsonFormatter(logging.Formatter):
    """``{"time": ..., "level": ..., "logger": ..., "event": ...}`` and the message's ``key=value`` pairs."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        event, pairs = parts(record.getMessage())
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event,
        }
        line |= {f"{key}_" if key in _RESERVED else key: value for key, value in pairs.items()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def formatter(kind: LogFormat) -> logging.Formatter:
    """The formatter of a format."""
    if kind is LogFormat.JSON:
        return JsonFormatter()
    return logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")


def parts(message: str) -> tuple[str, dict[str, str]]:
    """Take ``event key=value key='quoted value'`` apart; what is not of that form is all event."""
    first = _FIRST_PAIR.search(message)
    if first is None:
        return message, {}
    tail = message[first.start() :]
    return message[: first.start()].strip(), {key: _plain(value) for key, value in _PAIR.findall(tail)}


def _plain(value: str) -> str:
    """Undo repr() of a text."""
    if len(value) < 2 or value[0] not in "'\"" or value[-1] != value[0]:
        return value
    return re.sub(r"\\(['\"\\])", r"\1", value[1:-1])
