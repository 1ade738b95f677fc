"""What becomes of a packet at each hook, by each engine, and what staged policies would change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pyagent.explain.aside import Aside, policies_aside
from pyagent.explain.question import Question
from pyagent.inquiry import UNPRIVILEGED, Answer, Crossing, Engines, Hosts, disagreement, kernel_if_asked
from pyagent.model import GlobalNetworkPolicy, Resource, StagedGlobalNetworkPolicy
from pyagent.model.packet import Packet
from pyagent.reference import Decision, FlowState

if TYPE_CHECKING:
    from pyagent.inquiry.running import Running


@dataclass(frozen=True, slots=True)
class StagedChange:
    """What a hook's verdict would be with a staged policy enforced (``all staged policies``: all at once)."""

    policy: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class HookExplanation:
    """One hook. ``disagreement``: how the engines differ; empty: they do not.

    ``aside``: policies that have no say at this hook, and why. ``changes``: the staged policies with which
    the verdict would be another.
    """

    crossing: Crossing
    decision: Decision
    answers: tuple[Answer, ...]
    disagreement: str
    aside: tuple[Aside, ...]
    changes: tuple[StagedChange, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The way of a packet; it gets through if every hook lets it. ``after``: hooks it never reaches."""

    packet: Packet
    flow: FlowState
    hooks: tuple[HookExplanation, ...]
    after: tuple[Crossing, ...]

    @property
    def allowed(self) -> bool:
        """Every hook lets the packet through."""
        return all(hook.decision.allowed for hook in self.hooks)

    @property
    def agreed(self) -> bool:
        """No two engines differ anywhere."""
        return not any(hook.disagreement for hook in self.hooks)


def explain(
    hosts: Hosts,
    question: Question,
    engines: Sequence[str] = UNPRIVILEGED,
    running: Running | None = None,
) -> Explanation:
    """Follow a packet until something drops it, by the reference; ``engines`` are asked about every hook.

    ``running``: what an agent has in force, which is asked about the hooks of its node.

    Raises UsageError for a packet that cannot be asked about, and what the kernel engine raises.
    """
    if question.node:
        hosts.check(question.node)
    packet = question.packet(hosts)
    crossings = question.crossings(hosts, packet)
    hooks: list[HookExplanation] = []
    with kernel_if_asked(engines) as kernel:
        for crossing in crossings:
            ready = Engines(hosts, crossing.node, crossing.interface, kernel=kernel)
            answers = ready.ask(engines, crossing, question.flow)
            if running is not None and running.node == crossing.node:
                answers += (running.ask(ready.view, ready.facts, crossing, question.flow),)
            hooks.append(_hook(hosts, crossing, question.flow, answers))
            if not hooks[-1].decision.allowed:
                break
    return Explanation(packet, question.flow, tuple(hooks), crossings[len(hooks) :])


def _hook(hosts: Hosts, crossing: Crossing, flow: FlowState, answers: tuple[Answer, ...]) -> HookExplanation:
    decision = Engines(hosts, crossing.node, crossing.interface).decide(crossing, flow)
    changes = tuple(_changes(hosts, crossing, flow, decision))
    aside = tuple(policies_aside(hosts, crossing, decision))
    return HookExplanation(crossing, decision, answers, disagreement(answers, crossing), aside, changes)


def _changes(hosts: Hosts, crossing: Crossing, flow: FlowState, now: Decision) -> Iterator[StagedChange]:
    """The staged policies that would give another verdict, each alone and then all together."""
    staged = [each for each in hosts.resources if isinstance(each, StagedGlobalNetworkPolicy)]
    trials = [(each.name, [each]) for each in staged]
    if len(staged) > 1:
        trials.append(("all staged policies", staged))
    for name, tried in trials:
        then = hosts.with_resources(_enforced(hosts.resources, tried))
        decision = Engines(then, crossing.node, crossing.interface).decide(crossing, flow)
        if decision.verdict is not now.verdict:
            yield StagedChange(name, decision)


def _enforced(resources: Sequence[Resource], tried: Sequence[StagedGlobalNetworkPolicy]) -> list[Resource]:
    """The resources as they would be with some staged policies put into force."""
    names = {each.name for each in tried if each.spec.staged_action != "Ignore"}
    kept: list[Resource] = [
        each for each in resources if not (isinstance(each, GlobalNetworkPolicy) and each.name in names)
    ]
    return kept + [
        GlobalNetworkPolicy(
            api_version=each.api_version,
            kind=GlobalNetworkPolicy.KIND,
            metadata=each.metadata,
            spec=replace(each.spec, staged_action=""),
        )
        for each in tried
        if each.spec.staged_action not in {"Delete", "Ignore"}
    ]
