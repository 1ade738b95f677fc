"""Maps as the kernel has them, and failsafe ports in words."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

from pyagent import abi
from pyagent.bpf import layout
from pyagent.bpf.maps import Map
from pyagent.bpf.numbers import ARRAYS, MapType
from pyagent.inspection.names import protocol_name
from pyagent.inspection.pinned import Pinned

#: The option that sizes a map; the others are as large as they ever need to be.
KNOBS: Final = {
    "flows4": "--flows-max of the agent",
    "flows6": "--flows-max of the agent",
    "images": "--image-bytes of the agent",
}
_FAILSAFE_PROTOCOLS: Final = {abi.FAILSAFE_TCP: 6, abi.FAILSAFE_UDP: 17, abi.FAILSAFE_SCTP: 132}
_BITMAP: Final = 6 * 8192


def maps(pinned: Pinned) -> list[dict[str, Any]]:
    """Every map that should be pinned; one that is missing or damaged is a DriftError or AutohepError."""
    found = []
    for spec in layout.map_specs():
        with pinned.open(spec.name) as opened:
            found.append(_map(pinned, opened))
    return found


def _map(pinned: Pinned, opened: Map) -> dict[str, Any]:
    info, used = opened.info, _used(opened)
    return {
        "name": opened.name,
        "type": MapType(info.type).name.lower(),
        "keyBytes": info.key_size,
        "valueBytes": info.value_size,
        "size": info.max_entries,
        "used": used,
        "pressure": None if used is None or not info.max_entries else round(used / info.max_entries, 4),
        "memoryBytes": _memory(opened.fd),
        "id": info.id,
        "pin": str(pinned.pins.map(opened.name)),
        "knob": KNOBS.get(opened.name, ""),
    }


def _used(opened: Map) -> int | None:
    """Elements of a hash or trie; of ifstate those in use; None where the question makes no sense."""
    if opened.name == "ifstate":
        return sum(1 for _, value in opened.items() if any(value[:4]))
    if opened.info.type in ARRAYS or opened.info.type == MapType.RINGBUF:
        return None
    return len(opened)


def _memory(descriptor: int) -> int | None:
    """Bytes that the kernel accounts for."""
    text = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii")
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return int(fields["memlock"]) if "memlock" in fields else None


# ---- failsafes ----


def failsafes(pinned: Pinned) -> list[dict[str, Any]]:
    """Ports that stay open whatever policy says, in order."""
    with pinned.open("failsafe") as ports, pinned.open("failsafe_nets") as nets:
        bits = ports.get(bytes(4)) or bytes(2 * _BITMAP)
        limited = [_network(key) for key, _ in nets.items()]
    found = [_row(index, port, "any") for index, port in _set_ports(bits[:_BITMAP])]
    found += [_row(index, port, net) for index, port, net in sorted(limited)]
    return sorted(found, key=lambda row: (row["direction"], row["protocol"], row["port"], row["peer"]))


def _set_ports(bitmap: bytes) -> Iterator[tuple[int, int]]:
    for at, byte in enumerate(bitmap):
        for bit in range(8):
            if byte >> bit & 1:
                index, place = divmod(at, 8192)
                yield index, place * 8 + bit


def _network(key: bytes) -> tuple[int, int, str]:
    bits, port, index, version, address = abi.FAILSAFE_KEY.unpack(key)
    raw = address[:4] if version == 4 else address
    length = bits - abi.FAILSAFE_FIXED_BITS
    return index, struct.unpack(">H", port)[0], str(ip_network((raw, length)))


def _row(index: int, port: int, peer: str) -> dict[str, Any]:
    return {
        "direction": "egress" if index >= abi.FAILSAFE_OUTBOUND else "ingress",
        "protocol": protocol_name(_FAILSAFE_PROTOCOLS[index % abi.FAILSAFE_OUTBOUND]),
        "port": port,
        "peer": peer,
    }
