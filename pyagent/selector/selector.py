"""Selector: the public value, and ``parse`` that makes it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import lru_cache

from pyagent.selector.ast import All, Compare, Global, Has, Member, Node, leaves
from pyagent.selector.match import matcher
from pyagent.selector.parser import parse_node


class Selector:
    """A parsed selector: immutable, equal to and hashing like every selector of the same normal form."""

    __slots__ = ("_matches", "_normal", "root")

    def __init__(self, root: Node) -> None:
        self.root = root
        self._normal = str(root)
        self._matches = matcher(root)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the selector picks something that carries ``labels``."""
        return self._matches(labels)

    def keys(self) -> frozenset[str]:
        """The label keys whose presence or value can change the result of ``matches``."""
        return frozenset(leaf.label for leaf in leaves(self.root) if isinstance(leaf, Has | Compare | Member))

    @property
    def is_all(self) -> bool:
        """Nothing but ``all()`` (or the empty text)."""
        return isinstance(self.root, All)

    @property
    def is_global(self) -> bool:
        """Nothing but ``global()``."""
        return isinstance(self.root, Global)

    @property
    def mentions_global(self) -> bool:
        """``global()`` stands somewhere in it."""
        return any(isinstance(leaf, Global) for leaf in leaves(self.root))

    def __str__(self) -> str:
        return self._normal

    def __repr__(self) -> str:
        return f"Selector({self._normal!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selector) and self._normal == other._normal

    def __hash__(self) -> int:
        return hash(self._normal)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return parse, (self._normal,)


@lru_cache(maxsize=4096)
def parse(text: str) -> Selector:
    """Parse a selector; the empty text means ``all()``. Raises SelectorError with the fault's position."""
    return Selector(parse_node(text))


def unique_id(selector: Selector) -> str:
    """A short name shared by exactly the selectors of one normal form (``s:`` and 38 characters)."""
    digest = hashlib.sha224(f"s:{selector}".encode("utf-8", "surrogatepass")).digest()
    return "s:" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
