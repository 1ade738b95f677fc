"""The interfaces of this host with their addresses, as netlink tells them."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from pyagent.attach.netlink import IPRoute, NetlinkError
from pyagent.errors import KernelError
from pyagent.model.facts import HostFacts, InterfaceFacts, Tunnel

#: Hardware types (ARPHRD_*) whose frames begin with the IP header.
LAYER3_TYPES: Final = frozenset({
    512,  # PPP
    519,  # raw IP
    768,  # IPv4 in IPv4
    769,  # tunnels over IPv6
    776,  # sit
    778,  # GRE over IPv4
    823,  # GRE over IPv6
    65534,  # none: tun, WireGuard
})  # fmt: skip

_LOOPBACK_TYPE: Final = 772  # ARPHRD_LOOPBACK
_IFF_UP: Final = 1


@dataclass(frozen=True, slots=True)
class Link:
    """One interface. ``kind`` is the driver's (veth, bridge, vxlan, ...; empty: a physical one or loopback).

    ``master`` is the index of the bridge, bond or VRF it belongs to, 0: none. ``broadcasts`` are those of its
    IPv4 networks. Addresses are without prefix length.
    """

    name: str
    index: int
    kind: str = ""
    up: bool = False
    layer3: bool = False
    addresses: tuple[str, ...] = ()
    broadcasts: tuple[str, ...] = ()
    master: int = 0
    bridge_port: bool = False
    loopback: bool = False

    @property
    def physical(self) -> bool:
        """Tell whether a driver of real (or virtual) hardware moves its frames."""
        return not (self.kind or self.loopback or self.layer3)


def list_links() -> tuple[Link, ...]:
    """Return all interfaces in order of their index. Blocks for some milliseconds."""
    try:
        with IPRoute() as netlink:
            messages = list(netlink.get_links())
            addresses, broadcasts = _addresses(netlink.get_addr())
    except NetlinkError as error:
        raise KernelError("list interfaces", error.code) from error
    links = [_link(message, addresses, broadcasts) for message in messages]
    return tuple(sorted(links, key=lambda link: link.index))


def interface_facts(link: Link, workload: bool) -> InterfaceFacts:
    """Say of one interface what policy must know; ``workload``: it is the host's side of a pod."""
    return InterfaceFacts(link.name, link.index, link.addresses, workload, link.layer3)


def host_facts(
    node: str,
    links: Iterable[Link],
    is_workload: Callable[[str], bool],
    tunnels: tuple[Tunnel, ...] = (),
    node_ports: frozenset[tuple[int, int]] = frozenset(),
) -> HostFacts:
    """Say of the host what policy must know; ``is_workload`` judges an interface's name."""
    known = list(links)
    interfaces = tuple(interface_facts(link, is_workload(link.name)) for link in known)
    broadcasts = tuple(sorted({broadcast for link in known for broadcast in link.broadcasts}))
    return HostFacts(node, interfaces, broadcasts, tunnels, node_ports)


def _link(message: Any, addresses: dict[int, list[str]], broadcasts: dict[int, list[str]]) -> Link:
    index = int(message["index"])
    info = message.get_attr("IFLA_LINKINFO")
    slave_of = info.get_attr("IFLA_INFO_SLAVE_KIND") if info else None
    return Link(
        name=message.get_attr("IFLA_IFNAME"),
        index=index,
        kind=(info.get_attr("IFLA_INFO_KIND") if info else None) or "",
        up=bool(message["flags"] & _IFF_UP),
        layer3=message["ifi_type"] in LAYER3_TYPES,
        addresses=tuple(addresses[index]),
        broadcasts=tuple(dict.fromkeys(broadcasts[index])),
        master=message.get_attr("IFLA_MASTER") or 0,
        bridge_port=slave_of == "bridge",
        loopback=message["ifi_type"] == _LOOPBACK_TYPE,
    )


def _addresses(messages: Iterable[Any]) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Return own addresses and broadcast addresses by interface index."""
    addresses: dict[int, list[str]] = defaultdict(list)
    broadcasts: dict[int, list[str]] = defaultdict(list)
    for message in messages:
        index = int(message["index"])
        # On point-to-point links IFA_ADDRESS is the other end and IFA_LOCAL ours.
        own = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        if own is None:
            continue
        addresses[index].append(str(ipaddress.ip_address(own)))
        broadcasts[index] += _broadcasts(own, message["prefixlen"], message.get_attr("IFA_BROADCAST"))
    return addresses, broadcasts


def _broadcasts(own: str, prefix: int, configured: str | None) -> list[str]:
    """Return what the kernel takes for broadcasts: the configured one, and always the last of the network."""
    address = ipaddress.ip_address(own)
    if address.version == 6 or address.is_loopback:
        return []
    last = ipaddress.ip_network(f"{own}/{prefix}", strict=False).broadcast_address
    return ([configured] if configured else []) + ([str(last)] if prefix < 31 else [])
