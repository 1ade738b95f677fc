"""What the reference says of a packet and the whole way to it: plain values that print and encode to JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from pyagent.abi import Reason
from pyagent.model.packet import Stage


class Verdict(StrEnum):
    """What becomes of the packet."""

    ALLOW = "Allow"
    DENY = "Deny"


class FlowState(StrEnum):
    """What is known of the packet's flow: nothing, an approved flow, or an ICMP error about one."""

    NEW = "New"
    ESTABLISHED = "Established"
    RELATED = "Related"


@dataclass(frozen=True, slots=True)
class RulePlace:
    """Where a rule stands: kind and name of its owner, ``ingress`` or ``egress``, index from 0."""

    kind: str
    owner: str
    direction: str
    index: int

    def __str__(self) -> str:
        return f"{self.owner}/{self.direction}[{self.index}]"


class Looked(StrEnum):
    """What a step of the trace looked at."""

    ENDPOINT = "endpoint"
    EXEMPTION = "exemption"
    STAGE = "stage"
    FLOW = "flow"
    FAILSAFE = "failsafe"
    ROUTE = "route"
    TIER = "tier"
    POLICY = "policy"
    STAGED = "staged policy"
    PROFILE = "profile"
    RULE = "rule"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing looked at. ``outcome`` is a word (``Allow``, ``no match``), ``why`` a short sentence."""

    looked: Looked
    name: str
    outcome: str
    why: str = ""
    depth: int = 0

    def __str__(self) -> str:
        why = f" ({self.why})" if self.why else ""
        return f"{'  ' * self.depth}{self.looked} {self.name}: {self.outcome}{why}"


@dataclass(frozen=True, slots=True)
class StagedOutcome:
    """What a staged policy would have said: Allow, Deny, Pass or ``none``, and by which rule."""

    stage: Stage
    tier: str
    policy: str
    action: str
    rule: RulePlace | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on one packet and who gave it.

    ``because`` names what decided in words; ``stage``, ``tier``, ``policy``, ``profile`` and ``rule`` are set
    as far as they had a part in it. ``logged`` lists the Log rules met before the verdict, ``staged`` all
    staged policies of the stages that were asked, in order.
    """

    verdict: Verdict
    reason: Reason
    because: str
    endpoint: str | None = None
    stage: Stage | None = None
    tier: str | None = None
    policy: str | None = None
    profile: str | None = None
    rule: RulePlace | None = None
    staged: tuple[StagedOutcome, ...] = ()
    logged: tuple[RulePlace, ...] = ()
    trace: tuple[Step, ...] = ()

    @property
    def allowed(self) -> bool:
        """The packet passes."""
        return self.verdict is Verdict.ALLOW

    def to_json(self) -> dict[str, Any]:
        """Plain builtins; the reason by its name, the rule both taken apart and as ``where``."""
        plain = asdict(self)
        plain["reason"] = self.reason.name
        for name in ("staged", "logged", "trace"):
            plain[name] = list(plain[name])
        plain["where"] = str(self.rule) if self.rule else None
        return plain

    def lines(self) -> Iterator[str]:
        """The way to the verdict, one line a step, and the verdict last."""
        for step in self.trace:
            yield str(step)
        yield f"{self.verdict}: {self.because} [{self.reason.name}]"

    def __str__(self) -> str:
        return "\n".join(self.lines())
