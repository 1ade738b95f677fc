"""What a change costs an agent on the processor, from the resource to the kernel's maps: python -m
benchmarks.changes [NODES POLICIES]... (root).

A node with other labels is an edit in place; a policy with another rule is a compilation and a flip.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.cluster import Cluster, node
from pyagent.agent.edits import Edits
from pyagent.bpf import loader
from pyagent.bpf.pins import Pins, ensure_bpffs
from pyagent.calc import Calculator, World
from pyagent.compiler import Compiler
from pyagent.dataplane import Dataplane
from pyagent.model.facts import HostFacts

EDITS, POLICIES = 100, 15


class Agent:
    """What an agent does of a change, but for watching and for what it looks at besides."""

    def __init__(self, dataplane: Dataplane, facts: HostFacts, world: World) -> None:
        self._dataplane, self._facts = dataplane, facts
        self._calculator, self._compiler, self._edits = Calculator(), Compiler(), Edits(dataplane)
        self.compile(world)

    def compile(self, world: World) -> None:
        """A whole calculation, up to the flip."""
        with self._dataplane.images_held():
            view = self._calculator.view(world, self._facts)
            self._image = self._compiler.compile(view, self._dataplane.next_generation)
            self._dataplane.apply(self._image, [], view.failsafes)

    def prepare(self) -> None:
        """What is done after a flip, so that the first edit need not."""
        self._edits.begin(self._image)
        self._calculator.prepare()

    def edit(self, world: World) -> bool:
        """An edit in place; False if it takes more."""
        with self._dataplane.images_held():
            moves = self._calculator.moves(world)
            return moves is not None and self._edits.make(moves)


@contextmanager
def loaded() -> Iterator[Dataplane]:
    """The program with maps of its own, attached nowhere."""
    ensure_bpffs()
    pins = Pins(f"changes{os.getpid()}", Path("/sys/fs/bpf/autohep_bench"))
    try:
        loader.load(pins, flows_max=1024)
        with Dataplane(pins, flows_max=1024) as dataplane:
            yield dataplane
    finally:
        pins.remove()


def measure(nodes: int, policies: int, edits: int = EDITS, changed: int = POLICIES) -> dict[str, Any]:
    """Milliseconds on the processor of each kind of change, to the flip.

    ``whole_ms`` is that of the first compilation, ``first_policy_ms`` of the first change after the edits.
    """
    cluster = Cluster(nodes, policies)
    world = World.from_resources([*cluster.nodes, *cluster.policies])
    with loaded() as dataplane:
        begun = time.process_time()
        agent = Agent(dataplane, cluster.facts(), world)
        whole = time.process_time() - begun
        agent.prepare()
        in_place, recompiled = [], []
        for _ in range(edits):
            number = cluster.random.randrange(1, nodes)
            world, took = _timed(world, node(number, cluster.some_labels()), agent.edit)
            if took is None:
                agent.compile(world)
                agent.prepare()
            else:
                in_place.append(took)
        for number in range(changed):
            policy = cluster.touched(cluster.policies[number * policies // changed])
            world, took = _timed(world, policy, agent.compile)
            agent.prepare()
            recompiled.append(took or 0.0)
        return {
            "nodes": nodes,
            "policies": policies,
            "whole_ms": round(1e3 * whole),
            "edited": f"{len(in_place)} of {edits}",
            **_summary("edit_ms", in_place),
            "first_policy_ms": round(1e3 * recompiled[0], 1),
            **_summary("policy_ms", recompiled[1:]),
        }


def _timed(world: World, resource: Any, work: Callable[[World], bool | None]) -> tuple[World, float | None]:
    """The world with the resource, and seconds on the processor to have it in force; None: it is not."""
    begun = time.process_time()
    world = world.put(resource)
    done = work(world)
    took = time.process_time() - begun
    return world, None if done is False else took


def _summary(name: str, seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    return {
        f"{name}_least": round(1e3 * min(seconds), 2),
        f"{name}_median": round(1e3 * statistics.median(seconds), 2),
        f"{name}_most": round(1e3 * max(seconds), 2),
    }


def main() -> None:
    """Measure the sizes that the arguments name."""
    numbers = [int(each) for each in sys.argv[1:]] or [5000, 10, 5000, 100, 5000, 1000]
    for nodes, policies in zip(numbers[::2], numbers[1::2], strict=True):
        print(measure(nodes, policies), flush=True)


if __name__ == "__main__":
    main()
