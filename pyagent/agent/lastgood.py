"""The last valid form of policy on local disk, for a resource that turns invalid while no agent runs.

The datastore only has the newest version. An agent that starts and finds it invalid would drop the policy
that was in force until then; with this it keeps that one until the resource is mended or deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

import msgspec

from pyagent.agent.meaning import digest
from pyagent.agent.state import StateDirectory
from pyagent.calc.observed import OBSERVED_KINDS
from pyagent.model import KINDS, HostEndpoint, Resource

log = logging.getLogger(__name__)

#: Name of the file in the agent's directory: a resource a line, as an API server has it.
LAST_GOOD: Final = "last-good.jsonl"
#: What does not fit is not kept. A policy of ten rules takes about 2 KB.
BYTES_MAX: Final = 8 << 20


class LastGood:
    """Keeps the policies in force below ``state``. Host endpoints are not kept, but this node's own.

    ``bytes_max``: how large the file may get.
    """

    def __init__(self, state: StateDirectory, node: str, bytes_max: int = BYTES_MAX) -> None:
        self._state, self._node, self._bytes_max = state, node, bytes_max
        self._before: dict[tuple[str, str], Resource] | None = None
        self._written = ""
        self._told = False

    def find(self, kind: str, name: str, uid: str) -> Resource | None:
        """The last valid form of a resource as an earlier run knew it; None if it was another one's."""
        if self._before is None:
            self._before = self._read()
        found = self._before.get((kind, name))
        return found if found is not None and uid and found.metadata.uid == uid else None

    def keep(self, resources: Iterable[Resource]) -> None:
        """These are in force. Blocks for milliseconds if something of them changed."""
        kept = sorted(filter(self._matters, resources), key=lambda each: (each.kind, each.name))
        version = digest(kept)
        if version == self._written:
            return
        self._written = version
        lines, size, left_out = [], 0, 0
        for each in kept:
            line = msgspec.json.encode(each)
            if size + len(line) + 1 > self._bytes_max:
                left_out += 1
                continue
            lines.append(line)
            size += len(line) + 1
        if left_out and not self._told:
            log.warning("last good versions not all kept left_out=%d bytes_max=%d", left_out, self._bytes_max)
        self._told = bool(left_out)
        self._state.write_file(LAST_GOOD, b"".join(line + b"\n" for line in lines))

    def _matters(self, resource: Resource) -> bool:
        if isinstance(resource, HostEndpoint):
            return resource.spec.node == self._node
        return resource.kind in OBSERVED_KINDS

    def _read(self) -> dict[tuple[str, str], Resource]:
        found = {}
        for line in self._state.read_file(LAST_GOOD).splitlines():
            try:
                kind = msgspec.json.decode(line, type=_Typed).kind
                resource = msgspec.json.decode(line, type=KINDS[kind])
            except (msgspec.MsgspecError, KeyError) as error:
                log.warning("last good version unreadable reason=%r", str(error))
                continue
            found[resource.kind, resource.name] = resource
        return found


class _Typed(msgspec.Struct):
    kind: str
