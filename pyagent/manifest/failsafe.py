"""Failsafes: the ports that stay open whatever policy says. Their defaults and their one-line notation."""

from __future__ import annotations

import re

from pyagent.manifest.networks import parse_network
from pyagent.model.config import FelixConfigurationSpec, ProtoPort

Failsafes = tuple[ProtoPort, ...]


def _tcp(*ports: int) -> Failsafes:
    return tuple(ProtoPort(protocol="TCP", port=port) for port in ports)


def _udp(*ports: int) -> Failsafes:
    return tuple(ProtoPort(protocol="UDP", port=port) for port in ports)


#: Name of the profile that holds when FelixConfiguration names none.
DEFAULT_PROFILE = "current"
#: (inbound, outbound) by the value of FelixConfiguration.spec.failsafeProfile. A DHCP client is answered on
#: its own port, which is why 68 and 546 are inbound and the servers' 67 and 547 outbound.
PROFILES: dict[str, tuple[Failsafes, Failsafes]] = {
    DEFAULT_PROFILE: (
        _tcp(22) + _udp(68, 546) + _tcp(179, 2379, 2380, 5473, 6443, 6666, 6667),
        _udp(53, 67, 547) + _tcp(179, 2379, 2380, 5473, 6443, 6666, 6667),
    ),
    "v3.14": (
        _tcp(22) + _udp(68) + _tcp(179, 2379, 2380, 6666, 6667),
        _udp(53, 67) + _tcp(179, 2379, 2380, 6666, 6667),
    ),
}


def failsafes_of(spec: FelixConfigurationSpec) -> tuple[Failsafes, Failsafes]:
    """The inbound and outbound failsafes in force under ``spec``; a given list replaces the default."""
    inbound, outbound = PROFILES.get(spec.failsafe_profile, PROFILES[DEFAULT_PROFILE])
    if spec.failsafe_inbound_host_ports is not None:
        inbound = spec.failsafe_inbound_host_ports
    if spec.failsafe_outbound_host_ports is not None:
        outbound = spec.failsafe_outbound_host_ports
    return inbound, outbound


_ITEM = re.compile(
    r"(?:(?P<protocol>tcp|udp):(?:\[(?P<v6>[0-9A-Fa-f:./]+)\]:|(?P<v4>[0-9./]+):)?)?(?P<port>[0-9]{1,5})",
    re.IGNORECASE,
)


def parse_failsafes(text: str) -> Failsafes | None:
    """The list that ``tcp:22,udp:10.0.0.0/8:53,tcp:[fd00::/8]:22`` says; a bare port is TCP.

    ``none`` is the empty list; an empty text is None, the default. Raises ValueError naming the bad item.
    """
    stripped = text.strip()
    if not stripped:
        return None
    if stripped.lower() == "none":
        return ()
    return tuple(_parse_item(item.strip()) for item in stripped.split(","))


def _parse_item(item: str) -> ProtoPort:
    match = _ITEM.fullmatch(item)
    if match is None:
        raise ValueError(f"failsafe {item!r} is not PORT, PROTOCOL:PORT or PROTOCOL:NET:PORT (tcp or udp)")
    port = int(match["port"])
    if port > 65535:
        raise ValueError(f"failsafe {item!r} has a port above 65535")
    net = match["v6"] or match["v4"] or ""
    if net:
        network = parse_network(net)
        if (network.version == 6) != bool(match["v6"]):
            raise ValueError(f"failsafe {item!r}: square brackets are for IPv6 networks")
        net = str(network)
    return ProtoPort(protocol=(match["protocol"] or "tcp").upper(), port=port, net=net)
