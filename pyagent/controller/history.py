"""Which state of the policies a node has in force: what it reports, looked up among the states seen here.

Every state of the policies has a number, which grows. A node reports the digest of the state it enforces; if
that is one of ours, the node has every policy whose last change is not younger than that state. Watches of
different kinds are not in step, so a node may pass through states that never were here: then it counts as
where it was last known to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from pyagent.calc import policy_digest
from pyagent.model import Resource

Key = tuple[str, str]
#: A node of which nothing is known.
NOWHERE: Final = -2
#: Before the first state seen here: what nodes and policies count as that were settled by then.
BEFORE: Final = -1


class History:
    """The last ``limit`` states, by digest."""

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._numbers: dict[str, int] = {}
        self._marks: dict[Key, tuple[str, int, dict[str, str]]] = {}
        self._changed: dict[Key, int] = {}
        self._number = BEFORE

    @property
    def begun(self) -> bool:
        """Whether any state was seen."""
        return self._number > BEFORE

    def begin(self, resources: Mapping[Key, Resource], settled: Iterable[Key]) -> None:
        """The first state; ``settled`` are the policies that were in force everywhere as they are now."""
        self.advance(resources)
        self._changed |= {key: BEFORE for key in settled if key in self._changed}

    def advance(self, resources: Mapping[Key, Resource], stand_ins: Iterable[Resource] = ()) -> None:
        """The state is now ``resources``.

        ``stand_ins``: nodes may have these besides, for they stand for what is invalid now and was in force
        before this process began.
        """
        digests = {policy_digest(resources.values())}
        if others := tuple(stand_ins):
            digests.add(policy_digest((*resources.values(), *others)))
        if all(self._numbers.get(digest) == self._number for digest in digests):
            return
        self._number += 1
        marks = {key: _mark(each) for key, each in resources.items()}
        for key, mark in marks.items():
            if self._marks.get(key) != mark:
                self._changed[key] = self._number
        for key in self._marks.keys() - marks.keys():
            self._changed.pop(key, None)
        self._marks = marks
        for digest in digests:
            # A state that comes back is as good as new; and the oldest are forgotten first.
            self._numbers.pop(digest, None)
            self._numbers[digest] = self._number
        while len(self._numbers) > self._limit:
            del self._numbers[next(iter(self._numbers))]

    def number_of(self, digest: str, last: int) -> int:
        """The number of the state that a node reports; ``last`` is where it was before."""
        return self._numbers.get(digest, last)

    def changed(self, key: Key) -> int:
        """The number of the state in which a policy changed last."""
        return self._changed.get(key, self._number)


def _mark(resource: Resource) -> tuple[str, int, dict[str, str]]:
    metadata = resource.metadata
    return metadata.uid, metadata.generation, metadata.labels
