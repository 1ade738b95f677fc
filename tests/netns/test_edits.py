"""Other nodes come, go and change labels: the image in force is edited in place, traffic follows at once."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyagent.agent import edits
from pyagent.agent.enforce import Enforced, Enforcer
from pyagent.agent.state import BOOT, StateDirectory
from pyagent.calc import World
from pyagent.compiler.edit import Editor, Patch
from pyagent.compiler.saved import load
from pyagent.compiler.walk import Walker
from pyagent.errors import DriftError
from pyagent.model import Resource
from tests.lab.namespace import open_socket
from tests.netns.guarded import FAMILY, NODE, PEER, Guarded, endpoint, guarded, listen, policy
from tests.support.small_world import resource

PORT = 5311


def peer(role: str, *, name: str = "peer", addresses: tuple[str, ...] = (PEER[4], PEER[6])) -> Resource:
    spec = {"node": name, "interfaceName": "*", "expectedIPs": list(addresses)}
    return resource("HostEndpoint", name, spec, {"role": role})


FRIENDS = policy(
    ingress=[
        {"action": "Allow", "protocol": "TCP", "source": {"selector": "role == 'friend'"}},
        {"action": "Deny", "source": {"selector": "role == 'foe'"}},
    ]
)
#: Somebody of either role is always there, so that both classes are.
OTHERS = (
    peer("friend", name="other", addresses=("203.0.113.1", "2001:db8:9::1")),
    peer("foe", name="third", addresses=("203.0.113.2", "2001:db8:9::2")),
)
WORLD = World.from_resources([endpoint(), FRIENDS, *OTHERS])


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("state")) as made, listen(4, PORT), listen(6, PORT):
        yield made


@pytest.fixture
def enforcer(host: Guarded, tmp_path: Path) -> Iterator[Enforcer]:
    with StateDirectory(tmp_path) as state:
        made = Enforcer("guarded", host.pins, host.dataplane, state, check_every=0)
        made.enforce(WORLD)
        yield made
    host.lift()


def reaches(host: Guarded, version: int) -> bool:
    with open_socket(host.peer, FAMILY[version], socket.SOCK_STREAM) as client:
        client.settimeout(0.5)
        return client.connect_ex((NODE[version], PORT)) == 0


def both(host: Guarded) -> set[bool]:
    host.forget()
    return {reaches(host, version) for version in (4, 6)}


def whole_pass(enforcer: Enforcer, world: World) -> Enforced:
    """What an agent does when nothing changed: look at everything, the kernel's image too."""
    return enforcer.enforce(world)


def test_a_node_that_joins_changes_its_label_and_leaves_is_edited_in_place(
    host: Guarded, enforcer: Enforcer
) -> None:
    generation, world = host.dataplane.generation, WORLD
    assert both(host) == {False}
    edited = 0
    for role, passes in (("friend", True), ("foe", False), ("friend", True), ("", False)):
        world = world.put(peer(role)) if role else world.remove("HostEndpoint", "peer")
        assert enforcer.enforce(world).problem == ""
        assert both(host) == {passes}, role
        edited += 2
        assert (host.dataplane.generation, host.dataplane.edits) == (generation, edited)
        assert whole_pass(enforcer, world).drifts == 0
        assert (host.dataplane.generation, host.dataplane.edits) == (generation, edited)


def test_a_node_whose_class_nobody_has_is_compiled_and_then_edited(host: Guarded, enforcer: Enforcer) -> None:
    generation = host.dataplane.generation
    node = resource(
        "HostEndpoint",
        "peer",
        {"node": "peer", "interfaceName": "eth0", "expectedIPs": [PEER[4], PEER[6]]},
        {"role": "friend"},
    )
    world = WORLD.put(node)  # no node's address, and a friend
    enforcer.enforce(world)
    assert (host.dataplane.generation, host.dataplane.edits) == (generation + 1, 0)
    assert both(host) == {True}
    enforcer.enforce(world.put(peer("foe")))
    assert (host.dataplane.generation, host.dataplane.edits) == (generation + 1, 2)
    assert both(host) == {False}


def test_this_nodes_own_endpoint_and_policies_are_never_edited_in_place(
    host: Guarded, enforcer: Enforcer
) -> None:
    generation = host.dataplane.generation
    world = WORLD.put(policy(ingress=[{"action": "Allow"}]))
    enforcer.enforce(world)
    assert host.dataplane.generation == generation + 1
    assert both(host) == {True}
    enforcer.enforce(world.put(endpoint("wire2")).remove("HostEndpoint", "wire"))
    assert host.dataplane.generation == generation + 2


def test_an_edit_that_stops_half_way_is_compiled(
    host: Guarded, enforcer: Enforcer, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation, patch = host.dataplane.generation, Editor.patch

    def only_ipv4(self: Editor, walker: Walker, version: int, address: int, number: int) -> Patch | None:
        return patch(self, walker, version, address, number) if version == 4 else None

    monkeypatch.setattr(Editor, "patch", only_ipv4)
    enforcer.enforce(WORLD.put(peer("friend")))
    assert host.dataplane.generation == generation + 1
    assert both(host) == {True}


def test_an_edit_that_fails_is_compiled_by_the_same_pass(
    host: Guarded, enforcer: Enforcer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> int:
        raise DriftError("not this time")

    generation = host.dataplane.generation
    monkeypatch.setattr(host.dataplane, "patch", failing)
    enforcer.enforce(WORLD.put(peer("friend")))
    assert (host.dataplane.generation, host.dataplane.edits) == (generation + 1, 0)
    assert both(host) == {True}


def test_what_an_edit_changed_is_written_down_and_restored(
    host: Guarded, enforcer: Enforcer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = WORLD.put(peer("friend"))
    enforcer.enforce(world)
    before = load(tmp_path)
    assert before.walker.header["edits"] == 0, "not at every edit"
    with StateDirectory(tmp_path) as state:
        assert Enforcer("guarded", host.pins, host.dataplane, state).restore().problem == ""
    monkeypatch.setattr(edits, "SAVE_AFTER_S", 0)
    whole_pass(enforcer, world)
    saved = load(tmp_path)
    assert bytes(saved.walker.whole) == host.dataplane.image_in_force()
    assert saved.walker.header["edits"] == 2
    assert saved.walker.header["compiled"] == before.walker.header["compiled"]
    sizes = {each["name"]: (each["v4"], each["v6"]) for each in saved.metadata["sets"]}
    assert sizes['role == "friend"'] == (2, 2)
    assert sizes['role == "foe"'] == (1, 1)
    assert host.dataplane.image_in_force() in (tmp_path / BOOT).read_bytes()
    with StateDirectory(tmp_path) as state:
        assert Enforcer("guarded", host.pins, host.dataplane, state).restore().problem == ""


def test_an_edited_image_that_others_change_is_put_right(
    host: Guarded, enforcer: Enforcer, caplog: pytest.LogCaptureFixture
) -> None:
    world = WORLD.put(peer("friend"))
    enforcer.enforce(world)
    memory = host.dataplane.map("images").memory()
    memory[(host.dataplane.generation & 1) * host.dataplane.image_bytes + 5000] ^= 1
    memory.close()
    with caplog.at_level(logging.ERROR):
        assert whole_pass(enforcer, world).drifts == 1
    assert both(host) == {True}


def test_after_a_pass_that_failed_nothing_is_edited_in_place(
    host: Guarded, enforcer: Enforcer, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = host.dataplane.generation
    with monkeypatch.context() as patch:
        patch.setattr(host.dataplane, "apply", lambda *_: (_ for _ in ()).throw(DriftError("not this time")))
        failed = WORLD.put(policy(ingress=[{"action": "Allow"}]))
        assert "not this time" in enforcer.enforce(failed).problem
    enforcer.enforce(failed.put(peer("foe")))
    assert (host.dataplane.generation, host.dataplane.edits) == (generation + 1, 0)
    assert both(host) == {True}
