"""Where each node stands: which state of the policies it reports, and whether it could put it in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pyagent.controller.history import BEFORE, NOWHERE, History, Key
from pyagent.controller.verdict import Nodes, Refusal, is_refusal
from pyagent.model import HostEndpoint, Resource
from pyagent.model.status import PROTECTED, HostEndpointStatus, Truth


@dataclass(slots=True)
class _Node:
    """``reports``: endpoint -> (digest, refusal, protected); ``state``: the last of ours that it was in."""

    reports: dict[str, tuple[str, Refusal | None, bool]] = field(default_factory=dict)
    state: int = NOWHERE

    @property
    def refusal(self) -> Refusal | None:
        """What one of its endpoints reports."""
        return next((refusal for _, refusal, _ in self.reports.values() if refusal), None)


class Standing:
    """All nodes that have host endpoints. A heartbeat costs nothing: only what endpoints say counts."""

    def __init__(self) -> None:
        self._history = History()
        self._nodes: dict[str, _Node] = {}
        self._node_of: dict[str, str] = {}
        self._known: tuple[Sequence[str], Nodes] | None = None

    def begin(
        self, resources: Mapping[Key, Resource], settled: Iterable[Key], others: Iterable[Resource]
    ) -> None:
        """The first state; see History. A node in a state that is not known here was in an older one."""
        self._history.begin(resources, settled)
        self._history.advance(resources, others)
        for node in self._nodes.values():
            if any(digest for digest, _, _ in node.reports.values()):
                node.state = BEFORE
        self._known = None

    def advance(self, resources: Mapping[Key, Resource], others: Iterable[Resource]) -> None:
        """The policies are now ``resources``; see History."""
        self._history.advance(resources, others)
        self._known = None

    def changed(self, key: Key) -> int:
        """See History."""
        return self._history.changed(key)

    def put(self, endpoint: HostEndpoint) -> None:
        """A host endpoint is as given."""
        name, node = endpoint.name, endpoint.spec.node
        if self._node_of.get(name, node) != node:
            self.drop(name)
        status = HostEndpointStatus.read(endpoint.status)
        protected = status.condition(PROTECTED)
        report = (
            status.observed,
            _refusal(status),
            protected is not None and protected.status == Truth.TRUE,
        )
        standing = self._nodes.setdefault(node, _Node())
        self._node_of[name] = node
        if standing.reports.get(name) != report:
            standing.reports[name] = report
            self._known = None

    def drop(self, endpoint: str) -> None:
        """There is no such host endpoint any more."""
        node = self._node_of.pop(endpoint, None)
        if node is None:
            return
        reports = self._nodes[node].reports
        reports.pop(endpoint, None)
        if not reports:
            del self._nodes[node]
        self._known = None

    def nodes(self, names: Sequence[str]) -> Nodes:
        """Where the nodes of those names stand, in that order."""
        if self._known is None or self._known[0] is not names:
            standing = [self._nodes[name] for name in names]
            states = np.array([self._state(each) for each in standing], dtype=np.int64)
            refusals = {place: refusal for place, each in enumerate(standing) if (refusal := each.refusal)}
            self._known = names, Nodes(names, states, refusals)
        return self._known[1]

    def protected(self) -> tuple[int, int]:
        """How many nodes are protected as all of their endpoints say, and how many nodes there are."""
        whole = sum(all(fine for _, _, fine in node.reports.values()) for node in self._nodes.values())
        return whole, len(self._nodes)

    def _state(self, node: _Node) -> int:
        """The youngest state that one of its endpoints reports: an agent writes them one after the other."""
        node.state = max(
            (self._history.number_of(digest, node.state) for digest, _, _ in node.reports.values()),
            default=NOWHERE,
        )
        return node.state


def _refusal(status: HostEndpointStatus) -> Refusal | None:
    protected = status.condition(PROTECTED)
    return Refusal(protected.reason, protected.message) if protected and is_refusal(protected) else None
