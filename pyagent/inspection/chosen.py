"""Which events somebody wants to see."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

from pyagent.abi import Direction
from pyagent.inspection.events import Event


@dataclass(frozen=True, slots=True)
class Chosen:
    """What an event must be; None or an empty text does not matter.

    ``peer``: a network that source or destination is in. ``port``: at either end. ``by``: part of the place
    of the rule that decided or of a Log rule. ``interface``, ``reason``: as the event has them.
    """

    verdict: str = ""
    direction: Direction | None = None
    interface: str = ""
    reason: str = ""
    protocol: int | None = None
    peer: IPv4Network | IPv6Network | None = None
    port: int | None = None
    by: str = ""

    def __call__(self, event: Event) -> bool:
        """Whether the event is one of them."""
        return (
            self.verdict in ("", event.verdict)
            and self.direction in (None, event.direction)
            and self.interface in ("", event.interface)
            and self.reason in ("", event.reason.name.lower())
            and self.protocol in (None, event.protocol)
            and (self.port is None or self.port in (event.ports or ()))
            and self._has_peer(event)
            and any(self.by in place for place in (event.rule, *(event.logs or ())))
        )

    def _has_peer(self, event: Event) -> bool:
        peer = self.peer
        return peer is None or any(ip_address(each) in peer for each in (event.source, event.destination))
