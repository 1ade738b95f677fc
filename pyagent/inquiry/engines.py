"""The engines, asked the same question: the reference evaluator, the compiled image, and the kernel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pyagent.abi import Reason
from pyagent.calc import NodeView, node_view
from pyagent.compiler import Image, compile_image
from pyagent.compiler.pipeline import Pipeline
from pyagent.inquiry.answer import IMAGE, KERNEL, REFERENCE, Answer, image_answer
from pyagent.inquiry.hosts import Hosts
from pyagent.inquiry.route import Crossing
from pyagent.model.facts import HostFacts
from pyagent.model.packet import Stage
from pyagent.reference import Decision, Evaluator, FlowState

if TYPE_CHECKING:
    from pyagent.inquiry.kernel import KernelEngine


@contextmanager
def kernel_if_asked(names: Sequence[str]) -> Iterator[KernelEngine | None]:
    """The kernel engine while it is needed; None if it is not among ``names``.

    Raises UsageError without root, BuildError and KernelError if the program cannot be loaded.
    """
    if KERNEL not in names:
        yield None
        return
    from pyagent.inquiry.kernel import open_kernel  # noqa: PLC0415 (who asks no kernel needs no part of it)

    with open_kernel() as kernel:
        yield kernel


class Engines:
    """The engines, ready for the packets of one node; the image is compiled when it is first asked.

    ``kernel``: the open kernel engine, if the kernel is to be asked.
    """

    def __init__(self, hosts: Hosts, node: str, *interfaces: str, kernel: KernelEngine | None = None) -> None:
        self._hosts = hosts
        self.facts = hosts.facts(node, *interfaces)
        self._reference = Evaluator(hosts.resources, self.facts)
        self._kernel = kernel
        self._image: _Compiled | None = None

    def decide(self, crossing: Crossing, flow: FlowState = FlowState.NEW) -> Decision:
        """The reference's decision, with the whole way to it."""
        return self._reference.evaluate(
            crossing.interface,
            crossing.direction,
            crossing.packet,
            forwarded=crossing.received or None,
            flow=flow,
        )

    def ask(self, names: Sequence[str], crossing: Crossing, flow: FlowState) -> tuple[Answer, ...]:
        """What each of the engines named says."""
        return tuple(self._ask(name, crossing, flow) for name in names)

    def _ask(self, name: str, crossing: Crossing, flow: FlowState) -> Answer:
        if name == REFERENCE:
            return reference_answer(self.decide(crossing, flow), crossing)
        if name == IMAGE:
            return self._compiled().ask(crossing, flow)
        assert self._kernel is not None, "who asks the kernel has opened it"
        return self._kernel.ask(self._compiled().view, self.facts, crossing, flow)

    @property
    def view(self) -> NodeView:
        """What the resources mean for the node."""
        return self._compiled().view

    def _compiled(self) -> _Compiled:
        if self._image is None:
            self._image = _Compiled(self._hosts, self.facts)
        return self._image


class _Compiled:
    """The image of a node, and the walker that reads it as the kernel does."""

    def __init__(self, hosts: Hosts, facts: HostFacts) -> None:
        self.view: NodeView = node_view(hosts.world, facts)
        self._image: Image = compile_image(self.view, 1)
        self._pipeline = Pipeline(self._image, self.view, facts)

    def ask(self, crossing: Crossing, flow: FlowState) -> Answer:
        return image_answer(IMAGE, self._pipeline, self._image.metadata, crossing, flow)


def reference_answer(decision: Decision, crossing: Crossing) -> Answer:
    """The reference's decision in the form that engines are compared in."""
    return Answer(
        REFERENCE,
        decision.allowed,
        decision.reason,
        decider(decision, crossing.direction),
        tuple(map(str, decision.logged)),
        tuple(sorted((each.policy, each.action) for each in decision.staged if each.action != "none")),
    )


def decider(decision: Decision, direction: str) -> str:
    """The rule that decided, or the end (of a tier or of the endpoint's table), as the image names it."""
    if decision.rule is not None:
        return str(decision.rule)
    if decision.stage is None or decision.reason is Reason.FORWARD_NONE:
        return ""
    if decision.tier is not None:
        return f"{decision.tier}/{direction}[end]"
    return f"{decision.endpoint}/{direction}[end]" if decision.stage in _ENDING else ""


#: Stages whose table has an end that decides.
_ENDING: Final = {Stage.FORWARD, Stage.LOCAL}
