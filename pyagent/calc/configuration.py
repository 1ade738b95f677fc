"""FelixConfiguration as one node obeys it: ``default``, with the fields of ``node.<name>`` over it."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

import msgspec

from pyagent.calc import services
from pyagent.calc.nets import canonical
from pyagent.calc.view import Failsafe, PodToHost
from pyagent.calc.world import World
from pyagent.manifest.failsafe import PROFILES, failsafes_of
from pyagent.manifest.nodeports import parse_node_ports
from pyagent.model import FelixConfiguration
from pyagent.model.config import FelixConfigurationSpec, ProtoPort
from pyagent.model.facts import HostFacts
from pyagent.model.packet import PORT_PROTOCOLS, PROTOCOL_NUMBERS

#: Names of pods' host sides; never an ``eth*``, which is a host's own interface.
WORKLOAD_INTERFACES = (
    "cali*", "veth*", "lxc*", "cni*", "cbr*", "docker*", "nk*", "tap*", "azv*", "eni*",
)  # fmt: skip

VXLAN_PORT, GENEVE_PORT, WIREGUARD_PORT = 4789, 6081, 51820
IPIP, UDP = 4, 17


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says of one node. Interface patterns are shell globs."""

    spec: FelixConfigurationSpec
    failsafes: tuple[Failsafe, ...]
    pod_to_host: PodToHost
    exclude: tuple[str, ...]
    workload_interfaces: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def why_excluded(self, interface: str) -> str:
        """The reason why that interface is left alone; empty: it is not."""
        pattern = next((each for each in self.exclude if fnmatchcase(interface, each)), None)
        return "" if pattern is None else f"excluded by FelixConfiguration's interfaceExclude ({pattern})"

    def is_workload(self, interface: str) -> bool:
        """Whether the name is that of a pod's host side; facts about interfaces are gathered with this."""
        return any(fnmatchcase(interface, pattern) for pattern in self.workload_interfaces)


def effective_spec(world: World, node: str) -> FelixConfigurationSpec:
    """The fields of ``default`` with those given in ``node.<name>`` over them."""
    configurations = world.of(FelixConfiguration)
    empty = FelixConfigurationSpec()
    spec = configurations["default"].spec if "default" in configurations else empty
    own = configurations.get(f"node.{node}")
    if own is None:
        return spec
    given = {
        field.name: value
        for field in msgspec.structs.fields(FelixConfigurationSpec)
        if (value := getattr(own.spec, field.name)) != getattr(empty, field.name)
    }
    return msgspec.structs.replace(spec, **given)


def settings(world: World, node: str) -> Settings:
    """The settings of ``node``; what cannot be obeyed becomes a warning."""
    spec = effective_spec(world, node)
    warnings: list[str] = []
    prefixes = tuple(f"{prefix.strip()}*" for prefix in spec.interface_prefix.split(",") if prefix.strip())
    workload = WORKLOAD_INTERFACES if spec.workload_interfaces is None else spec.workload_interfaces
    return Settings(
        spec=spec,
        failsafes=_failsafes(spec, warnings),
        pod_to_host=_pod_to_host(spec.default_endpoint_to_host_action, warnings),
        exclude=spec.interface_exclude or (),
        workload_interfaces=(*workload, *prefixes),
        warnings=tuple(warnings),
    )


def tunnels(spec: FelixConfigurationSpec, facts: HostFacts) -> tuple[tuple[int, int], ...]:
    """(protocol, UDP port or 0) of every encapsulation between known nodes: configured or found."""
    configured = (
        (spec.vxlan_enabled, UDP, spec.vxlan_port or VXLAN_PORT),
        (spec.ipip_enabled, IPIP, 0),
        (spec.wireguard_enabled, UDP, spec.wireguard_listening_port or WIREGUARD_PORT),
        (spec.geneve_enabled, UDP, spec.geneve_port or GENEVE_PORT),
    )
    wanted = {(protocol, port) for enabled, protocol, port in configured if enabled}
    return tuple(sorted(wanted | {(tunnel.protocol, tunnel.port) for tunnel in facts.tunnels}))


def node_ports(
    world: World, spec: FelixConfigurationSpec, facts: HostFacts
) -> tuple[frozenset[tuple[int, int]], list[str]]:
    """(protocol, port) pairs that the host forwards by DNAT, from all sources; and remarks."""
    found = {*facts.node_ports, *services.node_ports(world)}
    remarks = []
    for text in spec.node_ports:
        try:
            given = parse_node_ports(text)
            ports = range(given.low, given.high + 1)
            found.update((protocol, port) for protocol in given.protocols for port in ports)
        except ValueError as error:
            remarks.append(f"FelixConfiguration nodePorts: {error} and is ignored")
    return frozenset(found), remarks


def _failsafes(spec: FelixConfigurationSpec, warnings: list[str]) -> tuple[Failsafe, ...]:
    profile = spec.failsafe_profile
    if profile and profile not in PROFILES:
        warnings.append(
            f"FelixConfiguration failsafeProfile {profile!r} is unknown; the default list is in force"
        )
    found: dict[Failsafe, None] = {}
    for direction, ports in zip(("ingress", "egress"), failsafes_of(spec), strict=True):
        for port in ports:
            try:
                found[_failsafe(direction, port)] = None
            except ValueError as error:
                warnings.append(f"FelixConfiguration failsafe {direction}: {error} and is ignored")
    return tuple(found)


def _failsafe(direction: str, port: ProtoPort) -> Failsafe:
    number = PROTOCOL_NUMBERS.get(port.protocol.upper() or "TCP")
    if number not in PORT_PROTOCOLS:
        message = f"{port.protocol!r} is no protocol with ports"
        raise ValueError(message)
    return Failsafe(direction, number, port.port, canonical(port.net) if port.net else None)


def _pod_to_host(action: str, warnings: list[str]) -> PodToHost:
    try:
        return PodToHost((action or PodToHost.RETURN).capitalize())
    except ValueError:
        warnings.append(
            f"FelixConfiguration defaultEndpointToHostAction {action!r} is unknown; Return is in force"
        )
        return PodToHost.RETURN
