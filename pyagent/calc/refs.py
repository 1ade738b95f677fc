"""References to rules, with keys that stay when other rules come and go."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import msgspec

from pyagent.abi import TableKind
from pyagent.calc.view import END, RuleRef
from pyagent.model.policy import Rule


def stable_key(*parts: str) -> int:
    """A 32-bit number from ``parts``, the same everywhere and always, never 0."""
    digest = hashlib.blake2s("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest) or 1


def rule_refs(kind: str, owner: str, direction: str, rules: Sequence[Rule]) -> list[RuleRef]:
    """One reference per rule; of rules with the same content each has its ordinal in its key."""
    seen: Counter[str] = Counter()
    refs = []
    for index, rule in enumerate(rules):
        content = msgspec.json.encode(rule, order="deterministic").decode()
        key = stable_key(kind, owner, direction, content, str(seen[content]))
        seen[content] += 1
        refs.append(RuleRef(kind, owner, direction, index, key))
    return refs


def end_ref(kind: str, owner: str, direction: str, table: TableKind) -> RuleRef:
    """The reference for the end of a tier or of a table."""
    return RuleRef(kind, owner, direction, END, stable_key(kind, owner, direction, "end", table.name))
