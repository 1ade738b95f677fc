"""Conditions of rules as a line of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyagent.inspection.names import protocol_name


def match_words(metadata: dict[str, Any], match: Sequence[int]) -> str:
    """One conjunction of a rule: ``tcp from has(role) to any, ports 22``."""
    source, destination, layer4, version = match
    sides = metadata["sides"]
    parts = [f"IPv{version}"] if version else []
    parts += [layer4_words(metadata["layer4"][layer4])]
    for word, side in (("from", sides[source]), ("to", sides[destination])):
        if text := side_words(side):
            parts.append(f"{word} {text}")
    return " ".join(parts)


def side_words(side: dict[str, Any]) -> str:
    """Source or destination; empty for any address."""
    wanted = [name for name, _ in side["all_of"]]
    return " and ".join([*wanted, *(f"not {name}" for name, _ in side["none_of"])])


def layer4_words(condition: dict[str, Any]) -> str:
    """Protocol, ports and ICMP conditions; ``any protocol`` without any."""
    parts = []
    if "protocols" in condition:
        parts.append("/".join(map(protocol_name, condition["protocols"])))
    if "not_protocols" in condition:
        parts.append("not " + "/".join(map(protocol_name, condition["not_protocols"])))
    if not parts:
        parts.append("any protocol")
    for name, word in (
        ("ports", "port"), ("not_ports", "not port"),
        ("source_ports", "source port"), ("not_source_ports", "not source port"),
    ):  # fmt: skip
        if name in condition:
            parts.append(f"{word} {ranges_words(condition[name])}")
    for name, word in (("icmp", "type"), ("not_icmp", "not type")):
        if name in condition:
            kind, code = condition[name]
            parts.append(f"{word} {kind}" + ("" if code is None else f" code {code}"))
    return " ".join(parts)


def ranges_words(ranges: Sequence[Sequence[int]]) -> str:
    """``22,80-90``; ``none`` where nothing can match."""
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges) or "none"
