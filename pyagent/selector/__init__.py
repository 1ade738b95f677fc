"""The label selector language: parse a text once, match it against labels as often as wanted.

``parse(text)`` gives a :class:`Selector`; ``str(selector)`` is the normal form, which is the same for texts
that differ only in blanks, quotes or the order of a set. The grammar is in ``parser.py``.
"""

from __future__ import annotations

from pyagent.errors import SelectorError
from pyagent.selector.parser import MAX_DEPTH, MAX_LABEL
from pyagent.selector.selector import Selector, parse, unique_id

__all__ = ["MAX_DEPTH", "MAX_LABEL", "Selector", "SelectorError", "parse", "unique_id"]
