"""One side of a rule as alternatives, for a port list with named ports is no single conjunction."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Protocol

from pyagent.calc.ports import PortGroup, Ports, common, split_ports, union, without
from pyagent.calc.view import AddressSet
from pyagent.model.packet import PORT_PROTOCOLS
from pyagent.model.policy import EntityRule
from pyagent.selector import parse

#: Every protocol there is.
ANY: frozenset[int] = frozenset(range(256))


class Lookup(Protocol):
    """What a rule's conditions are resolved by."""

    def selector(self, text: str) -> AddressSet:
        """The peers that a selector picks."""

    def nets(self, nets: tuple[str, ...]) -> AddressSet:
        """The networks of a list."""

    def named_ports(self, selector: str, names: tuple[str, ...]) -> tuple[PortGroup, ...]:
        """Named ports of the host endpoints that a selector picks."""

    def service(self, namespace: str, name: str) -> tuple[PortGroup, ...]:
        """The endpoints of a Service."""


class NeverMatches(Exception):  # noqa: N818 - no error: a finding about one rule, caught where the rule is read
    """A condition that no packet of a host endpoint can meet; the message says which."""


@dataclass(frozen=True, slots=True)
class Term:
    """A conjunction on one side: addresses, protocols, ports of that side (None: any or none at all)."""

    all_of: tuple[AddressSet, ...] = ()
    none_of: tuple[AddressSet, ...] = ()
    protocols: frozenset[int] = ANY
    ports: Ports | None = None
    not_ports: Ports = ()

    def also(self, other: Term) -> Term:
        """Both conjunctions at once."""
        return Term(
            _unique(self.all_of + other.all_of),
            _unique(self.none_of + other.none_of),
            self.protocols & other.protocols,
            _both(self.ports, other.ports),
            union(self.not_ports + other.not_ports),
        )

    def settled(self) -> Term | None:
        """The same in its simplest form; None if no packet can meet it."""
        protocols = self.protocols if self.ports is None else self.protocols & PORT_PROTOCOLS
        if not protocols:
            return None
        if self.ports is None:
            return Term(self.all_of, self.none_of, protocols, None, self.not_ports)
        ports = without(self.ports, self.not_ports)
        return Term(self.all_of, self.none_of, protocols, ports) if ports else None


def side_terms(
    entity: EntityRule, protocols: frozenset[int], lookup: Lookup, *, is_source: bool
) -> list[Term]:
    """The alternatives of one side of a rule. Raises NeverMatches, ValueError, SelectorError."""
    picks = _picks(entity)
    factors = [[_addresses(entity, picks, protocols, lookup)]]
    if entity.ports:
        factors.append(_positive(*split_ports(entity.ports), picks or "all()", lookup))
    if entity.not_ports:
        factors.append(_negative(*split_ports(entity.not_ports), picks or "all()", lookup))
    if entity.services is not None:
        groups = lookup.service(entity.services.namespace, entity.services.name)
        if not groups:
            message = f"service {entity.services.namespace}/{entity.services.name} has no endpoints"
            raise NeverMatches(message)
        factors.append(_of_service(groups, is_source=is_source))
    return [term for factor in product(*factors) if (term := _joined(factor))]


def _picks(entity: EntityRule) -> str:
    """The selector of a side's peers; empty: any address."""
    if entity.service_accounts is not None:
        raise NeverMatches("serviceAccounts match no host endpoint")
    if not entity.namespace_selector:
        return entity.selector
    if not parse(entity.namespace_selector).is_global:
        message = f"namespaceSelector {entity.namespace_selector!r} matches no host endpoint"
        raise NeverMatches(message)
    return entity.selector or "all()"


def _addresses(entity: EntityRule, picks: str, protocols: frozenset[int], lookup: Lookup) -> Term:
    all_of = [lookup.nets(entity.nets)] if entity.nets else []
    none_of = [lookup.nets(entity.not_nets)] if entity.not_nets else []
    if picks:
        peers = lookup.selector(picks)
        if not (peers.v4 or peers.v6):
            message = f"selector {peers.name} picks no address"
            raise NeverMatches(message)
        all_of.append(peers)
    if entity.not_selector:
        others = lookup.selector(entity.not_selector)
        none_of += [others] if others.v4 or others.v6 else []
    return Term(_unique(tuple(all_of)), _unique(tuple(none_of)), protocols)


def _positive(numbers: Ports, names: tuple[str, ...], selector: str, lookup: Lookup) -> list[Term]:
    """One of the numeric ports, or one of the named ports at an address that has it."""
    terms = [Term(ports=numbers)] if numbers else []
    if names:
        terms += [_at(group) for group in lookup.named_ports(selector, names)]
    if not terms:
        message = f"no host endpoint has a port named {' or '.join(names)}"
        raise NeverMatches(message)
    return terms


def _negative(numbers: Ports, names: tuple[str, ...], selector: str, lookup: Lookup) -> list[Term]:
    """None of the numeric ports, and no named port at an address that has it.

    Split by protocol and port, which is linear in the number of groups: a port that no group has is free at
    every address, a group's ports are free at all addresses but its own.
    """
    groups = lookup.named_ports(selector, names) if names else ()
    terms = []
    plain = PORT_PROTOCOLS
    for protocol in sorted({group.protocol for group in groups} & PORT_PROTOCOLS):
        own, only = [group for group in groups if group.protocol == protocol], frozenset({protocol})
        plain -= only
        taken = union(numbers + tuple(ports for group in own for ports in group.ports))
        terms.append(Term(protocols=only, not_ports=taken))
        terms += [
            Term(none_of=(group.addresses,), protocols=only, ports=group.ports, not_ports=numbers)
            for group in own
        ]
    if not numbers:
        return [*terms, Term(protocols=ANY - (PORT_PROTOCOLS - plain))]
    return [*terms, Term(protocols=plain, not_ports=numbers), Term(protocols=ANY - PORT_PROTOCOLS)]


def _of_service(groups: tuple[PortGroup, ...], *, is_source: bool) -> list[Term]:
    """A service's endpoints with their ports; as a source only addresses: clients use other ports."""
    if is_source:
        return [Term(all_of=(addresses,)) for addresses in dict.fromkeys(group.addresses for group in groups)]
    return [_at(group) for group in groups]


def _at(group: PortGroup) -> Term:
    return Term(all_of=(group.addresses,), protocols=frozenset({group.protocol}), ports=group.ports)


def _joined(terms: tuple[Term, ...]) -> Term | None:
    whole = terms[0]
    for term in terms[1:]:
        whole = whole.also(term)
    return whole.settled()


def _both(one: Ports | None, other: Ports | None) -> Ports | None:
    if one is None or other is None:
        return other if one is None else one
    return common(one, other)


def _unique(sets: tuple[AddressSet, ...]) -> tuple[AddressSet, ...]:
    return tuple(dict.fromkeys(sets))
