"""A node's addresses, as far as its Node object tells them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from pyagent.model import Node

#: Receives what a person should know: a line of text.
Remark = Callable[[str], None]

_INTERFACES = "projectcalico.org/Interfaces"
#: In the order in which they become expectedIPs, before the addresses of the Node's status.
_ADDRESS_ANNOTATIONS = (
    "projectcalico.org/IPv4Address",
    "projectcalico.org/IPv6Address",
    "projectcalico.org/IPv4IPIPTunnelAddr",
    "projectcalico.org/IPv4VXLANTunnelAddr",
    "projectcalico.org/IPv6VXLANTunnelAddr",
    "projectcalico.org/IPv4WireguardInterfaceAddr",
    "projectcalico.org/IPv6WireguardInterfaceAddr",
)


class _Interface(msgspec.Struct, frozen=True):
    name: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeInterface:
    """A network interface that was detected on a node; addresses without prefix length."""

    name: str
    addresses: tuple[str, ...]


def interfaces(node: Node, remark: Remark) -> tuple[NodeInterface, ...]:
    """The interfaces that the node's annotation lists, in its order; none if it has no such annotation."""
    text = node.metadata.annotations.get(_INTERFACES, "")
    if not text:
        return ()
    try:
        listed = msgspec.json.decode(text, type=tuple[_Interface, ...])
    except msgspec.DecodeError as error:
        remark(f"annotation ignored node={node.name} annotation={_INTERFACES} reason={str(error)!r}")
        return ()
    return tuple(NodeInterface(each.name, _plain(each.addresses, node, remark)) for each in listed)


def expected_ips(node: Node, remark: Remark) -> tuple[str, ...]:
    """Every address of the node: from annotations, then its InternalIPs, then its interfaces'.

    Each only once, for a host endpoint must not list an address twice; what is no address is left out.
    """
    annotations = node.metadata.annotations
    from_annotations = [annotations[key] for key in _ADDRESS_ANNOTATIONS if annotations.get(key)]
    from_status = [address.address for address in node.status.addresses if address.type == "InternalIP"]
    from_interfaces = [address for each in interfaces(node, remark) for address in each.addresses]
    return _plain((*from_annotations, *from_status, *from_interfaces), node, remark)


def within(addresses: Iterable[str], networks: Iterable[str]) -> tuple[str, ...]:
    """Those of ``addresses`` that lie in one of ``networks`` (CIDRs, host bits allowed)."""
    parsed = [ipaddress.ip_network(network, strict=False) for network in networks]
    return tuple(
        each for each in addresses if any(ipaddress.ip_address(each) in network for network in parsed)
    )


def _plain(addresses: Iterable[str], node: Node, remark: Remark) -> tuple[str, ...]:
    """The addresses in normal form, without prefix length or zone, each once."""
    plain: dict[str, None] = {}
    for address in addresses:
        if normal := _normal(address):
            plain[normal] = None
        else:
            remark(f"address ignored node={node.name} address={address!r} reason='not an IP address'")
    return tuple(plain)


@lru_cache(maxsize=1 << 16)
def _normal(address: str) -> str:
    """The normal form, or nothing. Remembered, for every pass asks for every address of the cluster."""
    try:
        return str(ipaddress.ip_interface(address.partition("%")[0]).ip)
    except ValueError:
        return ""
