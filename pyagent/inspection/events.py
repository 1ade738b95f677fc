"""Events of the ring, in words: which packet, what became of it, and which rules say so."""

from __future__ import annotations

import ipaddress
import struct
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pyagent import abi
from pyagent.abi import Direction, EventKind, Reason
from pyagent.errors import DriftError
from pyagent.inspection.names import Library, interface_name, protocol_name
from pyagent.model.packet import ICMP_PROTOCOLS, PORT_PROTOCOLS

_NANO: Final = 10**9


@dataclass(frozen=True, slots=True)
class Event:
    """One event. ``time`` in seconds of the wall clock.

    ``rule``: where the rule or end that decided stands, empty if no policy did. ``logs``: the Log rules met
    on the way, None where the generation's names are not known any more; ``age`` says so in words.
    """

    time: float
    kind: EventKind
    interface: str
    direction: Direction
    reason: Reason
    protocol: int
    source: str
    destination: str
    ports: tuple[int, int] | None
    icmp: tuple[int, int] | None
    length: int
    generation: int
    rule: str
    logs: tuple[str, ...] | None
    age: str = ""

    @property
    def dropped(self) -> bool:
        """Whether the packet went no further."""
        return self.reason >= abi.REASON_DROPPED

    @property
    def verdict(self) -> str:
        """``Allow`` or ``Deny``."""
        return "Deny" if self.dropped else "Allow"

    def __str__(self) -> str:
        when = datetime.fromtimestamp(self.time, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        parts = [
            f"{when} {self.interface} {self.direction.name.lower()} {self.verdict} {self._packet()}",
            f"reason={self.reason.name.lower()}",
        ]
        parts += [f"by={self.rule}"] if self.rule else []
        if self.logs is None and self.kind is EventKind.LOG:
            parts.append("log=?")
        parts += [f"log={place}" for place in self.logs or ()]
        parts += [f"({self.age})"] if self.age else []
        return " ".join(parts)

    def _packet(self) -> str:
        name = protocol_name(self.protocol)
        if self.ports:
            source, destination = (
                f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
                for address, port in zip((self.source, self.destination), self.ports, strict=True)
            )
            return f"{name} {source} > {destination} {self.length} bytes"
        tail = f" type {self.icmp[0]} code {self.icmp[1]}" if self.icmp else ""
        return f"{name} {self.source} > {self.destination}{tail} {self.length} bytes"

    def to_json(self) -> dict[str, Any]:
        """Plain builtins."""
        packet: dict[str, Any] = {
            "protocol": protocol_name(self.protocol),
            "source": self.source,
            "destination": self.destination,
            "bytes": self.length,
        }
        if self.ports:
            packet |= {"sourcePort": self.ports[0], "destinationPort": self.ports[1]}
        if self.icmp:
            packet |= {"icmpType": self.icmp[0], "icmpCode": self.icmp[1]}
        return {
            "time": self.time,
            "kind": self.kind.name.lower(),
            "interface": self.interface,
            "direction": self.direction.name.lower(),
            "verdict": self.verdict,
            "reason": self.reason.name.lower(),
            "packet": packet,
            "generation": self.generation,
            "rule": self.rule,
            "logs": None if self.logs is None else list(self.logs),
            "age": self.age,
        }


def decode(record: bytes, library: Library, in_force: int) -> Event:
    """Put a record of the ring into words; ``in_force``: the generation in force now.

    Raises DriftError if it is not of this ABI's layout.
    """
    if len(record) != abi.EVENT.size:
        raise DriftError(f"an event of {len(record)} bytes, not {abi.EVENT.size}: another version's program")
    (
        at, generation, ifindex, key, verdict, kind, reason, _action, direction, version, protocol,
        source_port, destination_port, length, source, destination,
    ) = abi.EVENT.unpack(record)  # fmt: skip
    names = library.of(generation)
    known = names or library.newest()
    return Event(
        time=(at + time.time_ns() - time.monotonic_ns()) / _NANO,
        kind=EventKind(kind),
        interface=interface_name(ifindex),
        direction=Direction(direction),
        reason=Reason(reason),
        protocol=protocol,
        source=_address(version, source),
        destination=_address(version, destination),
        ports=(_port(source_port), _port(destination_port)) if protocol in PORT_PROTOCOLS else None,
        icmp=_icmp(source_port) if protocol in ICMP_PROTOCOLS else None,
        length=length,
        generation=generation,
        rule=known.rule(key),
        logs=names.logs(verdict) if names else None,
        age=_age(generation, in_force, known=names is not None),
    )


def _age(generation: int, in_force: int, *, known: bool) -> str:
    if generation == in_force:
        return "" if known else f"names of generation {generation} are not saved"
    tail = "" if known else ", its names are gone: rules by their keys in the policy known now"
    return f"older generation {generation}, {in_force} is in force{tail}"


def _address(version: int, raw: bytes) -> str:
    return str(ipaddress.ip_address(raw[:4] if version == 4 else raw))


def _port(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


def _icmp(raw: bytes) -> tuple[int, int]:
    (both,) = struct.unpack("=H", raw)
    return both >> 8, both & 255
