"""The kinds as the command line knows them: their aliases and their columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyagent.errors import AutohepError
from pyagent.model import KINDS, Resource
from pyagent.model.services import ProtocolPorts
from pyagent.model.status import PROTECTED, Status

#: Shown in parentheses where a node does not name its own AS number.
DEFAULT_AS_NUMBER = "(64512)"
#: How much of a network set's list the wide table shows.
NETS_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its heading and how to get its cell of a resource."""

    heading: str
    cell: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: ``narrow`` columns always, ``further`` ones with ``-o wide``."""

    name: str
    aliases: frozenset[str]
    narrow: tuple[Column, ...]
    wide: tuple[Column, ...]

    @property
    def namespaced(self) -> bool:
        """Whether a name needs a namespace beside it."""
        return KINDS[self.name].NAMESPACED

    @property
    def api_version(self) -> str:
        """The kind's apiVersion."""
        return KINDS[self.name].API_VERSION

    @property
    def group(self) -> str:
        """The API group; empty for Kubernetes' core kinds."""
        group, slash, _ = self.api_version.partition("/")
        return group if slash else ""

    @property
    def reference(self) -> str:
        """What stands before the slash in ``-o name``: ``node``, ``hostendpoint.projectcalico.org``."""
        return f"{self.name.lower()}.{self.group}" if self.group else self.name.lower()

    @property
    def plural(self) -> str:
        """The plural with its group, as an API server spells it."""
        plural = KINDS[self.name].PLURAL
        return f"{plural}.{self.group}" if self.group else plural

    def columns(self, *, wide: bool) -> tuple[Column, ...]:
        """The columns of the default or the wide table."""
        return self.wide if wide else self.narrow


def _annotation(key: str) -> Callable[[Resource], str]:
    return lambda resource: resource.metadata.annotations.get(key, "")


def _number(value: float | None) -> str:
    """An order; one million is 1000000, not 1e+06, and an unset one reads as the reference prints it."""
    if value is None:
        return "<nil>"
    return str(int(value)) if value == int(value) else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= NETS_SHOWN else text[:NETS_SHOWN] + "..."


def _said(resource: Any, field: str) -> str:
    """A field of what agents or the controller say on a resource; empty where they say nothing."""
    return str((resource.status or {}).get(field, ""))


def _truth(resource: Any, condition: str) -> str:
    found = Status.read(resource.status).condition(condition)
    return found.status.value if found is not None else ""


def _ports(ports: Any) -> str:
    return ",".join(f"{port.port}/{port.protocol}" for port in ports)


def _ports_of_protocol(group: ProtocolPorts) -> str:
    return ",".join(f"{port}/{group.protocol}" for port in group.ports)


NAME = Column("NAME", lambda r: r.metadata.name)
NAMESPACE = Column("NAMESPACE", lambda r: r.metadata.namespace)
TIER = Column("TIER", lambda r: r.spec.tier or "default")
ORDER = Column("ORDER", lambda r: _number(r.spec.order))
SELECTOR = Column("SELECTOR", lambda r: r.spec.selector)


def _kind(name: str, short: str, narrow: tuple[Column, ...], further: tuple[Column, ...] = ()) -> Kind:
    """``short`` holds the aliases beyond the kind itself and its plural."""
    aliases = {name.lower(), KINDS[name].PLURAL, *short.split()}
    return Kind(name, frozenset(aliases), narrow, narrow + further)


_POLICY_COLUMNS = (NAME, TIER)
_POLICY_FURTHER = (
    *(ORDER, SELECTOR),
    Column("SELECTED", lambda r: _said(r, "selected")),
    Column("REALIZED", lambda r: _said(r, "summary")),
)

#: Every kind, in the order the messages list them.
ALL_KINDS: tuple[Kind, ...] = (
    _kind(
        "Node",
        "no nos",
        (NAME,),
        (
            Column(
                "ASN", lambda r: r.metadata.annotations.get("projectcalico.org/ASNumber") or DEFAULT_AS_NUMBER
            ),
            Column("IPV4", _annotation("projectcalico.org/IPv4Address")),
            Column("IPV6", _annotation("projectcalico.org/IPv6Address")),
        ),
    ),
    _kind(
        "HostEndpoint",
        "hep heps",
        (NAME, Column("NODE", lambda r: r.spec.node)),
        (
            Column("INTERFACE", lambda r: r.spec.interface_name),
            Column("IPS", lambda r: ",".join(r.spec.expected_ips)),
            Column("PROFILES", lambda r: ",".join(r.spec.profiles)),
            Column("PROTECTED", lambda r: _truth(r, PROTECTED)),
            Column("GENERATION", lambda r: _said(r, "generation")),
        ),
    ),
    _kind("GlobalNetworkPolicy", "gnp gnps", _POLICY_COLUMNS, _POLICY_FURTHER),
    _kind("StagedGlobalNetworkPolicy", "sgnp sgnps", _POLICY_COLUMNS, _POLICY_FURTHER),
    _kind(
        "GlobalNetworkSet",
        "gnetset gnetsets gns",
        (NAME,),
        (Column("NETS", lambda r: _cut(",".join(r.spec.nets))),),
    ),
    _kind("Tier", "", (NAME, ORDER)),
    _kind(
        "Profile",
        "pro pros",
        (NAME,),
        (
            Column(
                "LABELS", lambda r: ",".join(f"{k}={v}" for k, v in sorted(r.spec.labels_to_apply.items()))
            ),
        ),
    ),
    _kind("KubeControllersConfiguration", "kubecontrollersconfig kubecontrollersconfigs kcc", (NAME,)),
    _kind("FelixConfiguration", "felixconfig felixconfigs", (NAME,)),
    _kind(
        "Service",
        "svc svcs",
        (NAMESPACE, NAME, Column("TYPE", lambda r: r.spec.type)),
        (
            Column("CLUSTER-IP", lambda r: r.spec.cluster_ip),
            Column("PORTS", lambda r: _ports(r.spec.ports)),
        ),
    ),
    _kind(
        "EndpointSlice",
        "",
        (NAMESPACE, NAME, Column("ADDRESSTYPE", lambda r: r.address_type)),
        (
            Column("PORTS", lambda r: _ports(r.ports)),
            Column("ENDPOINTS", lambda r: ",".join(a for e in r.endpoints for a in e.addresses)),
        ),
    ),
    _kind(
        "ClusterServices",
        "clustersvc",
        (
            NAME,
            Column("NODEPORTS", lambda r: str(sum(len(each.ports) for each in r.spec.node_ports))),
            Column("ADDRESSES", lambda r: str(len(r.spec.addresses))),
            Column("SERVICES", lambda r: str(len(r.spec.services))),
        ),
        (
            Column("PORTS", lambda r: _cut(",".join(map(_ports_of_protocol, r.spec.node_ports)))),
            Column("NAMED", lambda r: _cut(",".join(f"{s.namespace}/{s.name}" for s in r.spec.services))),
        ),
    ),
)

_BY_ALIAS = {alias: kind for kind in ALL_KINDS for alias in kind.aliases}
_BY_NAME = {kind.name: kind for kind in ALL_KINDS}


def find_kind(text: str) -> Kind:
    """The kind that ``text`` means; upper and lower case are the same.

    A group may follow (``hostendpoint.projectcalico.org``): what ``-o name`` prints can be typed back.
    """
    wanted = text.lower()
    kind = _BY_ALIAS.get(wanted)
    if kind is None:
        alias, _, group = wanted.partition(".")
        kind = _BY_ALIAS.get(alias)
        if kind is not None and group != kind.group:
            kind = None
    if kind is None:
        known = ", ".join(KINDS[kind.name].PLURAL for kind in ALL_KINDS)
        raise AutohepError(f"resource type '{text}' is not supported (supported: {known})")
    return kind


def kind_of(resource: Resource) -> Kind:
    """The kind of a resource."""
    return _BY_NAME[resource.kind]
