"""The kernel's own connection tracking, where it runs: what was answered, as its text table has it.

Pods behind masquerading and NodePorts have no socket here; this is the only trace of what they do already.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Of the calling thread's network namespace; absent where the kernel tracks nothing.
TABLE: Final = Path("/proc/thread-self/net/nf_conntrack")
_TCP: Final = 6
_WITH_PORTS: Final = {_TCP, 17, 132}
#: SCTP's states, like TCP's, stand in the table by name.
_ESTABLISHED: Final = "ESTABLISHED"


@dataclass(frozen=True, slots=True)
class Tuple:
    """One direction as it is on the wire: addresses and ports in network order; ports 0 if it has none."""

    source: bytes
    destination: bytes
    source_port: bytes = bytes(2)
    destination_port: bytes = bytes(2)


@dataclass(frozen=True, slots=True)
class Tracked:
    """One exchange: what its opener sends and what comes back; they mirror each other unless there is NAT."""

    protocol: int
    original: Tuple
    reply: Tuple


def tracked(table: Path = TABLE) -> Iterator[Tracked]:
    """Iterate over the exchanges that were answered, TCP and SCTP only while established; ICMP is left out.

    Nothing if the kernel tracks nothing here, or does not tell.
    """
    try:
        with table.open(encoding="ascii", errors="replace") as lines:
            yield from parse(lines)
    except OSError:
        return


def parse(lines: Iterable[str]) -> Iterator[Tracked]:
    """Read the table's lines; those of other kinds, or of unknown form, are passed over."""
    for line in lines:
        try:
            found = _parse(line.split())
        except (ValueError, IndexError, KeyError, struct.error):
            continue
        if found is not None:
            yield found


def _parse(words: list[str]) -> Tracked | None:
    if words[0] not in {"ipv4", "ipv6"} or "[UNREPLIED]" in words:
        return None
    protocol = int(words[3])
    if protocol in {1, 58} or (protocol in {_TCP, 132} and _ESTABLISHED not in words[:7]):
        return None
    pairs = [word.split("=", 1) for word in words if "=" in word]
    begins = [place for place, (name, _) in enumerate(pairs) if name == "src"]
    original, reply = dict(pairs[: begins[1]]), dict(pairs[begins[1] :])
    return Tracked(protocol, _tuple(original, protocol), _tuple(reply, protocol))


def _tuple(fields: dict[str, str], protocol: int) -> Tuple:
    source, destination = (ipaddress.ip_address(fields[name]).packed for name in ("src", "dst"))
    if protocol not in _WITH_PORTS:
        return Tuple(source, destination)
    ports = (struct.pack(">H", int(fields[name])) for name in ("sport", "dport"))
    return Tuple(source, destination, *ports)
