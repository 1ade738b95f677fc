"""What is to be said on each object, and when: the statuses of policies, and that an object is not valid.

All of it happens in memory; whoever owns a Board feeds it with what a watch reports, and writes what is due.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from pyagent import manifest
from pyagent.calc.observed import OBSERVED_KINDS
from pyagent.controller.history import Key
from pyagent.controller.selection import Selection
from pyagent.controller.standing import Standing
from pyagent.controller.verdict import Concern, Invalid, accepted, policy_status
from pyagent.datastore import EventType, WatchEvent
from pyagent.model import (
    KINDS,
    GlobalNetworkPolicy,
    HostEndpoint,
    Metadata,
    Profile,
    Resource,
    StagedGlobalNetworkPolicy,
)
from pyagent.model.config import KubeControllersConfigurationStatus
from pyagent.model.policy import PolicySpec
from pyagent.model.status import ACCEPTED, REALIZED, PolicyStatus, Status, Truth, with_times

#: The kinds that a board has to be told of.
KINDS_REPORTED: Final = tuple(sorted(OBSERVED_KINDS | {HostEndpoint.KIND, "KubeControllersConfiguration"}))
_POLICIES = (GlobalNetworkPolicy.KIND, StagedGlobalNetworkPolicy.KIND)
#: Seconds between two statuses of one policy that changes and changes; more where many do so at a time, so
#: that all together cause no more than so many writes a second.
PACE_S: Final = 5.0
WRITES_PER_S: Final = 20.0
#: The generation of an invalid object that was valid last, kept on the object itself.
LAST_VALID: Final = "lastValidGeneration"


@dataclass(frozen=True, slots=True)
class Due:
    """A status that should be written; ``before`` is what stands there. ``last_valid``: see LAST_VALID."""

    key: Key
    uid: str
    status: Status
    before: Status
    last_valid: int | None = None

    def wire(self, now: str) -> dict[str, Any]:
        """The fields to write. Times of conditions that did not change stay."""
        return _explicit(self.timed(now)) | {LAST_VALID: self.last_valid}

    def timed(self, now: str) -> Status:
        """The status with the times of its conditions' last transitions."""
        conditions = with_times(self.status.conditions, self.before.conditions, now)
        return replace(self.status, conditions=conditions)


class Board:
    """Follows the objects, and knows which statuses differ from what should stand there."""

    def __init__(self, pace: float | None = None) -> None:
        self._pace = PACE_S if pace is None else pace
        self._standing = Standing()
        self._resources: dict[Key, Resource] = {}
        self._endpoints: dict[str, HostEndpoint] = {}
        self._selection: Selection | None = None
        self._invalid: dict[Key, Invalid] = {}
        self._stand_ins: dict[Key, Resource] = {}
        #: Statuses as they stand on the objects, as far as known here.
        self._stored: dict[Key, Status] = {}
        #: Objects of other kinds that are said to be invalid, though they may be so no more.
        self._suspects: set[Key] = set()
        self._last_valid: dict[Key, int] = {}
        self._uids: dict[Key, str] = {}
        self._written_at: dict[Key, float] = {}
        self._retry_at: dict[Key, float] = {}
        self._mute: set[str] = set()
        self._begun = False
        self.unread: dict[Key, None] = {}

    def take(self, event: WatchEvent) -> bool:
        """Something happened; whether it could change any status."""
        key = (event.kind, event.name)
        if event.type is EventType.ERROR:
            return self._take_invalid(key, event)
        before = self._resources.get(key)
        if event.type is EventType.DELETED:
            self._forget(key)
        elif event.resource is not None:
            self._take_valid(key, event.resource)
        if event.kind in OBSERVED_KINDS and not _is_the_same_policy(before, self._resources.get(key)):
            self._advance()
        return True

    def endpoint(self, name: str) -> HostEndpoint | None:
        """A host endpoint as it was last taken."""
        return self._endpoints.get(name)

    def begin(self) -> None:
        """Everything that exists has been taken."""
        settled = [key for key, status in self._stored.items() if self._is_settled(key, status)]
        self._standing.begin(self._observed(), settled, self._stand_ins.values())
        self._begun = True

    def note_stored(self, key: Key, stored: Mapping[str, Any]) -> None:
        """An invalid object as it is stored: what it was when it was valid last, and what stands on it."""
        self.unread.pop(key, None)
        invalid = self._invalid.get(key)
        if invalid is None:
            return
        metadata, status = stored.get("metadata") or {}, stored.get("status") or {}
        self._invalid[key] = Invalid(invalid.problems, int(metadata.get("generation") or 0))
        self._uids[key] = str(metadata.get("uid") or "")
        self._note_status(key, _type_of(key).read(status))
        generation = status.get(LAST_VALID)
        if key not in self._resources and isinstance(generation, int) and key[0] in OBSERVED_KINDS:
            self._last_valid[key] = generation
            self._stand_ins[key] = _stand_in(key, stored, generation)
            self._advance()

    def due(self, now: float, most: int = 1_000_000) -> tuple[list[Due], float | None]:
        """What to write now, and when to ask again (None: when something happens).

        A policy that has reached the end of a change is not kept waiting.
        """
        ready: list[Due] = []
        wake: float | None = None
        differing = list(self._differing())
        pace = max(self._pace, len(differing) / WRITES_PER_S)
        for due in differing:
            at = self._not_before(due, pace)
            if at <= now:
                ready.append(due)
            else:
                wake = at if wake is None else min(wake, at)
        if len(ready) > most:
            ready, wake = ready[:most], now
        return ready, wake

    def wrote(self, due: Due, status: Status, now: float) -> None:
        """That status stands there now."""
        self._note_status(due.key, status)
        self._written_at[due.key] = now
        self._retry_at.pop(due.key, None)

    def failed(self, due: Due, retry_at: float) -> None:
        """It could not be written; try again then."""
        self._retry_at[due.key] = retry_at

    def mute(self, kind: str) -> None:
        """Objects of that kind have no status."""
        self._mute.add(kind)

    def policies(self) -> dict[Key, PolicyStatus]:
        """What stands on the policies, as far as known."""
        return {key: each for key, each in self._stored.items() if isinstance(each, PolicyStatus)}

    def protected(self) -> tuple[int, int]:
        """How many nodes have all of their interfaces protected, and how many there are."""
        return self._standing.protected()

    def _take_invalid(self, key: Key, event: WatchEvent) -> bool:
        known = self._invalid.get(key)
        if event.resource is not None and key not in self._resources:
            self._take_resource(key, event.resource)
        if known is not None and known.problems == event.problems:
            return False
        self._invalid[key] = Invalid(event.problems)
        self.unread[key] = None
        return True

    def _take_valid(self, key: Key, resource: Resource) -> None:
        mended = self._invalid.pop(key, None) is not None
        self._stand_ins.pop(key, None)
        self._last_valid.pop(key, None)
        self.unread.pop(key, None)
        self._take_resource(key, resource)
        status = getattr(resource, "status", None)
        if isinstance(status, KubeControllersConfigurationStatus):
            status = {"conditions": status.conditions}
        if isinstance(status, dict) or not mended:
            self._note_status(key, _type_of(key).read(status if isinstance(status, dict) else None))

    def _note_status(self, key: Key, status: Status) -> None:
        self._stored[key] = status
        if key[0] in _POLICIES:
            return
        known = status.condition(ACCEPTED)
        if known is not None and known.status != Truth.TRUE:
            self._suspects.add(key)
        else:
            self._suspects.discard(key)

    def _take_resource(self, key: Key, resource: Resource) -> None:
        self._resources[key] = resource
        if isinstance(resource, HostEndpoint):
            before = self._endpoints.get(resource.name)
            self._endpoints[resource.name] = resource
            self._standing.put(resource)
            if before is None or _place(before) != _place(resource):
                self._selection = None
            elif self._selection is not None and before.metadata.labels != resource.metadata.labels:
                self._selection.relabel(resource)
        elif isinstance(resource, Profile):
            self._selection = None

    def _forget(self, key: Key) -> None:
        known: tuple[dict[Key, Any], ...] = (
            *(self._resources, self._invalid, self._stand_ins, self._stored, self._last_valid, self._uids),
            *(self._written_at, self._retry_at, self.unread),
        )
        for mapping in known:
            mapping.pop(key, None)
        self._suspects.discard(key)
        if key[0] == HostEndpoint.KIND:
            self._endpoints.pop(key[1], None)
            self._standing.drop(key[1])
            self._selection = None
        elif key[0] == Profile.KIND:
            self._selection = None

    def _observed(self) -> dict[Key, Resource]:
        return {key: each for key, each in self._resources.items() if key[0] in OBSERVED_KINDS}

    def _advance(self) -> None:
        if self._begun:
            self._standing.advance(self._observed(), self._stand_ins.values())

    def _is_settled(self, key: Key, status: Status) -> bool:
        """Whether a policy was in force everywhere, as it is now, when somebody last looked."""
        realized, resource = status.condition(REALIZED), self._resources.get(key)
        return (
            realized is not None
            and resource is not None
            and realized.status == Truth.TRUE
            and realized.observed_generation == resource.metadata.generation
        )

    def _differing(self) -> Iterator[Due]:
        if self._selection is None:
            profiles = {each.name: each for each in self._resources.values() if isinstance(each, Profile)}
            self._selection = Selection(self._endpoints.values(), profiles)
        nodes = self._standing.nodes(self._selection.nodes)
        for key, resource in self._resources.items():
            if key[0] in _POLICIES and key[0] not in self._mute:
                assert isinstance(resource, GlobalNetworkPolicy | StagedGlobalNetworkPolicy)
                concern = Concern(*self._selection.of(resource), self._standing.changed(key))
                status = policy_status(resource, concern, nodes, self._invalid.get(key))
                yield from self._compare(key, resource, status)
        yield from self._acceptances()

    def _acceptances(self) -> Iterator[Due]:
        """Of everything but policies it is said only that they are invalid, and that they no longer are."""
        for key in sorted(self._suspects | self._invalid.keys()):
            resource = self._resources.get(key)
            if key[0] in self._mute or (key[0] in _POLICIES and resource is not None):
                continue
            stored = self._stored.get(key, Status())
            generation = resource.metadata.generation if resource is not None else 0
            own = accepted(generation, self._invalid.get(key))
            kept = stored.conditions if stored.condition(ACCEPTED) else (*stored.conditions, own)
            conditions = tuple(own if each.type == ACCEPTED else each for each in kept)
            yield from self._compare(key, resource, replace(stored, conditions=conditions))

    def _compare(self, key: Key, resource: Resource | None, status: Status) -> Iterator[Due]:
        if key in self.unread:
            return
        stored = self._stored.get(key, _type_of(key)())
        timed = replace(status, conditions=with_times(status.conditions, stored.conditions, ""))
        if timed == stored:
            return
        last_valid = None
        if key in self._invalid:
            last_valid = resource.metadata.generation if resource else self._last_valid.get(key)
        uid = resource.metadata.uid if resource is not None else self._uids.get(key, "")
        yield Due(key, uid, status, stored, last_valid)

    def _not_before(self, due: Due, pace: float) -> float:
        retry = self._retry_at.get(due.key, 0.0)
        written = self._written_at.get(due.key)
        realized = due.status.condition(REALIZED)
        if written is None or realized is None or realized.status == Truth.TRUE:
            return retry
        return max(retry, written + pace)


def _type_of(key: Key) -> type[Status]:
    return PolicyStatus if key[0] in _POLICIES else Status


def _is_the_same_policy(before: Resource | None, after: Resource | None) -> bool:
    """Whether a digest would not tell the two apart: a status alone changed."""
    if before is None or after is None:
        return before is after
    one, other = before.metadata, after.metadata
    return (one.uid, one.generation, one.labels) == (other.uid, other.generation, other.labels)


def _place(endpoint: HostEndpoint) -> tuple[object, ...]:
    """What decides, beside its own labels, which policies select an endpoint, and for which node."""
    return endpoint.spec.profiles, endpoint.spec.node


def _stand_in(key: Key, stored: Mapping[str, Any], generation: int) -> Resource:
    """An object as a digest sees it: who it is, its labels, and its generation then."""
    kind, metadata = KINDS[key[0]], stored["metadata"]
    known = Metadata(
        name=key[1],
        uid=str(metadata.get("uid") or ""),
        generation=generation,
        labels=dict(metadata.get("labels") or {}),
    )
    resource = kind(api_version=kind.API_VERSION, kind=kind.KIND, metadata=known)
    if isinstance(resource, GlobalNetworkPolicy | StagedGlobalNetworkPolicy):
        # Its tier is among a policy's labels, whether or not the object has it there.
        tier = (stored.get("spec") or {}).get("tier")
        resource = replace(resource, spec=PolicySpec(tier=tier if isinstance(tier, str) else ""))
    return manifest.default(resource)


def _explicit(status: Status) -> dict[str, Any]:
    """A status with its zeros: what is left out of a patch stays as it was."""
    zeros: dict[str, Any] = (
        {"selected": 0, "realized": 0, "selectedEndpoints": 0} if isinstance(status, PolicyStatus) else {}
    )
    return zeros | status.wire()
