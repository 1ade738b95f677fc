"""Selectors that pick nothing, peers that stand for no address, policies that select nobody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pyagent.calc import World
from pyagent.calc.labels import endpoint_labels
from pyagent.calc.peers import Peers
from pyagent.calc.refs import rule_refs
from pyagent.calc.rules import rule_view
from pyagent.calc.view import RuleRef
from pyagent.inquiry import Sources
from pyagent.lint.finding import Check, Finding
from pyagent.lint.rules import Owner, rules_of
from pyagent.model import (
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    HostEndpoint,
    Profile,
    StagedGlobalNetworkPolicy,
    Tier,
)
from pyagent.model.policy import EntityRule, Rule
from pyagent.selector import parse

DIRECTIONS = ("ingress", "egress")


class PeerFindings:
    """What the selectors of some resources pick among all of them."""

    def __init__(self, sources: Sources, world: World) -> None:
        self._sources = sources
        self._world = world
        self._peers = Peers()
        self._peers.update(world)
        profiles = world.of(Profile)
        applied = {name: profile.spec.labels_to_apply for name, profile in profiles.items()}
        self._endpoints = {
            name: endpoint_labels(each, applied) for name, each in world.of(HostEndpoint).items()
        }
        self._sets = {name: each.metadata.labels for name, each in world.of(GlobalNetworkSet).items()}

    @property
    def has_peers(self) -> bool:
        """There is something that selectors could pick; without it they are not to blame."""
        return bool(self._endpoints or self._sets)

    def findings(self) -> Iterator[Finding]:
        """Everything found, in the order of the resources."""
        for resource in self._sources.resources:
            if isinstance(resource, GlobalNetworkPolicy | StagedGlobalNetworkPolicy):
                yield from self._policy(resource)
            if isinstance(resource, GlobalNetworkPolicy | StagedGlobalNetworkPolicy | Profile):
                for direction in DIRECTIONS:
                    yield from self._rules(resource, direction)

    # -- policies

    def _policy(self, policy: GlobalNetworkPolicy | StagedGlobalNetworkPolicy) -> Iterator[Finding]:
        spec = policy.spec
        if spec.tier and spec.tier not in self._world.of(Tier):
            yield self._of_policy(
                Check.MISSING_TIER,
                policy,
                "spec.tier",
                f"tier {spec.tier} does not exist: the policy comes after all tiers that do",
                f"create the Tier {spec.tier}, or name one that exists",
            )
        if spec.namespace_selector or spec.service_account_selector:
            field = "namespaceSelector" if spec.namespace_selector else "serviceAccountSelector"
            yield self._of_policy(
                Check.SELECTS_NOBODY,
                policy,
                f"spec.{field}",
                f"selects nobody: with {field} it selects pods only, and host endpoints are all there is",
                f"drop {field}, and select host endpoints by their labels",
            )
        elif self._endpoints and not _picked(spec.selector, self._endpoints):
            yield self._of_policy(
                Check.SELECTS_NOBODY,
                policy,
                "spec.selector",
                f"selects nobody: no host endpoint has {spec.selector}",
                _labels_hint(spec.selector, self._endpoints),
            )

    def _of_policy(
        self,
        check: Check,
        policy: GlobalNetworkPolicy | StagedGlobalNetworkPolicy,
        path: str,
        message: str,
        suggestion: str,
    ) -> Finding:
        place = self._sources.place(policy.KIND, policy.name, path)
        return Finding(check, policy.KIND, policy.name, message, suggestion, *place)

    # -- rules

    def _rules(self, owner: Owner, direction: str) -> Iterator[Finding]:
        rules = rules_of(owner, direction)
        for ref, rule in zip(rule_refs(owner.KIND, owner.name, direction, rules), rules, strict=True):
            found = [*self._sides(ref, rule)]
            yield from found
            # What never matches for want of a peer has been told with the peer's own line.
            if not any(each.check is Check.EMPTY_PEER for each in found):
                yield from self._never(ref, rule)

    def _never(self, ref: RuleRef, rule: Rule) -> Iterator[Finding]:
        _, remarks = rule_view(rule, ref, self._peers)
        for remark in remarks:
            never, _, why = remark.partition(": ")
            if never == "the rule never matches" and (self.has_peers or "exclude" in why):
                place = self._sources.place(ref.kind, ref.owner, f"spec.{ref.direction}[{ref.index}]")
                message = f"never matches: {why}"
                yield Finding(
                    Check.NEVER_MATCHES,
                    ref.kind,
                    str(ref),
                    message,
                    "drop it, or mend its conditions",
                    *place,
                )

    def _sides(self, ref: RuleRef, rule: Rule) -> Iterator[Finding]:
        for name, side in (("source", rule.source), ("destination", rule.destination)):
            yield from self._side(ref, name, side)

    def _side(self, ref: RuleRef, name: str, side: EntityRule) -> Iterator[Finding]:
        everything = {**self._endpoints, **{f"set {name}": labels for name, labels in self._sets.items()}}
        if side.selector and self.has_peers:
            if not _picked(side.selector, everything):
                message = f"{name} selector {side.selector} picks no host endpoint and no network set: "
                yield self._peer(
                    ref,
                    f"{name}.selector",
                    f"{message}the rule never matches",
                    _labels_hint(side.selector, everything),
                )
            elif not self._addresses(side.selector):
                message = f"what {name} selector {side.selector} picks has no address: the rule never matches"
                hint = "give the host endpoints expectedIPs, or the network sets nets"
                yield self._peer(ref, f"{name}.selector", message, hint)
        if side.not_selector and self.has_peers and not _picked(side.not_selector, everything):
            message = f"{name} notSelector {side.not_selector} picks nothing: it excludes nobody"
            hint = _labels_hint(side.not_selector, everything)
            place = self._sources.place(
                ref.kind, ref.owner, f"spec.{ref.direction}[{ref.index}].{name}.notSelector"
            )
            yield Finding(Check.NEVER_MATCHES, ref.kind, str(ref), message, hint, *place)
        if side.services is not None and not self._peers.service(side.services.namespace, side.services.name):
            service = f"{side.services.namespace}/{side.services.name}"
            message = f"{name} service {service} has no endpoints: the rule never matches"
            hint = "check the service's name and namespace, and its EndpointSlices"
            yield self._peer(ref, f"{name}.services", message, hint)

    def _addresses(self, selector: str) -> bool:
        found = self._peers.selector(selector)
        return bool(found.v4 or found.v6)

    def _peer(self, ref: RuleRef, path: str, message: str, suggestion: str) -> Finding:
        place = self._sources.place(ref.kind, ref.owner, f"spec.{ref.direction}[{ref.index}].{path}")
        return Finding(Check.EMPTY_PEER, ref.kind, str(ref), message, suggestion, *place)


def _picked(selector: str, labels: Mapping[str, Mapping[str, str]]) -> bool:
    matches = parse(selector).matches
    return any(matches(each) for each in labels.values())


def _labels_hint(selector: str, labels: Mapping[str, Mapping[str, str]]) -> str:
    """Which of the selector's keys nobody has: most often one is misspelt."""
    known = {key for each in labels.values() for key in each}
    unknown = sorted(parse(selector).keys() - known)
    if unknown:
        return f"nothing has a label {' or '.join(unknown)}: check the spelling, or label the nodes"
    return "the labels exist, but with other values: check those"
