"""GlobalNetworkPolicy, its staged variant, Tier and Profile: the rules and where they stand in the order.

Semantics: docs/policy.md. ``None`` means "not given"; defaulting is manifest's work, never the reader's.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from pyagent.model.resource import Resource, Struct

#: A port is a number, a ``"low:high"`` range or a named port.
Port = int | str
#: A protocol is one of the six names (TCP UDP ICMP ICMPv6 SCTP UDPLite) or a number from 1 to 255.
Protocol = int | str


class ICMPFields(Struct, frozen=True):
    """An ICMP or ICMPv6 type (0 to 254), optionally with a code (0 to 255)."""

    type: int | None = None
    code: int | None = None


class ServiceMatch(Struct, frozen=True):
    """A peer given as the endpoints of a Kubernetes Service."""

    name: str = ""
    namespace: str = ""


class ServiceAccountMatch(Struct, frozen=True):
    """Pods by service account; a host endpoint has none and is never matched by it."""

    names: tuple[str, ...] = ()
    selector: str = ""


class EntityRule(Struct, frozen=True):
    """One side of a rule: what is given is ANDed, entries of one list are ORed."""

    nets: tuple[str, ...] = ()
    not_nets: tuple[str, ...] = ()
    selector: str = ""
    not_selector: str = ""
    namespace_selector: str = ""
    services: ServiceMatch | None = None
    service_accounts: ServiceAccountMatch | None = None
    ports: tuple[Port, ...] = ()
    not_ports: tuple[Port, ...] = ()


class HTTPPath(Struct, frozen=True):
    """An HTTP path, exact or by prefix."""

    exact: str = ""
    prefix: str = ""


class HTTPMatch(Struct, frozen=True):
    """HTTP criteria; validated as upstream does, ignored by a packet dataplane."""

    methods: tuple[str, ...] = ()
    paths: tuple[HTTPPath, ...] = ()


class RuleMetadata(Struct, frozen=True):
    """Annotations of one rule."""

    annotations: dict[str, str] = {}


class Rule(Struct, frozen=True):
    """One rule: an action and the conditions it needs, all of which must hold."""

    action: str = ""
    protocol: Protocol | None = None
    not_protocol: Protocol | None = None
    ip_version: int | None = msgspec.field(default=None, name="ipVersion")
    icmp: ICMPFields | None = None
    not_icmp: ICMPFields | None = msgspec.field(default=None, name="notICMP")
    source: EntityRule = EntityRule()
    destination: EntityRule = EntityRule()
    http: HTTPMatch | None = None
    metadata: RuleMetadata | None = None


class PolicySpec(Struct, frozen=True):
    """What GlobalNetworkPolicy and StagedGlobalNetworkPolicy share; ``order`` None sorts last."""

    tier: str = ""
    order: float | None = None
    selector: str = ""
    namespace_selector: str = ""
    service_account_selector: str = ""
    types: tuple[str, ...] = ()
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    do_not_track: bool = False
    pre_dnat: bool = msgspec.field(default=False, name="preDNAT")
    apply_on_forward: bool = False
    performance_hints: tuple[str, ...] = ()
    staged_action: str = ""


class GlobalNetworkPolicy(Resource, frozen=True):
    """A policy that is enforced on every endpoint its selector picks."""

    KIND: ClassVar[str] = "GlobalNetworkPolicy"
    PLURAL: ClassVar[str] = "globalnetworkpolicies"
    spec: PolicySpec = PolicySpec()
    status: dict[str, Any] | None = None


class StagedGlobalNetworkPolicy(Resource, frozen=True):
    """A policy that is only counted and reported (``stagedAction`` Set, Delete, Learn or Ignore)."""

    KIND: ClassVar[str] = "StagedGlobalNetworkPolicy"
    PLURAL: ClassVar[str] = "stagedglobalnetworkpolicies"
    spec: PolicySpec = PolicySpec()
    status: dict[str, Any] | None = None


class TierSpec(Struct, frozen=True):
    """A tier's place among the tiers and what happens at its end."""

    order: float | None = None
    default_action: str = ""


class Tier(Resource, frozen=True):
    """An ordered group of policies."""

    KIND: ClassVar[str] = "Tier"
    PLURAL: ClassVar[str] = "tiers"
    spec: TierSpec = TierSpec()
    status: dict[str, Any] | None = None


class ProfileSpec(Struct, frozen=True):
    """Rules that count when no policy applies, and labels an endpoint inherits."""

    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    labels_to_apply: dict[str, str] = {}


class Profile(Resource, frozen=True):
    """A profile; ``projectcalico-default-allow`` always exists and allows everything."""

    KIND: ClassVar[str] = "Profile"
    PLURAL: ClassVar[str] = "profiles"
    spec: ProfileSpec = ProfileSpec()
    status: dict[str, Any] | None = None
