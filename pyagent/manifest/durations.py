"""Durations in Go's notation, as upstream's resources carry them: ``5m0s``, ``1h30m``, ``100ms``."""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction

_SECONDS = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),  # U+00B5
    "\u03bcs": Fraction(1, 10**6),  # U+03BC, the Greek letter
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}
_PART = re.compile(r"([0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(ns|us|µs|\u03bcs|ms|s|m|h)")
#: Go keeps durations in 64-bit nanoseconds.
_LONGEST = Fraction(2**63 - 1, 10**9)
_LONGEST_TEXT = 100


def parse_duration(text: str) -> timedelta:
    """The duration that ``text`` says, to the microsecond. Raises ValueError with the reason."""
    sign, body = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if body == "0":
        return timedelta(0)
    if not body or len(body) > _LONGEST_TEXT:
        raise ValueError(_reason(text))
    total, position = Fraction(0), 0
    while position < len(body):
        part = _PART.match(body, position)
        if part is None:
            raise ValueError(_reason(text))
        total += Fraction("0" + part[1].rstrip(".")) * _SECONDS[part[2]]
        position = part.end()
    if total > _LONGEST:
        raise ValueError(f"duration {text!r} is longer than 2562047h")
    return timedelta(microseconds=sign * round(total * 10**6))


def format_duration(duration: timedelta) -> str:
    """``duration`` as Go prints it: ``5m0s``, ``1h0m0s``, ``1.5s``, ``250ms``, ``0s``."""
    microseconds = duration // timedelta(microseconds=1)
    if microseconds < 0:
        return "-" + format_duration(-duration)
    if 0 < microseconds < 1000:
        return f"{microseconds}µs"
    if 0 < microseconds < 10**6:
        return f"{_decimal(microseconds, 3)}ms"
    minutes, rest = divmod(microseconds, 60 * 10**6)
    hours, minutes = divmod(minutes, 60)
    larger = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{larger}{_decimal(rest, 6)}s"


def _decimal(value: int, digits: int) -> str:
    """``value`` / 10**``digits`` without needless zeros."""
    whole, fraction = divmod(value, 10**digits)
    return f"{whole}.{fraction:0{digits}}".rstrip("0").rstrip(".") if fraction else str(whole)


def _reason(text: str) -> str:
    return f"{text!r} is not a duration (such as 5m0s or 100ms)"
