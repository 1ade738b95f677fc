"""Rules to conjunctions of resolved conditions, redone only where a look-up would give something else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

from pyagent.calc.peers import Peers
from pyagent.calc.ports import PortGroup, protocol_number
from pyagent.calc.refs import rule_refs
from pyagent.calc.terms import ANY, Lookup, NeverMatches, Term, side_terms
from pyagent.calc.view import AddressSet, L4Match, Match, PolicyView, RuleAction, RuleRef, RuleView, Side
from pyagent.errors import SelectorError
from pyagent.model import GlobalNetworkPolicy, Profile, StagedGlobalNetworkPolicy
from pyagent.model.packet import ICMP_PROTOCOLS
from pyagent.model.policy import ICMPFields, Rule

Owner = GlobalNetworkPolicy | StagedGlobalNetworkPolicy | Profile
Found = TypeVar("Found")

#: Layer 4 conditions that are kept, so that equal ones are one object.
KEPT: Final = 4096
ICMP_VERSION = {1: 4, 58: 6}


class Recorder:
    """Looks up and remembers what it found, so that one can tell later whether that still holds."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._found: list[tuple[Callable[..., object], tuple[object, ...], object]] = []

    def _keep(self, ask: Callable[..., Found], *arguments: object) -> Found:
        found = ask(*arguments)
        self._found.append((ask, arguments, found))
        return found

    def selector(self, text: str) -> AddressSet:
        """See Peers."""
        return self._keep(self._peers.selector, text)

    def nets(self, nets: tuple[str, ...]) -> AddressSet:
        """See Peers."""
        return self._keep(self._peers.nets, nets)

    def named_ports(self, selector: str, names: tuple[str, ...]) -> tuple[PortGroup, ...]:
        """See Peers."""
        return self._keep(self._peers.named_ports, selector, names)

    def service(self, namespace: str, name: str) -> tuple[PortGroup, ...]:
        """See Peers."""
        return self._keep(self._peers.service, namespace, name)

    def still_true(self) -> bool:
        """Every look-up would give what it gave (address sets are equal only to themselves)."""
        return all(ask(*arguments) == found for ask, arguments, found in self._found)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A policy's view of one direction, and what it rests on."""

    resource: Owner
    view: PolicyView
    recorder: Recorder
    warnings: tuple[str, ...]


class PolicyReader:
    """Makes PolicyViews; the same object again while nothing that a policy looks at has changed."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._known: dict[tuple[str, str, str], _Prepared] = {}
        self._used: dict[tuple[str, str, str], _Prepared] = {}

    def policy(self, resource: Owner, direction: str) -> PolicyView:
        """The rules of one direction (``ingress`` or ``egress``)."""
        key = (resource.KIND, resource.name, direction)
        prepared = self._used.get(key)
        if prepared is None:
            prepared = self._known.get(key)
            if (
                prepared is None
                or prepared.resource.spec != resource.spec
                or not prepared.recorder.still_true()
            ):
                before, prepared = prepared, self._prepare(resource, direction)
                if before is not None and before.view == prepared.view:
                    prepared = replace(prepared, view=before.view)  # the other direction has changed
            self._used[key] = prepared
        return prepared.view

    def finish(self) -> set[str]:
        """End one calculation: forget policies that it did not use; the warnings of those it did."""
        self._known, self._used = self._used, {}
        return {warning for prepared in self._known.values() for warning in prepared.warnings}

    def _prepare(self, resource: Owner, direction: str) -> _Prepared:
        rules = resource.spec.ingress if direction == "ingress" else resource.spec.egress
        recorder, warnings, views = Recorder(self._peers), [], []
        for ref, rule in zip(rule_refs(resource.KIND, resource.name, direction, rules), rules, strict=True):
            view, remarks = rule_view(rule, ref, recorder)
            views.append(view)
            warnings += [f"{resource.KIND} {ref}: {remark}" for remark in remarks]
        staged = isinstance(resource, StagedGlobalNetworkPolicy)
        return _Prepared(resource, PolicyView(resource.name, tuple(views), staged), recorder, tuple(warnings))


def rule_view(rule: Rule, ref: RuleRef, lookup: Lookup) -> tuple[RuleView, list[str]]:
    """A rule as alternatives, and remarks on what in it is ignored or cannot match."""
    remarks = ["http criteria are ignored"] if rule.http is not None else []
    action = RuleAction.DENY
    matches: tuple[Match, ...] = ()
    try:
        action = RuleAction(rule.action.capitalize())
        matches = _matches(rule, lookup)
        if not matches:
            raise NeverMatches("its conditions exclude each other")
    except (NeverMatches, SelectorError, ValueError) as reason:
        remarks.append(f"the rule never matches: {reason}")
    return RuleView(ref, action, matches), remarks


def _matches(rule: Rule, lookup: Lookup) -> tuple[Match, ...]:
    protocols, versions = _protocols(rule), _versions(rule)
    sources = side_terms(rule.source, protocols, lookup, is_source=True)
    destinations = side_terms(rule.destination, protocols, lookup, is_source=False)
    pairs = ((source, destination) for source in sources for destination in destinations)
    return tuple(match for pair in pairs if (match := _match(rule, *pair, versions)))


def _protocols(rule: Rule) -> frozenset[int]:
    protocols = ANY if rule.protocol is None else frozenset({protocol_number(rule.protocol)})
    if rule.not_protocol is not None:
        protocols -= {protocol_number(rule.not_protocol)}
    if rule.icmp is not None:
        protocols &= ICMP_PROTOCOLS
    if rule.not_icmp is not None and rule.not_icmp.type is None:
        protocols -= ICMP_PROTOCOLS
    return protocols


def _versions(rule: Rule) -> frozenset[int]:
    versions = frozenset({4, 6} if rule.ip_version is None else {rule.ip_version})
    if rule.protocol is None:
        return versions
    return versions & {ICMP_VERSION.get(protocol_number(rule.protocol), version) for version in versions}


def _match(rule: Rule, source: Term, destination: Term, versions: frozenset[int]) -> Match | None:
    """One conjunction, or None if no packet can meet it."""
    protocols = source.protocols & destination.protocols
    left = {version for version in versions if _possible(version, source) and _possible(version, destination)}
    if not protocols or not left:
        return None
    l4 = _interned(
        protocols=protocols if len(protocols) <= len(ANY) // 2 else None,
        not_protocols=frozenset() if len(protocols) <= len(ANY) // 2 else ANY - protocols,
        ports=destination.ports,
        not_ports=destination.not_ports,
        source_ports=source.ports,
        not_source_ports=source.not_ports,
        icmp=_icmp(rule.icmp),
        not_icmp=_icmp(rule.not_icmp),
    )
    sides = (_side(source.all_of, source.none_of), _side(destination.all_of, destination.none_of))
    return Match(*sides, l4, left.pop() if len(left) == 1 else None)


@lru_cache(KEPT)
def _interned(**conditions: Any) -> L4Match:
    """Equal conditions are one object."""
    return L4Match(**conditions)


#: By the identities of its sets: as long as a side is there, so are they.
_sides: WeakValueDictionary[tuple[tuple[int, ...], tuple[int, ...]], Side] = WeakValueDictionary()


def _side(all_of: tuple[AddressSet, ...], none_of: tuple[AddressSet, ...]) -> Side:
    """Equal sides are one object."""
    key = tuple(map(id, all_of)), tuple(map(id, none_of))
    side = _sides.get(key)
    if side is None:
        side = _sides[key] = Side(all_of, none_of)
    return side


def _icmp(fields: ICMPFields | None) -> tuple[int, int | None] | None:
    return None if fields is None or fields.type is None else (fields.type, fields.code)


def _possible(version: int, term: Term) -> bool:
    """Whether an address of that version can be in all of ``all_of`` and in none of ``none_of``."""
    everything = (0, 0)
    if any(not _nets(group, version) for group in term.all_of):
        return False
    return not any(everything in _nets(group, version) for group in term.none_of)


def _nets(group: AddressSet, version: int) -> Sequence[tuple[int, int]]:
    return group.v4 if version == 4 else group.v6
