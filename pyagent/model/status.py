"""What is reported: on host endpoints by their node's agent, on policies by the controller.

Statuses are read leniently (a newer or older release may write other fields) and written whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, Self

import msgspec

#: Condition types. On policies: Accepted, Compiled, Realized. On host endpoints: Protected, Degraded.
ACCEPTED: Final = "Accepted"
COMPILED: Final = "Compiled"
REALIZED: Final = "Realized"
PROTECTED: Final = "Protected"
DEGRADED: Final = "Degraded"


class Truth(StrEnum):
    """A condition's ``status``."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One condition as Kubernetes has them; ``last_transition_time`` is RFC 3339 in UTC."""

    type: str
    status: Truth
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""
    observed_generation: int = 0


class Status(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of statuses."""

    conditions: tuple[Condition, ...] = ()

    @classmethod
    def read(cls, raw: Mapping[str, Any] | None) -> Self:
        """Return what ``raw`` says; an empty status if it says nothing that can be understood."""
        try:
            return msgspec.convert(raw or {}, cls, strict=False)
        except msgspec.ValidationError:
            return cls()

    def wire(self) -> dict[str, Any]:
        """Return it as an API server takes it."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of a type."""
        return next((each for each in self.conditions if each.type == kind), None)


class HostEndpointStatus(Status, frozen=True):
    """What the node's agent says about one host endpoint, small and rarely changing: 5,000 nodes write it.

    ``observed``: digest of the policies in force (calc.policy_digest). ``generation``: the image's.
    ``interfaces``: covered by this endpoint; ``unprotected``: interface -> reason; ``excluded`` likewise.
    ``pressure``: map -> percent of its capacity in use, rounded up to tens, where above 50.
    """

    agent_version: str = ""
    observed: str = ""
    generation: int = 0
    interfaces: tuple[str, ...] = ()
    unprotected: dict[str, str] = {}
    excluded: dict[str, str] = {}
    pressure: dict[str, int] = {}


class PolicyStatus(Status, frozen=True):
    """What the controller says about one policy: nodes it selects, and on how many it is in force.

    ``summary`` is ``realized/selected`` for people, e.g. ``37/40``.
    """

    selected: int = 0
    realized: int = 0
    selected_endpoints: int = 0
    summary: str = ""


def with_times(
    conditions: Iterable[Condition], before: Iterable[Condition], now: str
) -> tuple[Condition, ...]:
    """Give each condition the time of its last transition: the one before, unless its status changed."""
    known = {each.type: each for each in before}

    def since(condition: Condition) -> str:
        old = known.get(condition.type)
        kept = old is not None and old.status == condition.status and old.last_transition_time
        return old.last_transition_time if old is not None and kept else now

    return tuple(
        msgspec.structs.replace(condition, last_transition_time=since(condition)) for condition in conditions
    )
