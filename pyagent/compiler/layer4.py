"""Layer 4 classes: protocol with destination port or ICMP type and code, and the source port apart from them.

Both are fields of intervals: the *cells* of the image's l4 table, and source ports. A condition is a set of
cells and a set of source ports; one that names source ports by exclusion and portless protocols as well is
two conditions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from pyagent import abi
from pyagent.calc.view import L4Match, PortRange
from pyagent.compiler.intervals import Classes, classify, values_in

#: Half-open intervals, sorted and disjoint.
Spans = tuple[tuple[int, int], ...]

PORT_BASES: Final = {6: abi.L4_TCP, 17: abi.L4_UDP, 132: abi.L4_SCTP}
ICMP_BASES: Final = {1: abi.L4_ICMP, 58: abi.L4_ICMPV6}
#: Protocols whose cells tell ports or types apart, in the order of the image's table.
DETAILED: Final = {**PORT_BASES, **ICMP_BASES}
#: Cells that classes are made of; those of later fragments follow from them.
CELLS: Final = abi.L4_FRAGMENT
PORTS: Final = 65536
#: Class numbers are u16, and later fragments have some of their own.
CLASSES_MAX: Final = 65536 - len(DETAILED)
#: Matches whose conditions are remembered from one compilation to the next.
CONDITIONS_KEPT: Final = 16384
_EVERY_CELL: Final[Spans] = ((0, CELLS),)
EVERY_PORT: Final[Spans] = ((0, PORTS),)
_ALL_PROTOCOLS: Final = frozenset(range(256))
_PORT_PROTOCOLS: Final = frozenset(PORT_BASES)


@lru_cache(CONDITIONS_KEPT)
def conditions(l4: L4Match) -> tuple[tuple[Spans, Spans], ...]:
    """The (cells, source ports) of a match; a packet satisfies it if it lies in both of any pair."""
    if l4 == _ANYTHING:
        return ((_EVERY_CELL, EVERY_PORT),)
    protocols = (_ALL_PROTOCOLS if l4.protocols is None else l4.protocols) - l4.not_protocols
    if l4.source_ports is None and not l4.not_source_ports:
        return _present([(_cells(l4, protocols), EVERY_PORT)])
    ports = (_cells(l4, protocols & _PORT_PROTOCOLS), _ports(l4.source_ports, l4.not_source_ports))
    if l4.source_ports is not None:
        return _present([ports])
    return _present([ports, (_cells(l4, protocols - _PORT_PROTOCOLS), EVERY_PORT)])


_ANYTHING: Final = L4Match()


def _present(pairs: list[tuple[Spans, Spans]]) -> tuple[tuple[Spans, Spans], ...]:
    return tuple(pair for pair in pairs if pair[0] and pair[1])


def _cells(l4: L4Match, protocols: frozenset[int]) -> Spans:
    """The cells of ``protocols`` that satisfy the destination port and ICMP conditions."""
    if l4.ports is not None:
        protocols &= _PORT_PROTOCOLS
    if l4.icmp is not None:
        protocols &= frozenset(ICMP_BASES)
    spans: list[tuple[int, int]] = []
    if protocols & _PORT_PROTOCOLS:
        ports = _ports(l4.ports, l4.not_ports)
        for protocol in protocols & _PORT_PROTOCOLS:
            spans += [(PORT_BASES[protocol] + low, PORT_BASES[protocol] + high) for low, high in ports]
    for protocol in protocols & ICMP_BASES.keys():
        included = ((0, PORTS),) if l4.icmp is None else (_icmp(l4.icmp),)
        types = _subtract(included, () if l4.not_icmp is None else (_icmp(l4.not_icmp),))
        spans += [(ICMP_BASES[protocol] + low, ICMP_BASES[protocol] + high) for low, high in types]
    spans += [(abi.L4_PROTOCOL + each, abi.L4_PROTOCOL + each + 1) for each in protocols - DETAILED.keys()]
    return _union(spans)


def _icmp(kind: tuple[int, int | None]) -> tuple[int, int]:
    number, code = kind
    return (
        (number << 8, (number + 1) << 8) if code is None else (number << 8 | code, (number << 8 | code) + 1)
    )


def _ports(included: tuple[PortRange, ...] | None, excluded: tuple[PortRange, ...]) -> Spans:
    wanted = EVERY_PORT if included is None else _union((low, high + 1) for low, high in included)
    return _subtract(wanted, _union((low, high + 1) for low, high in excluded)) if excluded else wanted


def _union(spans: Iterable[tuple[int, int]]) -> Spans:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        elif low < high:
            merged.append((low, high))
    return tuple(merged)


def _subtract(spans: Spans, holes: Spans) -> Spans:
    left: list[tuple[int, int]] = []
    for low, high in spans:
        at = low
        for start, stop in holes:
            if start < high and stop > at:
                left.append((at, start))
                at = stop
        left.append((at, high))
    return tuple((low, high) for low, high in left if low < high)


@dataclass(frozen=True, slots=True)
class Field:
    """A field's classes and ``table``, the class of each of its values."""

    classes: Classes
    table: npt.NDArray[np.uint16]


def classify_field(sets: list[Spans], size: int, what: str) -> Field:
    """Classes of a field of ``size`` values, called ``what``, under the given sets of values."""
    spans = np.array([span for each in sets for span in each], dtype=np.int64).reshape(-1, 2)
    owner = np.repeat(np.arange(len(sets)), [len(each) for each in sets])
    points = values_in(np.concatenate([[0], spans.reshape(-1)]))
    points = points[points < size]
    first, stop = np.searchsorted(points, spans.T)
    classes = classify((owner, first, stop), len(sets), len(points), (what, CLASSES_MAX))
    return Field(classes, np.repeat(classes.of.astype(np.uint16), np.diff(np.append(points, size))))


class LastField:
    """A field's classes, kept for a compilation that has the same sets in the same order."""

    def __init__(self, size: int, what: str) -> None:
        self._size, self._what = size, what
        self._made: tuple[list[Spans], Field] | None = None

    def classify(self, sets: list[Spans]) -> Field:
        """See :func:`classify_field`."""
        if self._made is None or self._made[0] != sets:
            self._made = sets, classify_field(sets, self._size, self._what)
        return self._made[1]


def fragment_cells(protocol: int) -> slice:
    """The cells that a later fragment of ``protocol`` may have come from."""
    if protocol in DETAILED:
        return slice(DETAILED[protocol], DETAILED[protocol] + PORTS)
    return slice(abi.L4_PROTOCOL + protocol, abi.L4_PROTOCOL + protocol + 1)


def l4_table(cells: npt.NDArray[np.uint16], classes: int) -> npt.NDArray[np.uint16]:
    """The image's table: cells, then later fragments.

    Later fragments of a protocol with detail have classes of their own, numbered from ``classes`` in the
    order of :data:`DETAILED`; those of the others have the protocol's class.
    """
    table = np.empty(abi.L4_ENTRIES, dtype=np.uint16)
    table[:CELLS] = cells
    for protocol, base in DETAILED.items():
        # No packet is looked up here: such a packet has its ports, or is dropped for being short.
        table[abi.L4_PROTOCOL + protocol] = cells[base]
    table[abi.L4_FRAGMENT :] = table[abi.L4_PROTOCOL : abi.L4_FRAGMENT]
    for index, protocol in enumerate(DETAILED):
        table[abi.L4_FRAGMENT + protocol] = classes + index
    return table
