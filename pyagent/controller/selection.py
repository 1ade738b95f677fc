"""Which nodes each policy selects: all host endpoints at once, as masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from pyagent import selector
from pyagent.calc.labels import LabelTable, endpoint_labels
from pyagent.calc.order import Policy
from pyagent.errors import SelectorError
from pyagent.model import HostEndpoint, Profile

Mask = NDArray[np.bool_]


class Selection:
    """The host endpoints at one moment; ``nodes`` are their nodes' names, by byte order.

    What was worked out for one selector is kept for the next policy that has the same.
    """

    def __init__(self, endpoints: Iterable[HostEndpoint], profiles: Mapping[str, Profile]) -> None:
        listed = list(endpoints)
        self._labels_of = labels_of = {name: each.spec.labels_to_apply for name, each in profiles.items()}
        self._row_of = {each.name: row for row, each in enumerate(listed)}
        self.nodes = sorted({each.spec.node for each in listed})
        place = {name: index for index, name in enumerate(self.nodes)}
        self._node_of = np.array([place[each.spec.node] for each in listed], dtype=np.int64)
        self._table = LabelTable([endpoint_labels(each, labels_of) for each in listed])
        self._known: dict[str, tuple[Mask, int]] = {}

    def relabel(self, endpoint: HostEndpoint) -> None:
        """An endpoint of before has other labels now, and is otherwise the same.

        Only what was worked out from labels whose value changed is worked out again.
        """
        keys = self._table.replace(self._row_of[endpoint.name], endpoint_labels(endpoint, self._labels_of))
        if keys:
            self._table.forget(keys)
            self._known.clear()

    def of(self, policy: Policy) -> tuple[Mask, int]:
        """The nodes on which a policy selects an endpoint, as a mask over ``nodes``; how many endpoints."""
        spec = policy.spec
        if spec.namespace_selector or spec.service_account_selector:
            # A host endpoint has neither namespace nor service account.
            return np.zeros(len(self.nodes), dtype=np.bool_), 0
        if spec.selector not in self._known:
            self._known[spec.selector] = self._picked(spec.selector)
        return self._known[spec.selector]

    def _picked(self, text: str) -> tuple[Mask, int]:
        nodes = np.zeros(len(self.nodes), dtype=np.bool_)
        try:
            picked = self._table.picked(selector.parse(text))
        except SelectorError:
            return nodes, 0
        nodes[self._node_of[picked]] = True
        return nodes, int(picked.sum())
