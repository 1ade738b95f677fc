"""Do the engines agree on a packet? And if not, which is the smallest world on which they do not?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace

import msgspec

from pyagent import manifest
from pyagent.abi import Direction, Reason
from pyagent.calc import World, node_view
from pyagent.compiler import compile_image
from pyagent.compiler.pipeline import Judged, Pipeline
from pyagent.compiler.table import DENSE_BYTES
from pyagent.model import Resource
from pyagent.model.policy import Rule
from pyagent.reference import Decision, Evaluator, FlowState
from tests.support.generate import RandomWorld
from tests.support.generate_packets import Case

KNOWN = {
    FlowState.NEW: Reason.NONE,
    FlowState.ESTABLISHED: Reason.FLOW,
    FlowState.RELATED: Reason.RELATED,
}
#: Shrinking takes a while; where only the fact of a difference counts it is left out.
SHRINKS = os.environ.get("AUTOHEP_SHRINK", "1") != "0"


class Engines:
    """The reference, and calc and compiler, ready for the packets of one world."""

    def __init__(self, world: RandomWorld, generation: int = 1) -> None:
        self.reference = Evaluator(world.resources, world.facts)
        self.view = node_view(World.from_resources(world.resources), world.facts)
        # Every third world has its tables in pages, as only large ones have otherwise.
        dense = 0 if world.seed % 3 == 0 else DENSE_BYTES
        self.image = compile_image(self.view, generation, dense=dense)
        self.pipeline = Pipeline(self.image, self.view, world.facts)
        self._keys = {
            (ref.kind, ref.owner, ref.direction, ref.index): ref.key
            for endpoint in self.view.endpoints
            for table in endpoint.tables.values()
            for policy in (*(each for tier in table.tiers for each in tier.policies), *table.profiles)
            for ref in (rule.ref for rule in policy.rules)
        }

    def ask(self, case: Case) -> tuple[Decision, Judged]:
        """What the reference and the image say."""
        decision = self.reference.evaluate(
            case.interface,
            case.direction,
            case.packet,
            forwarded=case.received or None,
            flow=case.flow,
        )
        judged = self.pipeline.judge(
            case.interface,
            Direction[case.direction.upper()],
            case.packet,
            received=case.received,
            known=KNOWN[case.flow],
        )
        return decision, judged

    def difference(self, case: Case) -> str:
        """What they differ in; empty: nothing."""
        decision, judged = self.ask(case)
        if decision.reason is not judged.reason or decision.allowed is not judged.allowed:
            return f"the reference says {decision.reason.name}, the image {judged.reason.name}"
        if case.packet.fragment:
            return ""  # of equally favourable outcomes any may stand for a later fragment
        return self._deciding(decision, judged) or self._beside(decision, judged)

    def _deciding(self, decision: Decision, judged: Judged) -> str:
        if decision.stage is None or not judged.walked:
            return ""
        kind, walked = judged.walked[-1]
        endpoint = next(each for each in self.view.endpoints if each.name == decision.endpoint)
        table = endpoint.tables[kind]
        if decision.rule is not None:
            place = decision.rule
            expected = self._keys[(place.kind, place.owner, place.direction, place.index)]
        elif decision.reason is Reason.FORWARD_NONE:
            expected = 0
        elif decision.tier is not None:
            expected = next(tier.end_ref.key for tier in table.tiers if tier.name == decision.tier)
        else:
            expected = table.end_ref.key
        return (
            "" if walked.rule == expected else f"{decision.because} decided, not {self._named(walked.rule)}"
        )

    def _beside(self, decision: Decision, judged: Judged) -> str:
        verdicts = [self.image.metadata["verdicts"][walked.verdict_id] for _, walked in judged.walked]
        logs = [key for verdict in verdicts for key in verdict["logs"]]
        expected = [self._keys[(at.kind, at.owner, at.direction, at.index)] for at in decision.logged]
        if sorted(logs) != sorted(expected):
            return f"logged {list(map(str, decision.logged))}, not {[self._named(key) for key in logs]}"
        staged = [(name, action) for verdict in verdicts for name, action in verdict["staged"].items()]
        met = [(each.policy, each.action) for each in decision.staged if each.action != "none"]
        return "" if sorted(staged) == sorted(met) else f"staged policies say {met}, not {staged}"

    def _named(self, key: int) -> str:
        return str(self.image.metadata["rules"].get(str(key), key))


def shrink(world: RandomWorld, differs: Callable[[RandomWorld], bool]) -> RandomWorld:
    """A smaller world that still differs: resources, rules and fields are left out as long as it does."""
    again = True
    while again:
        again = False
        for smaller in _smaller(world):
            if differs(smaller):
                world, again = smaller, True
                break
    return world


def _smaller(world: RandomWorld) -> Iterator[RandomWorld]:
    resources = world.resources
    for index in range(len(resources)):
        yield replace(world, resources=(*resources[:index], *resources[index + 1 :]))
    for index, each in enumerate(resources):
        for simpler in _simpler(each):
            if not manifest.validate(manifest.default(simpler)):
                yield replace(world, resources=(*resources[:index], simpler, *resources[index + 1 :]))


def _simpler(resource: Resource) -> Iterator[Resource]:
    """The resource with one field of its labels or spec, one rule, or one field of a rule less."""
    if resource.metadata.labels:
        yield msgspec.structs.replace(
            resource, metadata=msgspec.structs.replace(resource.metadata, labels={})
        )
    spec = getattr(resource, "spec", None)
    if spec is None:
        return
    for less in _without(spec):
        yield msgspec.structs.replace(resource, spec=less)  # type: ignore[call-arg]


def _without(value: msgspec.Struct) -> Iterator[msgspec.Struct]:
    """A struct with one field at its default, one item of a list less, or one part simpler."""
    for field in msgspec.structs.fields(value):
        current = getattr(value, field.name)
        if not field.required and current != field.default and field.default is not msgspec.NODEFAULT:
            yield msgspec.structs.replace(value, **{field.name: field.default})
        if isinstance(current, msgspec.Struct):
            for part in _without(current):
                yield msgspec.structs.replace(value, **{field.name: part})
        if isinstance(current, tuple):
            for index, item in enumerate(current):
                if len(current) > 1:
                    yield msgspec.structs.replace(
                        value, **{field.name: (*current[:index], *current[index + 1 :])}
                    )
                for part in _without(item) if isinstance(item, Rule) else ():
                    yield msgspec.structs.replace(
                        value, **{field.name: (*current[:index], part, *current[index + 1 :])}
                    )


def differs_on(case: Case) -> Callable[[RandomWorld], bool]:
    """Whether a world's engines differ on the packet."""
    return lambda world: bool(Engines(world).difference(case))


def report(world: RandomWorld, case: Case) -> str:
    """Everything one needs to see who is right: seed, resources, host, packet, both ways to the verdict."""
    small = shrink(world, differs_on(case)) if SHRINKS else world
    engines = Engines(small)
    decision, judged = engines.ask(case)
    documents = [manifest.dump_yaml(manifest.encode(each)) for each in small.resources]
    return "\n".join(
        [
            f"world {world.seed}: {engines.difference(case)}",
            "---\n".join(documents),
            str(small.facts),
            f"{case}\n{case.packet}",
            f"reference:\n{decision}",
            f"image: {judged}",
        ]
    )
