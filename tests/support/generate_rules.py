"""Random but valid rules and selectors."""

from __future__ import annotations

from random import Random
from typing import Any

from pyagent.model.packet import PORT_PROTOCOLS, PROTOCOL_NUMBERS
from pyagent.model.policy import (
    EntityRule,
    HTTPMatch,
    ICMPFields,
    Port,
    Protocol,
    Rule,
    ServiceAccountMatch,
    ServiceMatch,
)

NETS4 = (
    "0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/24", "10.0.0.0/30", "10.0.0.2/31", "10.0.0.1", "10.0.0.2/32",
    "10.0.1.0/24", "10.244.0.0/16", "10.0.0.128/25", "127.0.0.0/8", "127.0.0.1/32", "128.0.0.0/1",
    "192.0.2.0/24", "198.51.100.0/25", "224.0.0.0/4", "255.255.255.255", "0.0.0.0/1", "169.254.0.0/16",
    "10.0.0.255",
)  # fmt: skip
NETS6 = (
    "::/0", "fd00::/64", "fd00::/8", "fd00::2/127", "fd00::1", "fd00:1::/48", "2001:db8::/32",
    "fe80::/10", "ff00::/8", "::1/128", "8000::/1", "::/96", "fd00::80/121", "ff02::1", "fd00::/65",
)  # fmt: skip
KEYS = ("role", "env", "example.org/zone")
VALUES = ("a", "b", "ab", "")
PORT_NAMES = ("web", "dns", "metrics")
SERVICES = (("shop", "web"), ("shop", "dns"), ("other", "web"))
RANGES = ("1:65535", "80:90", "90:443", "84:90", "1024:65535", "1:1", "65535:65535", "53:80", "8000:8100")
NUMBERS = (1, 22, 53, 80, 82, 443, 8080, 30080, 65535)
PROTOCOLS: tuple[Protocol, ...] = (
    "TCP", "TCP", "TCP", "UDP", "UDP", "SCTP", "ICMP", "ICMP", "ICMPv6", "ICMPv6", "UDPLite", 6, 17, 132, 1,
    58, 47, 255,
)  # fmt: skip
ACTIONS = ("Allow", "Allow", "Allow", "Deny", "Deny", "Pass", "Log")


def labels(random: Random) -> dict[str, str]:
    """Few labels of few values."""
    return {key: random.choice(VALUES) for key in random.sample(KEYS, random.randint(0, len(KEYS)))}


def selector(random: Random, depth: int = 2) -> str:
    """A selector over the same few labels."""
    key, value = random.choice(KEYS), random.choice(VALUES)
    kind = random.randrange(12 if depth else 8)
    if kind >= 8:
        joined = random.choice((" && ", " || ")).join(selector(random, depth - 1) for _ in range(2))
        return f"({joined})" if kind < 11 else f"!({joined})"
    return (
        f'{key} == "{value}"',
        f'{key} != "{value}"',
        f"has({key})",
        f"!has({key})",
        f'{key} in {{"{value}", "b"}}',
        f'{key} not in {{"{value}"}}',
        f'{key} starts with "a"',
        "all()",
    )[kind]


def rules(random: Random, direction: str, most: int) -> tuple[Rule, ...]:
    """Up to ``most`` rules for ``ingress`` or ``egress``."""
    return tuple(rule(random, direction) for _ in range(random.randint(0, most)))


def rule(random: Random, direction: str) -> Rule:
    """One rule that keeps every rule of validation."""
    action = random.choice(ACTIONS)
    protocol = random.choice(PROTOCOLS) if random.random() < 0.65 else None
    number = PROTOCOL_NUMBERS[protocol] if isinstance(protocol, str) else protocol
    version = _version(random, number)
    not_protocol = random.choice(PROTOCOLS) if random.random() < 0.15 else None
    if not_protocol in ("ICMP", "ICMPv6", 1, 58):
        version = None
    family = version or random.choice((4, 4, 6))
    fields: dict[str, Any] = {}
    if number in (1, 58):
        fields["icmp"] = _icmp(random) if random.random() < 0.5 else None
        fields["not_icmp"] = _icmp(random) if random.random() < 0.3 else None
    if action == "Allow" and direction == "ingress" and number in (None, 6) and random.random() < 0.05:
        fields["http"] = HTTPMatch(methods=("GET",))
    return Rule(
        action=action,
        protocol=protocol,
        not_protocol=not_protocol,
        ip_version=version,
        source=_side(random, number, family, is_service=direction == "ingress", is_source=True),
        destination=_side(random, number, family, is_service=direction == "egress", is_source=False),
        **fields,
    )


def _version(random: Random, number: int | None) -> int | None:
    if random.random() < 0.8:
        return None
    return {1: 4, 58: 6}.get(number or 0) or random.choice((4, 6))


def _icmp(random: Random) -> ICMPFields:
    kind = random.choice((0, 3, 8, 8, 128, 128, 129, 135, 254, None))
    return ICMPFields(type=kind, code=None if kind is None else random.choice((None, None, 0, 1, 255)))


def _side(
    random: Random, number: int | None, family: int, *, is_service: bool, is_source: bool
) -> EntityRule:
    if random.random() < 0.45:
        return EntityRule()
    if is_service and random.random() < 0.15:
        namespace, name = random.choice(SERVICES)
        service = ServiceMatch(name=name, namespace=namespace)
        return EntityRule(services=service, **(_ports(random, number) if is_source else {}))
    fields: dict[str, Any] = {}
    palette = NETS4 if family == 4 else NETS6
    if random.random() < 0.4:
        fields["nets"] = tuple(random.sample(palette, random.randint(1, 3)))
    if random.random() < 0.2:
        narrow = [net for net in palette if not net.endswith("/0")]
        fields["not_nets"] = tuple(random.sample(narrow, random.randint(1, 2)))
    if random.random() < 0.25:
        fields["selector"] = selector(random)
    if random.random() < 0.1:
        fields["not_selector"] = selector(random)
    if random.random() < 0.04:
        fields["namespace_selector"] = random.choice(("global()", "global()", "all()", 'env == "a"'))
    if random.random() < 0.02:
        fields["service_accounts"] = ServiceAccountMatch(names=("builder",))
    return EntityRule(**fields, **_ports(random, number))


def _ports(random: Random, number: int | None) -> dict[str, tuple[Port, ...]]:
    if number is not None and number not in PORT_PROTOCOLS:
        return {}
    palette: tuple[Port, ...] = PORT_NAMES if number is None else (*PORT_NAMES, *RANGES, *NUMBERS, *NUMBERS)
    fields = {}
    if random.random() < 0.3:
        fields["ports"] = tuple(random.sample(palette, random.randint(1, 3)))
    if random.random() < 0.12:
        fields["not_ports"] = tuple(random.sample(palette, random.randint(1, 2)))
    return fields
