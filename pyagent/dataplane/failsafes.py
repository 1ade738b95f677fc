"""Failsafe ports as the program reads them: two bits a port, and the networks of those that are limited."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from typing import Final

from pyagent import abi
from pyagent.calc.view import Failsafe

_INDEX: Final = {6: abi.FAILSAFE_TCP, 17: abi.FAILSAFE_UDP, 132: abi.FAILSAFE_SCTP}
#: Bytes of one of the two bitmaps of struct failsafe_ports.
BITMAP_BYTES: Final = 6 * 8192
_PRESENT: Final = struct.pack("=I", 1)


def bitmaps(failsafes: Iterable[Failsafe]) -> bytearray:
    """Return struct failsafe_ports: ports open to every peer, then ports open to some."""
    found = bytearray(2 * BITMAP_BYTES)
    for failsafe in failsafes:
        start = 0 if failsafe.net is None else BITMAP_BYTES
        place = start + _index(failsafe) * 8192 + (failsafe.port >> 3)
        found[place] |= 1 << (failsafe.port & 7)
    return found


def networks(failsafes: Iterable[Failsafe]) -> dict[bytes, bytes]:
    """Return the elements of the failsafe_nets trie."""
    return {_key(failsafe, failsafe.net): _PRESENT for failsafe in failsafes if failsafe.net is not None}


def _index(failsafe: Failsafe) -> int:
    outbound = abi.FAILSAFE_OUTBOUND if failsafe.direction == "egress" else 0
    return _INDEX[failsafe.protocol] + outbound


def _key(failsafe: Failsafe, net: str) -> bytes:
    network = ipaddress.ip_network(net, strict=False)
    address = network.network_address.packed.ljust(16, b"\0")
    port = struct.pack(">H", failsafe.port)
    bits = abi.FAILSAFE_FIXED_BITS + network.prefixlen
    return abi.FAILSAFE_KEY.pack(bits, port, _index(failsafe), network.version, address)
