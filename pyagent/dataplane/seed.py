"""Flows that are under way before the first policy is: put into the empty flow tables so that they go on.

TCP of the host itself needs none of it, for the program asks the kernel's sockets.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from pyagent import abi
from pyagent.abi import Direction, FlowOrigin
from pyagent.bpf.clock import Jiffies
from pyagent.bpf.maps import Map
from pyagent.bpf.numbers import UPDATE_NOEXIST
from pyagent.dataplane.conntrack import Tracked, tracked
from pyagent.dataplane.sockets import Ends, connected_udp
from pyagent.errors import KernelError

log = logging.getLogger(__name__)

_UDP: Final = 17
#: Nobody knows whose policy would have let the opener pass: what goes on, goes on everywhere.
_APPROVED_BY_ALL: Final = (1 << 64) - 1

Seed = tuple[bytes, Direction]
"""A flow's key and which way its opener sends."""


def seed(flows4: Map, flows6: Map, host: Iterable[str]) -> int:
    """Make flows of what is under way now, at most half a table; returns how many.

    ``host``: this host's addresses. A flow that is there already is left as it is.
    """
    clock = Jiffies()
    try:
        now = clock.now() & 0xFFFFFFFF
    finally:
        clock.close()
    own = frozenset(host)
    added = 0
    for key, opener in _under_way(own):
        table = flows4 if len(key) == abi.FLOW4_KEY.size else flows6
        if added >= table.info.max_entries // 2:
            log.warning("flows under way that found no place: the table is half full entries=%d", added)
            break
        added += _add(table, key, opener, now)
    return added


def _add(table: Map, key: bytes, opener: Direction, now: int) -> bool:
    flow = abi.FLOW.pack(
        _APPROVED_BY_ALL, 0, 0, now, now, 0, 0, opener, FlowOrigin.SEEDED, abi.FLOW_REPLIED
    )  # fmt: skip
    try:
        table.set(key, flow, UPDATE_NOEXIST)
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise
        return False
    return True


def _under_way(own: frozenset[str]) -> Iterator[Seed]:
    packed = frozenset(map(_packed, own))
    try:
        for ends in connected_udp():
            yield from of_socket(ends, packed)
    except KernelError as error:  # a kernel without it: its conntrack may still know
        log.warning("UDP sockets are not known reason=%r", str(error))
    for exchange in tracked():
        yield from of_tracked(exchange, packed)


def of_socket(ends: Ends, own: frozenset[bytes]) -> Iterator[Seed]:
    """Say what the flow of a connected UDP socket is; who began is unknown, and does not matter.

    A packet between two addresses of this host crosses lo, where it meets two flows.
    """
    here, there = (ends.local, ends.local_port), (ends.remote, ends.remote_port)
    yield flow_key(_UDP, *here, *there), Direction.EGRESS
    if ends.remote in own:
        yield flow_key(_UDP, *there, *here), Direction.INGRESS


def of_tracked(exchange: Tracked, own: frozenset[bytes]) -> Iterator[Seed]:
    """Say what flows an exchange is where it comes into this host and where it leaves it.

    ``own``: this host's addresses. What this host began comes in nowhere; what it answers itself leaves
    nowhere; what it forwards does both, under two tuples if there is NAT; what it tells itself does both too.
    """
    original, reply = exchange.original, exchange.reply
    to_itself = original.source in own and reply.source in own
    if to_itself or original.source not in own:
        yield (
            flow_key(
                exchange.protocol,
                original.destination,
                original.destination_port,
                original.source,
                original.source_port,
            ),
            Direction.INGRESS,
        )
    if to_itself or reply.source not in own:
        yield (
            flow_key(
                exchange.protocol,
                reply.destination,
                reply.destination_port,
                reply.source,
                reply.source_port,
            ),
            Direction.EGRESS,
        )


def flow_key(protocol: int, local: bytes, local_port: bytes, remote: bytes, remote_port: bytes) -> bytes:
    """Return struct flow4_key or flow6_key, by the addresses' length; ports in network order."""
    layout: struct.Struct = abi.FLOW4_KEY if len(local) == 4 else abi.FLOW6_KEY
    return layout.pack(local, remote, local_port, remote_port, protocol)


def _packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed
