"""What is swept: an apply, the same by clsact, an edit in place, and loading the programs anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final
from unittest import mock

from pyagent.agent.edits import Edits
from pyagent.attach import tcx
from pyagent.calc import World
from pyagent.dataplane import Dataplane, grace
from pyagent.model import Resource
from tests.netns.two_hosts import NODE_ADDRESS, PEER_ADDRESS
from tests.sweep.injector import Injector
from tests.sweep.scene import (
    BEFORE,
    COVERED,
    NEW,
    NODE_ADDRESS6,
    OLD,
    OPEN,
    Scene,
    everywhere,
    made_resource,
)

#: Goes the way once; False: it did not arrive.
Go = Callable[[], bool]


@dataclass(frozen=True)
class Course:
    """One way from an old state to a new one.

    ``begin``: the old state. ``way``: what the process does that meets the fault. ``judge``: what is in
    force; AssertionError: a mixture. ``finish``: what a process does that is started afterwards.
    ``converged``: asserts that the new state is there, whole.
    """

    name: str
    begin: Callable[[Scene], None]
    way: Callable[[Scene, Injector], AbstractContextManager[Go]]
    judge: Callable[[Scene], str]
    finish: Callable[[Scene], None]
    converged: Callable[[Scene], None]


# ---- an apply


def _begin(scene: Scene) -> None:
    for world in (BEFORE, OLD):
        assert scene.enforce(world).problem == ""
    scene.replace_programs()
    assert scene.in_force() == "old"
    assert scene.failsafes("one") == OPEN["old"]


@contextmanager
def _apply(scene: Scene, injector: Injector) -> Iterator[Go]:
    injector.install()
    with scene.agent() as enforcer:
        yield lambda: not enforcer.enforce(NEW).problem


def _judge(scene: Scene) -> str:
    policy = scene.in_force()
    kept = everywhere(COVERED["old"] & COVERED["new"])
    assert scene.attached() >= kept, f"no program at {kept - scene.attached()}"
    return policy


def _finish(scene: Scene) -> None:
    assert scene.enforce(NEW).problem == ""


def _converged(scene: Scene) -> None:
    assert scene.in_force() == "new"
    assert scene.failsafes("one") == OPEN["new"]
    assert scene.attached() == everywhere(COVERED["new"])
    assert scene.disk_agrees(), "what was saved is not what is in force"
    assert scene.leftovers() == []


APPLY: Final = Course("an apply", _begin, _apply, _judge, _finish, _converged)


@contextmanager
def without_tcx() -> Iterator[None]:
    """As on kernels before 6.6: programs are filters of clsact."""
    with mock.patch.object(tcx, "available", return_value=False):
        yield


# ---- an edit in place: a peer with two addresses is a friend first, and a foe then

PEERS: Final = {
    "peer": (PEER_ADDRESS, "2001:db8:1::2"),
    "friend": ("203.0.113.1", "2001:db8:9::1"),
    "foe": ("203.0.113.2", "2001:db8:9::2"),
    "stranger": ("203.0.113.3", "2001:db8:9::3"),
}
_PORT_OF: Final = {"friend": 1001, "foe": 1002}


def _peer(name: str, role: str) -> Resource:
    spec = {"node": name, "interfaceName": "*", "expectedIPs": list(PEERS[name])}
    return made_resource("HostEndpoint", name, spec, role)


def _edited(role: str) -> World:
    def rule(of: str, port: int) -> dict[str, Any]:
        source = {"selector": f"role == '{of}'"}
        return {"action": "Allow", "protocol": "TCP", "source": source, "destination": {"ports": [port]}}

    rules = [rule(*each) for each in _PORT_OF.items()]
    return World.from_resources([
        made_resource("HostEndpoint", "a", {"node": "swept", "interfaceName": "one"}),
        made_resource("GlobalNetworkPolicy", "a", {"selector": "of == 'a'", "ingress": rules}),
        _peer("friend", "friend"), _peer("foe", "foe"), _peer("peer", role),
    ])  # fmt: skip


FRIEND: Final = _edited("friend")
FOE: Final = FRIEND.put(_peer("peer", "foe"))


def _before_edit(scene: Scene) -> None:
    assert scene.enforce(FRIEND).problem == ""
    assert _judge_edit(scene) == "old"


@contextmanager
def _edit(scene: Scene, injector: Injector) -> Iterator[Go]:
    with scene.agent() as enforcer:
        assert enforcer.enforce(FRIEND).problem == ""
        injector.follow(Edits.make, Dataplane.patch, Dataplane._patch, grace.wait)
        yield lambda: not enforcer.enforce(FOE).problem


def _judge_edit(scene: Scene) -> str:
    """Each address is of one of both classes; others are what they were."""
    assert scene.attached() == everywhere({"one"})
    here = NODE_ADDRESS, NODE_ADDRESS6
    roles = {
        name: [_role(scene, *ends) for ends in zip(addresses, here, strict=True)]
        for name, addresses in PEERS.items()
    }
    assert roles["friend"] == ["friend"] * 2, roles
    assert roles["foe"] == ["foe"] * 2, roles
    assert roles["stranger"] == ["nobody"] * 2, roles
    assert set(roles["peer"]) <= {"friend", "foe"}, roles
    names = {("friend", "friend"): "old", ("foe", "foe"): "new"}
    return names.get((roles["peer"][0], roles["peer"][1]), "one address")


def _role(scene: Scene, source: str, destination: str) -> str:
    found = scene.passing("one", (*_PORT_OF.values(), 1003), source, destination)
    by_port = {frozenset({port}): role for role, port in _PORT_OF.items()}
    assert not found or frozenset(found) in by_port, f"{source} passes to {found}"
    return by_port.get(frozenset(found), "nobody")


def _finish_edit(scene: Scene) -> None:
    assert scene.enforce(FOE).problem == ""


def _converged_edit(scene: Scene) -> None:
    assert _judge_edit(scene) == "new"


EDIT: Final = Course("an edit in place", _before_edit, _edit, _judge_edit, _finish_edit, _converged_edit)


# ---- loading the programs anew, as a start does, while the last one's judge


def _before_load(scene: Scene) -> None:
    assert scene.enforce(OLD).problem == ""


def _judge_load(scene: Scene) -> str:
    """Nothing is other than before: the pins lead to programs of either load, which share all maps."""
    assert scene.in_force() == "old"
    assert scene.attached() == everywhere(COVERED["old"])
    return "old"


@contextmanager
def _load(scene: Scene, injector: Injector) -> Iterator[Go]:
    injector.install()

    def go() -> bool:
        scene.load()
        return True

    yield go


def _finish_load(scene: Scene) -> None:
    scene.load()


def _converged_load(scene: Scene) -> None:
    assert _judge_load(scene) == "old"
    assert scene.enforce(OLD).problem == ""
    assert _judge_load(scene) == "old"


LOAD: Final = Course(
    "a load of the programs", _before_load, _load, _judge_load, _finish_load, _converged_load
)
