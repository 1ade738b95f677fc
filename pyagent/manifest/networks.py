"""Addresses and networks as manifests write them, parsed as Kubernetes would."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: What policies name again and again; each of thousands of nodes names its addresses once.
KEPT = 4096

_PREFIX_LENGTH = re.compile(r"[0-9]{1,3}")


@lru_cache(maxsize=KEPT)
def parse_address(text: str) -> Address:
    """A plain IP address, without zone or mask. Raises ValueError."""
    if "%" in text:
        raise ValueError(f"{text!r} is not an IP address")
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address") from None


@lru_cache(maxsize=KEPT)
def parse_network(text: str, *, strict: bool = False) -> Network:
    """A CIDR or a bare address; ``strict``: no bit is set right of the mask. Raises ValueError."""
    base, slash, length = text.partition("/")
    if "%" in text or (slash and not _PREFIX_LENGTH.fullmatch(length)):
        raise ValueError(f"{text!r} is not a CIDR or an IP address")
    try:
        network = ipaddress.ip_network((base, int(length)) if slash else base, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not a CIDR or an IP address") from None
    if strict and slash and network.network_address != ipaddress.ip_address(base):
        raise ValueError(f"has bits set right of its mask (did you mean {network}?)")
    return network
