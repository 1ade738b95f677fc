"""Selector text to tokens, each with its position.

The words ``in``, ``contains``, ``starts with`` ... are operators only directly after a label, so that labels
may bear those names; ``has``, ``all`` and ``global`` are special only with their parenthesis directly behind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from pyagent.errors import SelectorError


class Kind(StrEnum):
    """What a token is; the value is how messages name it."""

    LABEL = "a label"
    STRING = "a string"
    OPERATOR = "an operator"
    HAS = "has("
    ALL = "all()"
    GLOBAL = "global()"
    OPEN = "("
    CLOSE = ")"
    OPEN_SET = "{"
    CLOSE_SET = "}"
    COMMA = ","
    NOT = "!"
    AND = "&&"
    OR = "||"
    END = "the end"


@dataclass(frozen=True, slots=True)
class Token:
    """One token; ``value`` is the label, the string's content or the operator in its normal spelling."""

    kind: Kind
    position: int
    value: str = ""


_BLANKS = re.compile(r"[ \t]*")
_LABEL = re.compile(r"[A-Za-z0-9_./-]+")
_FUNCTION = re.compile(r"(has\()|(all\([ \t]*\))|(global\([ \t]*\))")
_OPERATOR = re.compile(
    r"(==|!=|contains\b|starts[ \t]*with\b|ends[ \t]*with\b|not[ \t]*in\b|in\b)",
    re.ASCII,
)
_SYMBOL = re.compile(r"&&|\|\||[(){},!]")
_OPERATOR_SPELLING = {"startswith": "starts with", "endswith": "ends with", "notin": "not in"}
_SINGLE = {"=": "==", "&": "&&", "|": "||"}
_FUNCTION_KINDS = (Kind.HAS, Kind.ALL, Kind.GLOBAL)


def tokens(text: str, longest_label: int) -> list[Token]:
    """All tokens of ``text``, an END token last. Raises SelectorError where no token can start."""
    found: list[Token] = []
    position = _skip(text, 0)
    while position < len(text):
        after_label = bool(found) and found[-1].kind is Kind.LABEL
        token, end = _next(text, position, after_label=after_label)
        if token.kind is Kind.LABEL and len(token.value) > longest_label:
            raise SelectorError(text, position, f"label is longer than {longest_label} characters")
        found.append(token)
        position = _skip(text, end)
    found.append(Token(Kind.END, len(text)))
    return found


def _skip(text: str, position: int) -> int:
    blanks = _BLANKS.match(text, position)
    return blanks.end() if blanks else position


def _next(text: str, position: int, *, after_label: bool) -> tuple[Token, int]:
    """The token at ``position`` (not a blank) and where it ends."""
    if after_label and (operator := _OPERATOR.match(text, position)):
        word = re.sub(r"[ \t]", "", operator[0])
        return Token(Kind.OPERATOR, position, _OPERATOR_SPELLING.get(word, word)), operator.end()
    if symbol := _SYMBOL.match(text, position):
        return Token(Kind(symbol[0]), position), symbol.end()
    if text[position] in "\"'":
        return _string(text, position)
    if not after_label:
        if function := _FUNCTION.match(text, position):
            return Token(_FUNCTION_KINDS[(function.lastindex or 1) - 1], position), function.end()
        if label := _LABEL.match(text, position):
            return Token(Kind.LABEL, position, label[0]), label.end()
    elif _LABEL.match(text, position):
        raise SelectorError(text, position, "expected an operator after the label")
    raise SelectorError(text, position, _why_nothing_starts(text, position))


def _string(text: str, position: int) -> tuple[Token, int]:
    end = text.find(text[position], position + 1)
    if end < 0:
        raise SelectorError(text, position, "string is not terminated")
    return Token(Kind.STRING, position, text[position + 1 : end]), end + 1


def _why_nothing_starts(text: str, position: int) -> str:
    if text.startswith("==", position):
        return "expected a label before =="
    if double := _SINGLE.get(text[position]):
        return f"single {text[position]} (expected {double})"
    return f"unexpected character {text[position]!r}"
