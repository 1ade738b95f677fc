"""What an image knows of one address or of one port: its class, and every condition that holds for it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, Final

from pyagent import abi
from pyagent.compiler.walk import l4_index
from pyagent.errors import UsageError
from pyagent.inspection.held import Held
from pyagent.inspection.names import protocol_name, protocol_number
from pyagent.inspection.words import layer4_words
from pyagent.model.packet import ICMP_PROTOCOLS, PORT_PROTOCOLS, PROTOCOL_NUMBERS, Packet

_NUMBERS: Final = {name.lower(): number for name, number in PROTOCOL_NUMBERS.items()}


def look_up(held: Held, text: str) -> dict[str, Any]:
    """Look an ADDRESS or PORT/PROTOCOL up; raises UsageError if it is neither."""
    if "/" in text or text.lower() in _NUMBERS:
        return _port(held, text)
    try:
        address = ip_address(text)
    except ValueError as error:
        message = f"'{text}' is neither an address (10.0.0.1, fd00::1) nor PORT/PROTOCOL (22/tcp, 8/icmp)"
        raise UsageError(message) from error
    version, number = address.version, int(address)
    address_class = held.walker.address_class(version, number)
    flags = held.walker.address_flags(version, number)
    sets = held.members.sets_of(version, address_class)
    return {
        "address": str(address),
        "class": address_class,
        "thisHost": bool(flags & abi.ADDRESS_HOST),
        "knownNode": bool(flags & abi.ADDRESS_NODE),
        "sets": [held.members.name(each) for each in sets],
        "rules": _rules_by_side(held, set(sets)),
    }


def _rules_by_side(held: Held, inside: set[int]) -> list[dict[str, str]]:
    """Rules that ask for sets, and in which of their sides the address fits all that is asked."""
    sides = [
        bool(side["all_of"] or side["none_of"])
        and all(number in inside for _, number in side["all_of"])
        and not any(number in inside for _, number in side["none_of"])
        for side in held.known()["sides"]
    ]
    found = []
    for policy in held.known()["policies"]:
        for rule in policy["rules"]:
            for name, at in (("source", 0), ("destination", 1)):
                if any(sides[match[at]] for match in rule["matches"]):
                    found.append({"rule": rule["place"], "action": rule["action"], "as": name})
    return found


def _port(held: Held, text: str) -> dict[str, Any]:
    port, protocol = _parse(text)
    number = port or 0
    packet = Packet(4, 0, 0, protocol, icmp_type=number & 255, destination_port=number)
    holds = [_fits(condition, protocol, port) for condition in held.known()["layer4"]]
    rules = [
        {"rule": rule["place"], "action": rule["action"]}
        for policy in held.known()["policies"]
        for rule in policy["rules"]
        if any(holds[match[2]] for match in rule["matches"])
    ]
    conditions = zip(held.known()["layer4"], holds, strict=True)
    return {
        "port": text,
        "protocol": protocol_name(protocol),
        "class": held.walker.l4_class(l4_index(packet)),
        "sourcePortClass": held.walker.source_port_class(port or 0) if protocol in PORT_PROTOCOLS else None,
        "conditions": list(dict.fromkeys(layer4_words(each) for each, held_here in conditions if held_here)),
        "rules": rules,
    }


def _parse(text: str) -> tuple[int | None, int]:
    """(port or ICMP type, protocol number)."""
    port, _, name = text.rpartition("/")
    protocol = protocol_number(name)
    if protocol not in PORT_PROTOCOLS | ICMP_PROTOCOLS:
        if port:
            raise UsageError(f"'{text}': protocol {name} has no ports that rules could name")
        return None, protocol
    most = 65535 if protocol in PORT_PROTOCOLS else 255
    if not (port.isascii() and port.isdigit() and int(port) <= most):
        raise UsageError(f"'{text}': expected a number from 0 to {most} before /{name}")
    return int(port), protocol


def _fits(condition: dict[str, Any], protocol: int, port: int | None) -> bool:
    """Whether a packet to the port can satisfy the condition, whatever its source port and ICMP code."""
    if "protocols" in condition and protocol not in condition["protocols"]:
        return False
    if protocol in condition.get("not_protocols", ()):
        return False
    if protocol in ICMP_PROTOCOLS:
        refused = condition.get("not_icmp", [None, 0])
        fits_type = condition.get("icmp", [port])[0] == port and not (
            refused[0] == port and refused[1] is None
        )
        return fits_type and "ports" not in condition and "source_ports" not in condition
    if protocol not in PORT_PROTOCOLS:
        return not {"ports", "source_ports", "icmp"} & condition.keys()
    assert port is not None
    if "icmp" in condition or _within(port, condition.get("not_ports", ())):
        return False
    return "ports" not in condition or _within(port, condition["ports"])


def _within(port: int, ranges: Any) -> bool:
    return any(first <= port <= last for first, last in ranges)
