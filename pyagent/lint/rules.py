"""Rules that packets do not reach, or that change nothing: in every table that has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pyagent.calc.view import END, NodeView, RuleAction, RuleRef, TableView
from pyagent.calc.world import DEFAULT_ALLOW
from pyagent.errors import CapacityError
from pyagent.inquiry import Sources
from pyagent.lint.finding import Check, Finding
from pyagent.lint.overlap import WORK_MAX, Reached, survey, work
from pyagent.lint.regions import Fields, Regions
from pyagent.model import GlobalNetworkPolicy, Profile, Resource, StagedGlobalNetworkPolicy
from pyagent.model.policy import Rule

Owner = GlobalNetworkPolicy | StagedGlobalNetworkPolicy | Profile
_OPPOSITE = {RuleAction.ALLOW: "Deny", RuleAction.DENY: "Allow"}


class RuleFindings:
    """Gathers what tables make of rules, and tells what holds for all of them."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._owners = {
            (each.KIND, each.name): each
            for each in sources.resources
            if isinstance(each, GlobalNetworkPolicy | StagedGlobalNetworkPolicy | Profile)
            and each.name != DEFAULT_ALLOW  # nobody wrote it, and every policy is there to come before it
        }
        self._seen: dict[RuleRef, list[Reached]] = {}
        self._tables: set[tuple[object, ...]] = set()
        self._kept: list[NodeView] = []
        self._skipped: dict[str, str] = {}

    def add(self, view: NodeView) -> None:
        """Look at all tables of a node that are not like one seen before."""
        self._kept.append(view)  # parts are told apart by identity, which only living objects have
        tables = [
            (endpoint.name, table)
            for endpoint in view.endpoints
            for table in endpoint.tables.values()
            if self._is_new(table)
        ]
        if not tables:
            return
        try:
            fields = Fields(view)
        except CapacityError as error:
            self._skipped[f"the tables of node {view.node}"] = str(error)
            return
        for endpoint, table in tables:
            name = f"{endpoint}'s table {table.kind.name.lower()}"
            try:
                regions = Regions(table, fields)
            except CapacityError as error:
                self._skipped[name] = str(error)
                continue
            if work(table, regions) > WORK_MAX:
                self._skipped[name] = f"it has {regions.cells} cells"
                continue
            for found in survey(table, regions):
                self._seen.setdefault(found.rule.ref, []).append(found)

    def _is_new(self, table: TableView) -> bool:
        key = (
            tuple((tier.end, tuple(map(id, tier.policies))) for tier in table.tiers),
            tuple(map(id, table.profiles)),
            table.end,
        )
        if key in self._tables:
            return False
        self._tables.add(key)
        return True

    def policies(self) -> set[tuple[str, str, str]]:
        """Kind, name and direction of every policy that some table had."""
        return {(ref.kind, ref.owner, ref.direction) for ref in self._seen}

    def findings(self) -> Iterator[Finding]:
        """What is true of a rule in every table that it stands in."""
        dead = {ref for ref, found in self._seen.items() if _is_dead(found)}
        for ref, found in self._seen.items():
            if (ref.kind, ref.owner) not in self._owners:
                continue
            if ref in dead:
                yield self._dead(ref, found)
            elif _changes_nothing(found, dead):
                yield self._redundant(ref, found)
        for name, why in self._skipped.items():
            suggestion = "the rules in it may still be shadowed; test them with hepctl test"
            yield Finding(Check.NOT_COMPARED, "", name, f"too large to compare its rules: {why}", suggestion)

    def _dead(self, ref: RuleRef, found: list[Reached]) -> Finding:
        before = {each for one in found for each in one.before}
        told = self._told(before)
        action = found[0].rule.action
        against = {each for each in before if self._action(each) == _OPPOSITE.get(action)}
        if against:
            message = f"never reached, and contradicted: all its packets go to {told}"
            suggestion = f"put the {action} before {self._told(against)}, or drop one of the two"
            return self._finding(Check.CONTRADICTING, ref, message, suggestion)
        suggestion = "drop it, or put it before what takes its packets"
        return self._finding(Check.SHADOWED, ref, f"never reached: all its packets go to {told}", suggestion)

    def _redundant(self, ref: RuleRef, found: list[Reached]) -> Finding:
        told = self._told({each for one in found for each in one.after})
        message = f"changes nothing: without it {told} would say the same of its packets"
        return self._finding(Check.REDUNDANT, ref, message, "drop it, or say which packets it is for")

    def _finding(self, check: Check, ref: RuleRef, message: str, suggestion: str) -> Finding:
        place = self._sources.place(ref.kind, ref.owner, f"spec.{ref.direction}[{ref.index}]")
        return Finding(check, ref.kind, str(ref), message, suggestion, *place)

    def _action(self, ref: RuleRef) -> str:
        """The action of a rule as written; an end denies."""
        if ref.index == END:
            return "Deny"
        owner = self._owners.get((ref.kind, ref.owner))
        return rules_of(owner, ref.direction)[ref.index].action if owner is not None else "Allow"

    def _told(self, refs: Iterable[RuleRef], limit: int = 4) -> str:
        texts = [f"{_name(ref)} ({self._action(ref)})" for ref in sorted(refs, key=str)]
        more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
        return ", ".join(texts[:limit]) + more


def _name(ref: RuleRef) -> str:
    return f"the end of {ref.kind} {ref.owner}" if ref.index == END else str(ref)


def _is_dead(found: list[Reached]) -> bool:
    return any(each.matches for each in found) and not any(each.reached for each in found)


def _changes_nothing(found: list[Reached], dead: set[RuleRef]) -> bool:
    """Reached, but never needed. What only ends would say is no fault: it is good to be explicit; and what
    only a shadowed rule would say is that rule's fault.
    """
    if any(each.needed for each in found) or not any(each.reached for each in found):
        return False
    after = {ref for each in found for ref in each.after}
    return not any(ref.index == END for ref in after) and not after <= dead


def rules_of(owner: Resource, direction: str) -> tuple[Rule, ...]:
    """A policy's or a profile's rules of one direction."""
    assert isinstance(owner, GlobalNetworkPolicy | StagedGlobalNetworkPolicy | Profile)
    return owner.spec.ingress if direction == "ingress" else owner.spec.egress
