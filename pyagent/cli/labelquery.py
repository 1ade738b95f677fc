"""``-l``: which resources are meant, by their labels.

Two languages are accepted and told apart by trying. kubectl's first: ``key``, ``!key``, ``key=value``,
``key==value``, ``key!=value``, ``key in (a,b)``, ``key notin (a,b)``, joined by commas; all must hold.
What is not that is read as a Calico selector (``has(key) && key == 'value'``). No text means different things
in the two, for kubectl's values carry no quotes and its sets stand in parentheses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pyagent import selector
from pyagent.errors import SelectorError, UsageError

Labels = Mapping[str, str]
LabelQuery = Callable[[Labels], bool]

_KEY = r"[A-Za-z0-9](?:[A-Za-z0-9_./-]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?)?"
_TERM = re.compile(
    rf"""\s*(?:
        !\s*(?P<absent>{_KEY})
      | (?P<set_key>{_KEY})\s+(?P<set_operator>in|notin)\s*\(\s*(?P<members>{_VALUE}(?:\s*,\s*{_VALUE})*)\s*\)
      | (?P<key>{_KEY})\s*(?P<operator>==|=|!=)\s*(?P<value>{_VALUE})
      | (?P<present>{_KEY})
    )\s*(?:,|$)""",
    re.VERBOSE,
)


def parse_query(text: str) -> LabelQuery:
    """The predicate that ``text`` describes; empty text picks everything."""
    terms = _kubectl_terms(text)
    if terms is not None:
        return lambda labels: all(term(labels) for term in terms)
    try:
        return selector.parse(text).matches
    except SelectorError as error:
        raise UsageError(
            f"bad label selector '{text}': neither kubectl's form (key=value, !key, key in (a,b)) "
            f"nor a selector ({error})"
        ) from error


def _kubectl_terms(text: str) -> list[LabelQuery] | None:
    """The terms of kubectl's language, or None when ``text`` is not in it."""
    terms: list[LabelQuery] = []
    position = 0
    text = text.strip()
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None:
            return None
        terms.append(_term(match))
        position = match.end()
    return None if text.endswith(",") else terms


def _term(match: re.Match[str]) -> LabelQuery:
    if key := match["absent"]:
        return lambda labels: key not in labels
    if key := match["present"]:
        return lambda labels: key in labels
    if key := match["set_key"]:
        members = frozenset(member.strip() for member in match["members"].split(","))
        wanted = match["set_operator"] == "in"
    else:
        key = match["key"]
        members = frozenset({match["value"]})
        wanted = match["operator"] != "!="
    # As in kubectl, an object without the key satisfies != and notin.
    return lambda labels: (labels.get(key) in members) is wanted
