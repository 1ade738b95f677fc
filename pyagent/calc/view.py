"""What policy means for one node: the value that calc makes and the compiler reads.

Everything is resolved (selectors to addresses, named ports to numbers, tiers to an order), nothing compiled.
Equal parts are the same object, so that the compiler can deduplicate by identity.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from pyagent.abi import Action, TableKind

#: A network as (address int with host bits zero, prefix length).
Net = tuple[int, int]
#: Inclusive port range.
PortRange = tuple[int, int]
#: The index of a RuleRef that stands for an end, not for a rule.
END: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class Since:
    """What a set was before single addresses came into it or left it, and which these are: (version,
    address)."""

    v4: tuple[Net, ...]
    v6: tuple[Net, ...]
    moved: frozenset[tuple[int, int]]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class AddressSet:
    """An OR of networks that some condition stands for; interned: one object per distinct condition.

    ``name`` tells people what it is (``has(role)``, ``10.0.0.0/8``). An empty set matches nothing. ``since``:
    what it was, where little has changed.
    """

    name: str
    v4: tuple[Net, ...] = ()
    v6: tuple[Net, ...] = ()
    since: Since | None = None


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Side:
    """Source or destination: in every set of ``all_of`` and in no set of ``none_of``. Empty: any address."""

    all_of: tuple[AddressSet, ...] = ()
    none_of: tuple[AddressSet, ...] = ()


@dataclass(frozen=True, slots=True)
class L4Match:
    """Protocol, destination port and ICMP conditions, ANDed; the empty one matches every packet.

    ``protocols`` None: any. ``ports``/``not_ports``: destination ports; given only with port protocols, and a
    packet of another protocol never matches ``ports``. ``icmp`` is (type, code or None).
    ``source_ports``/``not_source_ports`` likewise for the source port.
    """

    protocols: frozenset[int] | None = None
    not_protocols: frozenset[int] = frozenset()
    ports: tuple[PortRange, ...] | None = None
    not_ports: tuple[PortRange, ...] = ()
    source_ports: tuple[PortRange, ...] | None = None
    not_source_ports: tuple[PortRange, ...] = ()
    icmp: tuple[int, int | None] | None = None
    not_icmp: tuple[int, int | None] | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """One conjunction. ``version``: 4, 6 or None for both."""

    source: Side
    destination: Side
    l4: L4Match
    version: int | None = None


class RuleAction(StrEnum):
    """A rule's action as written."""

    ALLOW = "Allow"
    DENY = "Deny"
    LOG = "Log"
    PASS = "Pass"  # noqa: S105  (an action of the API, no secret)


@dataclass(frozen=True, slots=True)
class RuleRef:
    """Where a rule stands: its policy or profile, direction (``ingress`` or ``egress``) and index (from 0).

    The end of a tier (kind ``Tier``) or of a table (kind ``HostEndpoint``) has index ``END``.
    ``key`` is a stable 32-bit number, never 0, made from the owner's name, the direction and the rule's
    content, so that counters survive edits elsewhere in the policy.
    """

    kind: str
    owner: str
    direction: str
    index: int
    key: int

    def __str__(self) -> str:
        return f"{self.owner}/{self.direction}[{'end' if self.index == END else self.index}]"


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule: it matches a packet when any of ``matches`` does (none: it never matches)."""

    ref: RuleRef
    action: RuleAction
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class PolicyView:
    """One policy's rules for one table. ``staged``: counted and reported, never enforced."""

    name: str
    rules: tuple[RuleView, ...]
    staged: bool = False


@dataclass(frozen=True, slots=True)
class TierView:
    """The policies of one tier that apply, in order; ``end`` is what the tier's end does.

    ``end`` is DENY or PASS (tier.defaultAction Pass, or all its applicable policies are staged).
    ``end_ref`` stands for the end in counters and explanations.
    """

    name: str
    policies: tuple[PolicyView, ...]
    end: RuleAction
    end_ref: RuleRef


@dataclass(frozen=True, slots=True)
class TableView:
    """All that one (endpoint, stage, direction) asks of a packet.

    After the last tier: ``profiles`` in order (LOCAL only), then ``end``: DENY for a LOCAL table, NONE for
    untracked and preDNAT, DENY for forward (NONE where all its policies are staged). ``end_ref`` stands for
    it. A Pass in a profile denies. For untracked and preDNAT tables the end of a tier is NONE too, never
    DENY: calc sets ``TierView.end`` to PASS there.
    """

    kind: TableKind
    tiers: tuple[TierView, ...]
    profiles: tuple[PolicyView, ...]
    end: Action
    end_ref: RuleRef


@dataclass(frozen=True, slots=True)
class EndpointView:
    """A host endpoint in force on the node. ``slot`` numbers them from 0 in byte order of their names."""

    name: str
    slot: int
    tables: dict[TableKind, TableView]


@dataclass(frozen=True, slots=True)
class Failsafe:
    """A port that stays open whatever policy says: protocol number, port, peers' network as CIDR (None: any).

    ``direction`` is ``ingress`` or ``egress``.
    """

    direction: str
    protocol: int
    port: int
    net: str | None = None


class PodToHost(StrEnum):
    """defaultEndpointToHostAction."""

    RETURN = "Return"
    ACCEPT = "Accept"
    DROP = "Drop"


@dataclass(frozen=True, slots=True)
class NodeView:
    """Everything the dataplane of one node enforces.

    ``endpoints`` by slot; ``interfaces``: interface name -> slot, for all interfaces known in the facts that
    an endpoint covers; ``wildcard``: the slot of the ``*`` endpoint or None, for interfaces that appear
    later. ``excluded``: interface name -> reason. ``host``/``nodes``: this host's addresses (with broadcast
    and multicast) and the addresses of all known nodes. ``redirected``: packets to this host that
    Services take elsewhere, by address and port; ``node_ports`` do so at every address. ``warnings`` are for
    status: things ignored or empty, each a sentence.
    """

    node: str
    endpoints: tuple[EndpointView, ...]
    interfaces: dict[str, int]
    wildcard: int | None
    excluded: dict[str, str]
    host: AddressSet
    nodes: AddressSet
    failsafes: tuple[Failsafe, ...]
    tunnels: tuple[tuple[int, int], ...]
    node_ports: frozenset[tuple[int, int]]
    pod_to_host: PodToHost
    redirected: tuple[Match, ...] = ()
    warnings: tuple[str, ...] = field(default=())
