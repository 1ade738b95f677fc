"""Which rules the cases met, and which none did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pyagent.model import GlobalNetworkPolicy, Profile, StagedGlobalNetworkPolicy
from pyagent.policytest.suite import Suite
from pyagent.reference import Decision, Looked, RulePlace

_OWNERS = {Looked.POLICY: GlobalNetworkPolicy.KIND, Looked.PROFILE: Profile.KIND}


@dataclass
class Hits:
    """The rules that matched a packet, by kind and place."""

    rules: set[tuple[str, str]] = field(default_factory=set)

    def note(self, decision: Decision) -> None:
        """Count the rules that matched on the way to a decision, staged ones too."""
        kind = ""
        for step in decision.trace:
            kind = _OWNERS.get(step.looked, kind)
            if step.looked is Looked.RULE and step.outcome != "no match":
                self.rules.add((kind, step.name))
        for staged in decision.staged:
            if staged.rule is not None:
                self.rules.add((staged.rule.kind, str(staged.rule)))


@dataclass(frozen=True, slots=True)
class CoveredRule:
    """A rule, where it is written (``file:line``), and whether a case met it."""

    place: RulePlace
    where: str
    hit: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """All rules of the policies and profiles that the test files name."""

    rules: tuple[CoveredRule, ...]

    @property
    def missed(self) -> tuple[CoveredRule, ...]:
        """The rules that no case met."""
        return tuple(rule for rule in self.rules if not rule.hit)


def coverage(suites: Sequence[Suite], hits: Hits) -> Coverage:
    """The rules of all suites, each once however many suites share its file."""
    found = dict.fromkeys(_rules(suites))
    return Coverage(
        tuple(
            CoveredRule(place, where, (place.kind, str(place)) in hits.rules)
            for place, where in sorted(found, key=lambda each: (each[1].rpartition(":")[0], str(each[0])))
        )
    )


def _rules(suites: Iterable[Suite]) -> Iterator[tuple[RulePlace, str]]:
    for suite in suites:
        for resource in suite.sources.resources:
            if not isinstance(resource, GlobalNetworkPolicy | StagedGlobalNetworkPolicy | Profile):
                continue
            for direction in ("ingress", "egress"):
                for index in range(len(getattr(resource.spec, direction))):
                    path = f"spec.{direction}[{index}]"
                    where = suite.sources.where(resource.kind, resource.name, path)
                    yield RulePlace(resource.kind, resource.name, direction, index), where
