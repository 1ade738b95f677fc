"""Where metrics and health are served: an address and a port, said in full."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from pyagent.errors import UsageError

#: What switches the server off.
OFF: Final = "off"


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address and a TCP port; port 0: any that is free."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this host itself gets there."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def everywhere(self) -> bool:
        """Whether every address of this host is meant."""
        return ipaddress.ip_address(self.host).is_unspecified

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address | None:
    """Read ``127.0.0.1:9472``, ``[::1]:9472`` or ``off`` (None).

    Raises UsageError, also for ``:9472``: whoever wants to be reached from everywhere says ``0.0.0.0``.
    """
    if text == OFF:
        return None
    host, colon, port = text.rpartition(":")
    if not host:
        raise UsageError(
            f"address {text!r} does not say who may connect: 127.0.0.1:PORT, or 0.0.0.0:PORT for everybody"
        )
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        ipaddress.ip_address(host)
    except ValueError as error:
        raise UsageError(f"address {text!r}: {host!r} is no IP address") from error
    if not (colon and port.isascii() and port.isdecimal() and int(port) <= 65535):
        raise UsageError(f"address {text!r}: {port!r} is no port")
    return Address(host, int(port))
