"""From a node's view to the image: classes once, then one table after the other, then the bytes."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pyagent import abi
from pyagent.abi import TableKind
from pyagent.calc.view import EndpointView, NodeView, PodToHost, TableView
from pyagent.compiler.canvas import Cells, blocks, present
from pyagent.compiler.edit import BLOCK_BYTES, SPARE_BLOCKS, SPARE_BYTES6, Editor, Room
from pyagent.compiler.image import IMAGE_BYTES, Image, Later, Layout, seal
from pyagent.compiler.layer4 import CELLS, DETAILED, PORTS, LastField, fragment_cells, l4_table
from pyagent.compiler.outcome import NO_MATCH, Outcome, Outcomes
from pyagent.compiler.outline import outline
from pyagent.compiler.pages import Paged
from pyagent.compiler.painted import Paintings, table_key
from pyagent.compiler.plan import Plan, policies
from pyagent.compiler.refine import AddressClasses
from pyagent.compiler.table import DENSE_BYTES, Budget, Fields, Table, compile_table, side_bits
from pyagent.compiler.trie4 import build_trie4
from pyagent.compiler.trie6 import LastTrie6
from pyagent.errors import CapacityError

_POD_FLAGS: Final = {
    PodToHost.RETURN: 0,
    PodToHost.ACCEPT: abi.IMAGE_POD_TO_HOST_ACCEPT,
    PodToHost.DROP: abi.IMAGE_POD_TO_HOST_DROP,
}
_UNTRACKED: Final = {TableKind.UNTRACKED_INGRESS, TableKind.UNTRACKED_EGRESS}
#: Bytes of a table's cells beyond which they are in pages where the image is too large else.
SMALL_BYTES: Final = 16 << 10
#: Protocols that have NodePorts, by their row in the bitmaps.
_NODE_PORT_ROWS: Final = {6: 0, 17: 1, 132: 2}


def compile_image(
    view: NodeView, generation: int, limit: int = abi.IMAGE_BYTES, dense: int = DENSE_BYTES
) -> Image:
    """Compile all tables of a node into one image of at most ``limit`` bytes.

    ``dense``: bytes of a table's cells beyond which they are in pages; where the image would be too large
    else, nearly all are. Raises CapacityError, naming the policy that costs most, if it does not fit; nothing
    is ever left out.
    """
    return Compiler(dense).compile(view, generation, limit)


class _Kept:
    """What one compilation leaves to the next."""

    def __init__(self) -> None:
        self.addresses = AddressClasses()
        self.cells = LastField(CELLS, "layer 4 classes")
        self.ports = LastField(PORTS, "source-port classes")
        self.paintings = Paintings()
        self.trie6 = LastTrie6()


class Compiler:
    """Compiles one node's views one after the other; what of a view was in the last one costs little.

    The images are those of :func:`compile_image`, byte for byte. Not for use from several threads.
    """

    def __init__(self, dense: int = DENSE_BYTES) -> None:
        self._dense = dense
        self._kept = _Kept()

    def compile(self, view: NodeView, generation: int, limit: int = abi.IMAGE_BYTES) -> Image:
        """See :func:`compile_image`."""
        collecting = gc.isenabled()
        gc.disable()  # much is new and nothing garbage: looking for it would take as long again
        try:
            return self._compile(view, generation, limit)
        finally:
            self._kept.paintings.turn()
            if collecting:
                gc.enable()

    def _compile(self, view: NodeView, generation: int, limit: int) -> Image:
        plan, kept = Plan(view), self._kept
        try:
            try:
                return _Compilation(view, plan, generation, Budget(limit, self._dense), kept).run()
            except CapacityError as error:
                if error.what != IMAGE_BYTES:
                    raise
            small = Budget(limit, min(self._dense, SMALL_BYTES))
            return _Compilation(view, plan, generation, small, kept).run()
        except CapacityError as error:
            culprit = plan.costliest(
                networks=any(word in error.what for word in ("address", "IPv4", "bytes"))
            )
            raise CapacityError(error.what, error.needs, error.have, culprit) from None


class _Compilation:
    """One run; holds what its steps share."""

    def __init__(
        self,
        view: NodeView,
        plan: Plan,
        generation: int,
        budget: Budget,
        kept: _Kept,
    ) -> None:
        self._view, self._plan, self._generation, self._budget = view, plan, generation, budget
        self._layout = Layout(budget.limit)
        self._outcomes = Outcomes()
        self._outcomes.number(NO_MATCH)
        self._kept = kept
        self._fields = self._classify()
        # Endpoints with the same policies share a table: by identity, as calc hands out one object for equal
        # parts.
        self._tables: dict[tuple[object, ...], tuple[int, dict[str, int]]] = {}
        self._statistics: list[dict[str, Any]] = []

    def _classify(self) -> Fields:
        plan = self._plan
        families = self._kept.addresses.classify(plan.sets)
        cells, ports = (
            self._kept.cells.classify(plan.cells.keys()),
            self._kept.ports.classify(plan.ports.keys()),
        )
        four, six = (side_bits(plan.sides.keys(), family.classes) for family in families)
        fragments = [np.flatnonzero(np.bincount(cells.table[fragment_cells(each)])) for each in DETAILED]
        fields = Fields(families, (four, six), cells.classes, fragments, ports.classes)
        self._cell_table, self._port_table = cells.table, ports.table
        return fields

    def run(self) -> Image:
        """Lay out everything; the header goes first and is filled last."""
        endpoints = sorted(self._view.endpoints, key=lambda endpoint: endpoint.slot)
        _check_at_most("host endpoints", len(endpoints), abi.ENDPOINTS_MAX)
        _check_at_most("tunnels", len(self._view.tunnels), abi.TUNNELS_MAX)
        header_at = self._layout.reserve(abi.IMAGE_HEADER.size)
        slots_at = self._layout.reserve(len(endpoints) * abi.IMAGE_SLOT.size)
        classes = self._add_classes()
        slots = b"".join(self._slot(endpoint) for endpoint in endpoints)
        self._layout.fill(slots_at, slots)
        tunnels = b"".join(abi.IMAGE_TUNNEL.pack(*each) for each in self._view.tunnels)
        _check_at_most("verdicts", len(self._outcomes), abi.VERDICTS_MAX)
        fields = {
            "magic": abi.IMAGE_MAGIC,
            "abi": abi.ABI_VERSION,
            "generation": self._generation,
            "flags": self._flags(),
            "slots": len(endpoints),
            "slots_at": slots_at,
            "verdicts_at": self._layout.add(b"".join(map(_verdict, self._outcomes.all))),
            "verdicts": len(self._outcomes),
            "node_ports_at": self._layout.add(_node_ports(self._view)) if self._view.node_ports else 0,
            "tunnels_at": self._layout.add(tunnels) if tunnels else 0,
            "tunnels": len(self._view.tunnels),
            "edits": 0,
            "compiled": 0,
            "hash": 0,
            **classes,
        }
        room = self._room()
        fields["size"] = self._layout.size
        self._layout.fill(
            header_at, abi.IMAGE_HEADER.pack(*(fields[name] for name in abi.IMAGE_HEADER_FIELDS))
        )
        data = self._layout.finish()
        seal(data)
        names = tuple(endpoint.name for endpoint in endpoints)
        return Image(
            data, self._generation, Later(self._metadata), names, self._outline(), self._editor(room)
        )

    def _room(self) -> Room:
        """Behind everything else, for edits in place."""
        layout = self._layout
        blocks_at = layout.size
        blocks = layout.spare((SPARE_BLOCKS + 1) * BLOCK_BYTES)
        return Room(blocks_at, blocks, layout.size, layout.spare(SPARE_BYTES6))

    def _editor(self, room: Room) -> Callable[[], Editor]:
        families, trie6, numbers = self._fields.families, self._trie6, self._plan.known_sets
        return lambda: Editor(families, trie6, numbers, room)

    def _add_classes(self) -> dict[str, int]:
        """Lay out what all tables share; the header fields about it."""
        fields, layout = self._fields, self._layout
        four, six = fields.families
        self._trie6, nodes6 = self._kept.trie6.trie(six.points, (six.classes.of + six.base).tolist())
        return {
            "trie4_at": layout.add(build_trie4(np.array(four.points, dtype=np.int64), four.classes.of)),
            "trie6_at": layout.add(nodes6),
            "trie6_root": self._trie6.root,
            "l4_at": layout.add(l4_table(self._cell_table, fields.cells.count)),
            "sport_at": layout.add(self._port_table) if fields.ports.count > 1 else 0,
            "address_flags_at": layout.add(self._address_flags()),
            "address_classes": four.classes.count + six.classes.count,
            "l4_classes": fields.cells.count + len(DETAILED),
            "sport_classes": fields.ports.count,
        }

    def _address_flags(self) -> npt.NDArray[np.uint8]:
        parts = []
        for family in self._fields.families:
            host, node = (
                np.unpackbits(family.classes.members[number], count=family.classes.count)
                for number in (self._plan.host, self._plan.nodes)
            )
            parts.append(host * np.uint8(abi.ADDRESS_HOST) | node * np.uint8(abi.ADDRESS_NODE))
        return np.concatenate(parts)

    def _flags(self) -> int:
        untracked = any(not _UNTRACKED.isdisjoint(endpoint.tables) for endpoint in self._view.endpoints)
        return (abi.IMAGE_UNTRACKED if untracked else 0) | _POD_FLAGS[self._view.pod_to_host]

    def _slot(self, endpoint: EndpointView) -> bytes:
        places = [0] * abi.TABLE_KINDS
        for kind, table in sorted(endpoint.tables.items()):
            place, statistics = self._table(table)
            places[kind] = place
            self._statistics.append(
                {"endpoint": endpoint.name, "slot": endpoint.slot, "table": kind.name.lower(), **statistics}
            )
        services = self._plan.redirections
        return abi.IMAGE_SLOT.pack(*places, 0 if services is None else self._table(services)[0])

    def _table(self, view: TableView) -> tuple[int, dict[str, int]]:
        """Where the table is in the image, and its statistics; a table that is there already is shared."""
        key = table_key(view)
        known = self._tables.get(key)
        if known is None:
            table = compile_table(view, self._plan, self._fields, self._budget, self._kept.paintings)
            known = self._tables[key] = self._add_table(table), _statistics(view, table)
        return known

    def _add_table(self, table: Table) -> int:
        layout = self._layout
        cells = self._verdict_cells(table)
        fields = {
            "by_source_at": layout.add(table.by_source),
            "by_destination_at": layout.add(table.by_destination),
            "combine_addresses_at": layout.add(table.combine_addresses),
            "by_l4_at": layout.add(table.by_l4),
            "by_source_port_at": layout.add(table.by_source_port),
            "combine_l4_at": layout.add(table.combine_l4),
            "cells_at": layout.add(cells),
            "columns": table.cells.shape[1],
            "rows": table.cells.shape[0],
            "combine_addresses": len(table.combine_addresses),
            "combine_l4": len(table.combine_l4),
            "pages_at": 0,
            "runs": 0,
        }
        if isinstance(table.cells, Paged):
            fields["pages_at"] = layout.add(table.cells.pages.astype(np.uint16))
            fields["runs"] = len(cells)
        return layout.add(abi.IMAGE_TABLE.pack(*(fields[name] for name in abi.IMAGE_TABLE_FIELDS)))

    def _verdict_cells(self, table: Table) -> Cells:
        """The table's cells, or its runs of them, in verdict ids of the whole image."""
        own = table.cells.runs if isinstance(table.cells, Paged) else table.cells
        mapping = np.zeros(len(table.outcomes), dtype=np.uint16)
        for number in present(own):
            verdict = self._outcomes.number(table.outcomes[number])
            _check_at_most("verdicts", verdict + 1, abi.VERDICTS_MAX)
            mapping[number] = verdict
        cells = np.empty(own.shape, dtype=np.uint16)
        for part, numbers in zip(blocks(cells), blocks(own), strict=True):
            np.take(mapping, numbers, out=part, mode="clip")
        return cells

    def _outline(self) -> Callable[[], dict[str, Any]]:
        """Made only when somebody asks; until then it costs nothing but that its parts stay."""
        view, families, number = self._view, self._fields.families, self._plan.set_number
        return lambda: outline(view, families, number)

    def _metadata(self) -> dict[str, Any]:
        four, six = self._fields.families
        return {
            "generation": self._generation,
            "node": self._view.node,
            "classes": {
                "ipv4": four.classes.count,
                "ipv6": six.classes.count,
                "layer4": self._fields.cells.count + len(DETAILED),
                "source_ports": self._fields.ports.count,
            },
            "verdicts": [
                {
                    "action": outcome.action.name.capitalize(),
                    "rule": outcome.rule,
                    "logs": list(outcome.logs),
                    "staged": dict(outcome.staged),
                }
                for outcome in self._outcomes.all
            ],
            "rules": _rule_places(self._view),
            "sets": [{"name": each.name, "v4": len(each.v4), "v6": len(each.v6)} for each in self._plan.sets],
            "tables": self._statistics,
        }


def _check_at_most(what: str, needs: int, have: int) -> None:
    if needs > have:
        raise CapacityError(what, needs, have)


def _verdict(outcome: Outcome) -> bytes:
    return abi.VERDICT.pack(outcome.action, abi.VERDICT_LOG if outcome.logs else 0, outcome.rule)


def _node_ports(view: NodeView) -> npt.NDArray[np.uint8]:
    """Bitmaps of TCP, UDP and SCTP ports: bit ``port & 7`` of byte ``port >> 3``."""
    ports = np.zeros((len(_NODE_PORT_ROWS), PORTS), dtype=np.uint8)
    for protocol, port in view.node_ports:
        if protocol in _NODE_PORT_ROWS:
            ports[_NODE_PORT_ROWS[protocol], port] = 1
    return np.packbits(ports, axis=1, bitorder="little")


def _statistics(view: TableView, table: Table) -> dict[str, int]:
    return {
        "rules": sum(len(policy.rules) for policy in policies(view)),
        "rows": table.cells.shape[0],
        "columns": table.cells.shape[1],
        "painted_rows": table.painted[0],
        "painted_columns": table.painted[1],
    }


def _rule_places(view: NodeView) -> dict[str, str]:
    """Rule key in decimal -> where the rule stands; equal keys name the same place twice, so the first is
    kept."""
    places: dict[str, str] = {}
    for endpoint in view.endpoints:
        for table in endpoint.tables.values():
            refs = [rule.ref for policy in policies(table) for rule in policy.rules]
            for ref in [*refs, *(tier.end_ref for tier in table.tiers), table.end_ref]:
                places.setdefault(str(ref.key), str(ref))
    return places
