"""A Storage that outlives its process: what etcd is to an API server that is killed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from tests.support.apiserver.kinds import Served
from tests.support.apiserver.storage import Object, Storage


class JournaledStorage(Storage):
    """Writes every change to ``journal`` before anybody hears of it, and begins with what is there.

    Histories are not kept, as by a real server: whoever watched at an older version gets 410.
    """

    def __init__(self, journal: Path, kinds: Sequence[Served] | None = None) -> None:
        self._journal: TextIO | None = None
        super().__init__(kinds)
        if journal.exists():
            # The last line may be half of one: the process was killed.
            whole, newline, _half = journal.read_text().rpartition("\n")
            journal.write_text(whole + newline)
            self._replay(whole)
        self._journal = journal.open("a", buffering=1)

    def close(self) -> None:
        """Write nothing any more."""
        if self._journal is not None:
            self._journal.close()

    def _record(self, kind: Served, type_: str, changed: Object) -> Object:
        recorded = super()._record(kind, type_, changed)
        if self._journal is not None:
            line: list[Any] = [self.revision, type_, kind.api_version, kind.plural, recorded]
            self._journal.write(json.dumps(line) + "\n")
        return recorded

    def _replay(self, content: str) -> None:
        for line in content.splitlines():
            self.revision, type_, api_version, plural, changed = json.loads(line)
            metadata = changed["metadata"]
            objects = self.shelf(self.kinds[api_version, plural]).objects
            key = (metadata.get("namespace", ""), metadata["name"])
            if type_ == "DELETED":
                objects.pop(key, None)
            else:
                objects[key] = changed
        self.compact()
