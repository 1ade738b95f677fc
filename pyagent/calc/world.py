"""World: all resources at one moment, by kind and name, the predefined ones included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar, cast

from pyagent.model import CALICO_V3, Metadata, Profile, Resource, Tier
from pyagent.model.policy import ProfileSpec, Rule, TierSpec

Kind = TypeVar("Kind", bound=Resource)

DEFAULT_TIER = "default"
DEFAULT_ALLOW = "projectcalico-default-allow"


def _tier(name: str, order: float, action: str) -> Tier:
    spec = TierSpec(order=order, default_action=action)
    return Tier(api_version=CALICO_V3, kind=Tier.KIND, metadata=Metadata(name=name), spec=spec)


def _default_allow() -> Profile:
    allow = (Rule(action="Allow"),)
    metadata = Metadata(name=DEFAULT_ALLOW)
    spec = ProfileSpec(ingress=allow, egress=allow)
    return Profile(api_version=CALICO_V3, kind=Profile.KIND, metadata=metadata, spec=spec)


#: What exists even when the datastore does not hold it.
PREDEFINED: tuple[Resource, ...] = (
    _tier("kube-admin", 1_000, "Pass"),
    _tier(DEFAULT_TIER, 1_000_000, "Deny"),
    _tier("kube-baseline", 10_000_000, "Pass"),
    _default_allow(),
)


def key_of(name: str, namespace: str = "") -> str:
    """How a resource is called within its kind: its name, after ``namespace/`` where it has one."""
    return f"{namespace}/{name}" if namespace else name


#: How many changes back a World knows what it was made from.
TRAIL = 32


class World:
    """Resources by kind and name; immutable: ``put`` and ``remove`` give a new World that shares the rest."""

    __slots__ = ("_kinds", "_mark", "_trail")

    def __init__(
        self,
        kinds: Mapping[str, Mapping[str, Resource]],
        trail: tuple[tuple[object, str, str], ...] = (),
    ) -> None:
        self._kinds = kinds
        self._mark = object()
        self._trail = trail[-TRAIL:]

    @classmethod
    def from_resources(cls, resources: Iterable[Resource] = ()) -> World:
        """A World of ``resources`` (of two with one kind and name the later counts) and the predefined."""
        kinds: dict[str, dict[str, Resource]] = {}
        for resource in (*PREDEFINED, *resources):
            metadata = resource.metadata
            kinds.setdefault(resource.KIND, {})[key_of(metadata.name, metadata.namespace)] = resource
        return cls(kinds)

    def of(self, kind: type[Kind]) -> Mapping[str, Kind]:
        """All resources of ``kind`` by name (``namespace/name`` where there is a namespace), in no order."""
        return cast("Mapping[str, Kind]", self._kinds.get(kind.KIND, {}))

    def since(self, older: World) -> list[tuple[str, str]] | None:
        """(kind, name) of what was put or removed on the way from ``older``; None: that is not known."""
        marks = [mark for mark, _, _ in self._trail]
        if older._mark is self._mark:
            return []
        if older._mark not in marks:
            return None
        steps = self._trail[marks.index(older._mark) :]
        return list(dict.fromkeys((kind, key) for _, kind, key in steps))

    def _with(self, kind: str, key: str, resources: Mapping[str, Resource]) -> World:
        return World({**self._kinds, kind: resources}, (*self._trail, (self._mark, kind, key)))

    def put(self, resource: Resource) -> World:
        """This World with ``resource`` added or replaced."""
        key = key_of(resource.metadata.name, resource.metadata.namespace)
        kind = resource.KIND
        return self._with(kind, key, {**self._kinds.get(kind, {}), key: resource})

    def remove(self, kind: str, name: str, namespace: str = "") -> World:
        """This World without that resource; a predefined one falls back to its predefined content."""
        key = key_of(name, namespace)
        rest = dict(self._kinds.get(kind, {}))
        rest.pop(key, None)
        rest.update({own.name: own for own in PREDEFINED if kind == own.KIND and own.name == name})
        return self._with(kind, key, rest)
