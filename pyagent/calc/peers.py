"""Peers: what selectors, network lists, named ports and services stand for, as interned sets of addresses.

Everything a rule can name as its other side is a row: host endpoints with their expectedIPs, network sets
with their networks. Answers are kept until a change could alter them, and a condition whose content did not
change gives the same object again, so that whoever holds it can tell by identity that nothing happened.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from weakref import WeakValueDictionary

import numpy as np

from pyagent.calc.labels import Labels, LabelTable, Mask, endpoint_labels
from pyagent.calc.nets import by_version, net_text, parse_net
from pyagent.calc.ports import PortGroup, protocol_number, union
from pyagent.calc.services import Triples, endpoints_of
from pyagent.calc.view import AddressSet, Net, Since
from pyagent.calc.world import World
from pyagent.model import (
    ClusterServices,
    EndpointSlice,
    GlobalNetworkSet,
    HostEndpoint,
    Node,
    Profile,
    Resource,
)
from pyagent.selector import parse

CREATED_BY_LABEL = "projectcalico.org/created-by"
#: What a host endpoint's name begins with among the peers.
ENDPOINT = "e"
#: Networks named in a set's own name before the rest is only counted.
NAMED_NETS = 4


@dataclass(frozen=True, slots=True)
class Row:
    """One peer. ``ports``: (name, protocol, port). ``node``: its addresses are a node's."""

    labels: Labels
    nets: frozenset[tuple[int, Net]]
    ports: tuple[tuple[str, int, int], ...] = ()
    node: bool = False
    bad: tuple[str, ...] = ()


class Peers:
    """The peers of one World at a time; ``update`` moves it to another."""

    def __init__(self) -> None:
        self.warnings: tuple[str, ...] = ()
        self._interned: WeakValueDictionary[Hashable, AddressSet] = WeakValueDictionary()
        self._seen: tuple[object, ...] = ()
        self._labels_of: dict[str, Labels] = {}
        self._resources: dict[str, Resource] = {}
        self._rows: dict[str, Row] = {}
        self._places: dict[str, int] = {}
        self._world = World({})
        self._services: tuple[object, ...] = ()
        self._nodes: Mapping[str, Node] = {}
        #: Networks that came into a selector's set (True) or left it, not yet in what is kept of it; and
        #: whether a larger network of the set holds them anyway.
        self._late: dict[str, dict[tuple[int, Net], tuple[bool, bool]]] = {}
        self._clear()

    def _clear(self) -> None:
        self._table: LabelTable | None = None
        self._index: dict[int, _NetIndex] = {}
        self._by_selector: dict[str, AddressSet] = {}
        self._by_nets: dict[tuple[str, ...], AddressSet] = {}
        self._by_port: dict[tuple[str, tuple[str, ...]], tuple[PortGroup, ...]] = {}
        self._by_service: dict[tuple[str, str], tuple[PortGroup, ...]] = {}
        self._node_set: AddressSet | None = None
        self._asked: set[object] = set()
        self._late = {}

    # -- changes

    def update(self, world: World) -> None:
        """Move to ``world``, keeping every answer that the difference cannot touch."""
        self._update_kubernetes(world)
        seen = (world.of(HostEndpoint), world.of(GlobalNetworkSet), world.of(Profile))
        if seen == self._seen:
            return
        self._seen = seen
        labels_of: dict[str, Labels] = {
            name: labels for name, profile in seen[2].items() if (labels := profile.spec.labels_to_apply)
        }
        if labels_of != self._labels_of:
            self._labels_of, self._resources = labels_of, {}
        old, self._rows = self._rows, self._read(seen[0], seen[1])
        self.warnings = tuple(text for row in self._rows.values() for text in row.bad)
        if old.keys() == self._rows.keys() and all(
            map(_same_addresses, old.values(), map(self._rows.get, old))
        ):
            self._rows = {
                key: self._rows[key] for key in old
            }  # places are positions in the order of the start
            self._relabel(old)
        else:
            self._clear()

    def _update_kubernetes(self, world: World) -> None:
        self._world = world
        services = world.of(EndpointSlice), world.of(ClusterServices)
        if services != self._services:
            self._services, self._by_service = services, {}
        nodes = world.of(Node)
        if nodes != self._nodes:
            self._nodes, self._node_set = nodes, None

    def _read(
        self, endpoints: Mapping[str, HostEndpoint], sets: Mapping[str, GlobalNetworkSet]
    ) -> dict[str, Row]:
        """The rows of all peers, by kind and name; those of unchanged resources are the old objects."""
        rows: dict[str, Row] = {}
        resources: dict[str, Resource] = {}
        for initial, resource in _keyed(endpoints, sets):
            key = initial + resource.metadata.name
            if self._resources.get(key) is resource:
                rows[key] = self._rows[key]
            elif isinstance(resource, HostEndpoint):
                rows[key] = _endpoint_row(resource, self._labels_of)
            else:
                rows[key] = _set_row(resource)
            resources[key] = resource
        self._resources = resources
        return rows

    def _relabel(self, old: dict[str, Row]) -> None:
        """Only labels differ: forget the answers of the selectors that look at those."""
        keys: set[str] = set()
        for key, row in self._rows.items():
            if row is not old[key]:
                keys |= {each for each, _ in row.labels.items() ^ old[key].labels.items()}
                if self._table is not None:
                    self._table.replace(self._places[key], row.labels)
        if not keys:
            return
        if self._table is not None:
            self._table.forget(keys)
        self._by_selector = {t: s for t, s in self._by_selector.items() if not keys & parse(t).keys()}
        self._by_port = {k: groups for k, groups in self._by_port.items() if not keys & parse(k[0]).keys()}

    def sweep(self) -> None:
        """Drop the answers that nobody asked for since the last sweep."""
        asked, self._asked = self._asked, set()
        self._by_selector = {key: value for key, value in self._by_selector.items() if key in asked}
        self._by_nets = {key: value for key, value in self._by_nets.items() if key in asked}
        self._by_port = {key: value for key, value in self._by_port.items() if key in asked}
        self._by_service = {key: value for key, value in self._by_service.items() if key in asked}

    # -- one host endpoint at a time, see pyagent.calc.moves

    @property
    def rows(self) -> Mapping[str, Row]:
        """All peers, by kind and name."""
        return self._rows

    def selectors(self) -> dict[str, AddressSet]:
        """The answers to all selectors that were asked since the last sweep but one."""
        return dict(self._by_selector)

    def endpoint_row(self, endpoint: HostEndpoint) -> Row:
        """The row of a host endpoint."""
        return _endpoint_row(endpoint, self._labels_of)

    def may_replace(self, old: Row | None, new: Row | None) -> bool:
        """Whether :meth:`replace` can do it: no Node has a say, and no port has a name that is asked for."""
        rows = [row for row in (old, new) if row is not None]
        return not self._nodes and not any(row.bad or (self._by_port and row.ports) for row in rows)

    def replace(self, endpoint: HostEndpoint | None, name: str, row: Row | None) -> None:
        """A host endpoint has another row, or none any more; answers follow by :meth:`alter`."""
        key = ENDPOINT + name
        if row is None or endpoint is None:
            self._rows.pop(key, None)
            self._resources.pop(key, None)
        else:
            self._rows[key], self._resources[key] = row, endpoint
        self._table = None
        self._index = {}
        self._node_set = None

    def alter(self, text: str, net: tuple[int, Net], *, inside: bool, covered: bool) -> None:
        """An address came into a selector's answer or left it; ``covered``: a larger network there has it."""
        self._late.setdefault(text, {})[net] = inside, covered

    def moved(self, world: World) -> None:
        """All changes up to ``world`` were told by :meth:`replace`."""
        self._seen = (world.of(HostEndpoint), world.of(GlobalNetworkSet), world.of(Profile))

    def _catch_up(self, text: str) -> None:
        """Put what came late into the kept answer."""
        known, late = self._by_selector.get(text), self._late.pop(text, None)
        if known is None or late is None:
            return
        lists, moved, changed = {4: list(known.v4), 6: list(known.v6)}, set(), False
        for (version, net), (inside, covered) in late.items():
            nets = lists[version]
            at = bisect_left(nets, net)
            if (nets[at : at + 1] == [net]) is inside:
                continue
            nets[at : at + (not inside)] = [net] if inside else []
            changed = True
            if not covered:
                moved.add((version, net[0]))
        if changed:
            key, since = str(parse(text)), Since(known.v4, known.v6, frozenset(moved))
            again = AddressSet(key, tuple(lists[4]), tuple(lists[6]), since)
            self._by_selector[text] = self._interned[key] = again

    # -- questions

    def selector(self, text: str) -> AddressSet:
        """The addresses of all peers that the selector picks. Raises SelectorError."""
        self._asked.add(text)
        if text in self._late:
            self._catch_up(text)
        found = self._by_selector.get(text)
        if found is None:
            selector = parse(text)
            mask = self._label_table().picked(selector)
            found = self._by_selector[text] = self._gather(str(selector), mask)
        return found

    def nets(self, nets: tuple[str, ...]) -> AddressSet:
        """The networks of a list. Raises ValueError."""
        self._asked.add(nets)
        found = self._by_nets.get(nets)
        if found is None:
            parsed = {parse_net(net) for net in nets}
            found = self._by_nets[nets] = self._same_or_new(
                _list_name(parsed), *by_version(parsed), frozenset(parsed)
            )
        return found

    def named_ports(self, selector: str, names: tuple[str, ...]) -> tuple[PortGroup, ...]:
        """Ports with one of ``names`` of the host endpoints that ``selector`` picks. Raises SelectorError."""
        key = (selector, names)
        self._asked.add(key)
        if key not in self._by_port:
            self._by_port[key] = self._find_ports(selector, names)
        return self._by_port[key]

    def service(self, namespace: str, name: str) -> tuple[PortGroup, ...]:
        """Addresses and ports of a Service's endpoints."""
        key = (namespace, name)
        self._asked.add(key)
        if key not in self._by_service:
            triples = endpoints_of(self._world, namespace, name)
            self._by_service[key] = self.groups(f"service {namespace}/{name}", triples)
        return self._by_service[key]

    def nodes(self) -> AddressSet:
        """All known nodes' addresses: of automatic and ``*`` host endpoints, and InternalIPs of Nodes."""
        if self._node_set is None:
            nets = {net for row in self._rows.values() if row.node for net in row.nets}
            self._node_set = self.intern("all nodes", nets | _internal_addresses(self._nodes))
        return self._node_set

    def intern(self, name: str, nets: set[tuple[int, Net]]) -> AddressSet:
        """The one AddressSet of that name and content."""
        return self._same_or_new(name, *by_version(nets))

    # -- how answers are found

    def _same_or_new(
        self, name: str, v4: tuple[Net, ...], v6: tuple[Net, ...], condition: Hashable = None
    ) -> AddressSet:
        """The set already made for ``condition`` (by default its name) if its content is still the same."""
        key = name if condition is None else condition
        known = self._interned.get(key)
        if known is None or known.v4 != v4 or known.v6 != v6:
            known = self._interned[key] = AddressSet(name, v4, v6)
        return known

    def _label_table(self) -> LabelTable:
        if self._table is None:
            self._table = LabelTable([row.labels for row in self._rows.values()])
            self._places = {key: place for place, key in enumerate(self._rows)}
        return self._table

    def _gather(self, name: str, mask: Mask) -> AddressSet:
        if not self._index:
            self._index = {version: _NetIndex(version, self._rows.values()) for version in (4, 6)}
        return self._same_or_new(name, self._index[4].of(mask), self._index[6].of(mask))

    def _find_ports(self, selector: str, names: tuple[str, ...]) -> tuple[PortGroup, ...]:
        parsed = parse(selector)
        wanted = frozenset(names)
        rows = list(self._rows.values())
        triples: Triples = {}
        for place in np.flatnonzero(self._label_table().picked(parsed)).tolist():
            row = rows[place]
            for name, protocol, port in row.ports:
                if name in wanted:
                    triples.setdefault((protocol, port), set()).update(row.nets)
        return self.groups(f"port {', '.join(names)} of {parsed}", triples)

    def groups(self, name: str, triples: Triples) -> tuple[PortGroup, ...]:
        """Triples as groups: all ports of a protocol that have the same addresses are one group."""
        same: dict[tuple[int, frozenset[tuple[int, Net]]], list[int]] = {}
        for (protocol, port), nets in sorted(triples.items(), key=lambda item: item[0]):
            if nets:
                same.setdefault((protocol, frozenset(nets)), []).append(port)
        return tuple(
            PortGroup(
                self.intern(f"{name} ({protocol}:{ports[0]})", set(nets)),
                protocol,
                union((p, p) for p in ports),
            )
            for (protocol, nets), ports in same.items()
        )


class _NetIndex:
    """All networks of all rows of one IP version, sorted, and which row owns which."""

    def __init__(self, version: int, rows: Iterable[Row]) -> None:
        owned = sorted((net, place) for place, row in enumerate(rows) for v, net in row.nets if v == version)
        self._owner = np.array([place for _, place in owned], dtype=np.int64)
        self._nets: list[Net] = []
        ids = []
        for net, _ in owned:
            if not self._nets or self._nets[-1] != net:
                self._nets.append(net)
            ids.append(len(self._nets) - 1)
        self._ids = np.array(ids, dtype=np.int64)

    def of(self, mask: Mask) -> tuple[Net, ...]:
        """The networks of the rows in ``mask``, sorted, each once."""
        if not self._nets:
            return ()
        chosen = np.zeros(len(self._nets), dtype=np.bool_)
        chosen[self._ids[mask[self._owner]]] = True
        return tuple(map(self._nets.__getitem__, np.flatnonzero(chosen).tolist()))


def _list_name(nets: set[tuple[int, Net]]) -> str:
    """The first networks of a list and how many there are besides."""
    shown = ", ".join(net_text(version, net) for version, net in sorted(nets)[:NAMED_NETS])
    more = len(nets) - NAMED_NETS
    return f"{shown} and {more} more" if more > 0 else shown


def _keyed(
    endpoints: Mapping[str, HostEndpoint], sets: Mapping[str, GlobalNetworkSet]
) -> Iterable[tuple[str, HostEndpoint | GlobalNetworkSet]]:
    yield from ((ENDPOINT, endpoint) for endpoint in endpoints.values())
    yield from (("s", network_set) for network_set in sets.values())


def _same_addresses(one: Row, other: Row | None) -> bool:
    if one is other:
        return True
    return other is not None and (one.nets, one.ports, one.node) == (other.nets, other.ports, other.node)


def _endpoint_row(endpoint: HostEndpoint, labels_of: Mapping[str, Labels]) -> Row:
    spec = endpoint.spec
    bad: list[str] = []
    nets = _parse_all(spec.expected_ips, f"HostEndpoint {endpoint.name}", bad)
    ports = []
    for port in spec.ports:
        try:
            ports.append((port.name, protocol_number(port.protocol), port.port))
        except ValueError as error:
            bad.append(f"HostEndpoint {endpoint.name}: port {port.name!r} is ignored: {error}")
    node = spec.interface_name == "*" or CREATED_BY_LABEL in endpoint.metadata.labels
    return Row(endpoint_labels(endpoint, labels_of), nets, tuple(ports), node, tuple(bad))


def _set_row(network_set: GlobalNetworkSet) -> Row:
    bad: list[str] = []
    nets = _parse_all(network_set.spec.nets, f"GlobalNetworkSet {network_set.name}", bad)
    return Row(network_set.metadata.labels, nets, bad=tuple(bad))


def _parse_all(texts: Iterable[str], owner: str, bad: list[str]) -> frozenset[tuple[int, Net]]:
    """The networks of ``texts``; what is none becomes a sentence in ``bad``."""
    nets = set()
    for text in texts:
        try:
            nets.add(parse_net(text))
        except ValueError as error:
            bad.append(f"{owner}: {error} and is ignored")
    return frozenset(nets)


def _internal_addresses(nodes: Mapping[str, Node]) -> set[tuple[int, Net]]:
    texts = [a.address for node in nodes.values() for a in node.status.addresses if a.type == "InternalIP"]
    return set(_parse_all(texts, "Node", []))
