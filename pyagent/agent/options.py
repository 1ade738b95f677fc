"""How an agent runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyagent import abi
from pyagent.agent.enforce import CHECK_EVERY_S
from pyagent.agent.mirror import KINDS
from pyagent.bpf.pins import DEFAULT_INSTANCE
from pyagent.calc.view import Failsafe
from pyagent.telemetry.address import Address

_TCP = 6


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """How an agent runs; times in seconds.

    ``recheck``: between looks at what nobody announces (tcx neighbours). ``full_recheck``: between passes if
    nothing at all was noticed. ``check_every``: between comparisons of what the kernel holds with what was
    put there. ``restore_after``: how long a datastore may be away at start before the image of an earlier run
    is put in force. ``xdp_interfaces``: globs of interfaces to have XDP besides the physical ones.
    ``metrics``: where metrics and health are served, None: nowhere. ``rule_metrics``: rules whose hits are
    metrics, at most. ``kinds``: to watch.
    """

    node: str
    instance: str = DEFAULT_INSTANCE
    state_directory: Path = Path("/var/lib/autohep/agent")
    flows_max: int = abi.FLOWS_MAX
    image_bytes: int = abi.IMAGE_BYTES
    recheck: float = 1.0
    full_recheck: float = 30.0
    xdp_interfaces: tuple[str, ...] = ()
    check_every: float = CHECK_EVERY_S
    restore_after: float = 10.0
    metrics: Address | None = None
    rule_metrics: int = 0
    kinds: tuple[str, ...] = KINDS

    def own_failsafes(self) -> tuple[Failsafe, ...]:
        """The port of metrics and health, from this host to itself: a policy that denies everything would
        else have the kubelet kill the agent whose probes it cannot reach."""
        if self.metrics is None or not self.metrics.loopback or not self.metrics.port:
            return ()
        net = "::1/128" if ":" in self.metrics.host else "127.0.0.0/8"
        return tuple(Failsafe(way, _TCP, self.metrics.port, net) for way in ("ingress", "egress"))
