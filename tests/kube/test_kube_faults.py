"""Whatever the API server does, a watch keeps what it has, and catches up afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from pyagent.datastore import Datastore, EventType
from pyagent.datastore.kubernetes import KubernetesDatastore, connection
from pyagent.errors import DatastoreError
from tests.kube.conftest import PACE, Open
from tests.support.apiserver import ApiServer
from tests.support.apiserver.faults import Request
from tests.support.following import Follower, following
from tests.support.resources import network_set

KIND = "GlobalNetworkSet"
PLURAL = "globalnetworksets"


def is_about_sets(request: Request) -> bool:
    return request.plural == PLURAL


def behind(server: ApiServer) -> Callable[[str, str], None]:
    """Writes to the server's storage, past every fault: a set's first net, or nothing to delete it."""
    storage = server.storage
    kind = storage.kind("projectcalico.org/v3", PLURAL)

    def write(name: str, net: str) -> None:
        if not net:
            storage.delete(kind, "", name, {})
        elif ("", name) in storage.shelf(kind).objects:
            storage.patch(kind, "", name, {"spec": {"nets": [net]}})
        else:
            storage.create(kind, "", {"metadata": {"name": name}, "spec": {"nets": [net]}})

    return write


def prepare(server: ApiServer) -> None:
    for name in ("kept", "changed", "deleted"):
        behind(server)(name, "10.0.0.0/8")


def change(server: ApiServer) -> None:
    """One change of every kind."""
    write = behind(server)
    write("changed", "11.0.0.0/8")
    write("deleted", "")
    write("new", "12.0.0.0/8")


def nets(follower: Follower) -> dict[str, str]:
    return {name: getattr(each, "spec").nets[0] for (_, name), each in follower.resources.items()}  # noqa: B009


BEFORE = {"kept": "10.0.0.0/8", "changed": "10.0.0.0/8", "deleted": "10.0.0.0/8"}
AFTER = {"kept": "10.0.0.0/8", "changed": "11.0.0.0/8", "new": "12.0.0.0/8"}


async def assert_caught_up_with(follower: Follower) -> None:
    await follower.until(lambda: nets(follower) == AFTER)


async def assert_caught_up(follower: Follower, store: Datastore) -> None:
    await assert_caught_up_with(follower)
    kept = [event.type for event in follower.events if event.name == "kept"]
    assert kept == [EventType.ADDED], "what did not change is not reported again"
    deleted = [event.type for event in follower.events if event.name == "deleted"]
    assert deleted == [EventType.ADDED, EventType.DELETED]
    # And it goes on as if nothing had been.
    await asyncio.to_thread(store.create, network_set("later", "13.0.0.0/8"))
    await follower.until(lambda: "later" in follower.names())


REFUSALS = {
    "500": {"status": 500, "body": b'{"kind":"Status","code":500,"message":"etcdserver: leader changed"}'},
    "503-without-body": {"status": 503},
    "403": {"status": 403, "body": b'{"kind":"Status","code":403,"reason":"Forbidden","message":"no"}'},
    "404-from-a-server-that-is-still-starting": {"status": 404, "body": b"404 page not found"},
    "429": {"status": 429, "headers": {"Retry-After": "1"}, "times": 1},
    "garbage": {"status": 200, "body": b"<html>please log in</html>"},
    "empty": {"status": 200, "body": b""},
    "a-list-that-is-none": {"status": 200, "body": b'{"metadata":{},"items":[]}'},
    "an-empty-list-cut-in-half": {
        "status": 200,
        "cut": True,
        "body": b'{"metadata":{"resourceVersion":"999999"},"items":[]}',
    },
    "a-cut-connection": {"status": 200, "cut": True, "body": b"xx"},
    "slow": {"delay": 0.4},
}


@pytest.mark.parametrize("watch_list", ["yes", "refused"])
@pytest.mark.parametrize("fault", list(REFUSALS))
async def test_while_answers_are_wrong_the_state_is_kept_and_then_caught_up_with(
    server: ApiServer, store: KubernetesDatastore, fault: str, watch_list: str
) -> None:
    server.watch_list = watch_list
    prepare(server)
    async with following(store) as follower:
        assert nets(follower) == BEFORE
        added = server.faults.add(when=is_about_sets, **REFUSALS[fault])
        asked = server.faults.count(plural=PLURAL)
        server.cut_connections()
        server.storage.compact()
        change(server)
        await follower.until(lambda: server.faults.count(plural=PLURAL) >= asked + 2)
        if added.status and added.times is None:
            assert nets(follower) == BEFORE
        server.faults.clear()
        await assert_caught_up(follower, store)


@pytest.mark.parametrize("fault", list(REFUSALS))
async def test_a_watch_that_begins_while_answers_are_wrong_waits(
    server: ApiServer, store: KubernetesDatastore, fault: str
) -> None:
    prepare(server)
    added = server.faults.add(when=is_about_sets, **REFUSALS[fault])
    async with following(store, synced=False) as follower:
        wrong = added.status and added.times is None
        await follower.until(lambda: server.faults.count(plural=PLURAL) >= (2 if wrong else 1))
        if wrong:
            assert not follower.events
        server.faults.clear()
        await follower.until(lambda: follower.synced)
        assert nets(follower) == BEFORE
        change(server)
        await assert_caught_up(follower, store)


@pytest.mark.parametrize("watch_list", ["yes", "event", "refused", "ignored"])
async def test_a_server_killed_under_the_watch_is_met_again_when_it_is_back(
    server: ApiServer, store: KubernetesDatastore, watch_list: str
) -> None:
    server.watch_list = watch_list
    prepare(server)
    async with following(store) as follower:
        server.kill()
        change(server)
        await asyncio.sleep(0.5)
        assert nets(follower) == BEFORE
        server.start()
        await assert_caught_up(follower, store)


async def test_a_server_that_is_away_at_the_start_is_waited_for(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    prepare(server)
    server.kill()
    async with following(store, synced=False) as follower:
        await asyncio.sleep(0.3)
        assert not follower.events
        assert store.staleness == float("inf")
        assert not store.connected
        server.start()
        await follower.until(lambda: follower.synced)
        assert nets(follower) == BEFORE
        await follower.until(lambda: store.connected and store.staleness < 1)


async def test_a_server_that_is_away_is_not_asked_in_a_hurry(
    server: ApiServer, store: KubernetesDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []
    send = connection._send_by
    monkeypatch.setattr(
        connection, "_send_by", lambda *given: (tries.append(time.monotonic()), send(*given))[1]
    )
    async with following(store):
        server.kill()
        await asyncio.sleep(1.5)
    # Pauses of 0.01 to 0.2 s, doubled: about eight to twenty attempts, never hundreds.
    assert 5 < len(tries) < 30


async def test_a_frozen_server_is_noticed_and_the_state_kept_until_it_thaws(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    prepare(server)
    async with following(store) as follower:
        await follower.until(lambda: store.connected)
        server.faults.freeze()
        change(server)
        await follower.until(lambda: not store.connected)
        assert store.staleness > 1
        assert nets(follower) == BEFORE
        server.faults.thaw()
        await assert_caught_up(follower, store)
        await follower.until(lambda: store.connected and store.staleness < 1)


@pytest.mark.parametrize("gone", ["event", "status"])
async def test_a_version_that_has_expired_is_answered_by_reading_all_and_comparing(
    server: ApiServer, store: KubernetesDatastore, gone: str
) -> None:
    server.gone = gone
    server.watch_list = "refused"
    prepare(server)
    async with following(store) as follower:
        lists = server.faults.count("list", PLURAL)
        change(server)
        server.storage.compact()
        server.cut_connections()
        await assert_caught_up(follower, store)
        assert server.faults.count("list", PLURAL) > lists


async def test_a_watch_that_expires_while_it_runs_begins_anew(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    prepare(server)
    async with following(store) as follower:
        status = (
            b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}\n'
        )
        assert server.tell_watches(status, PLURAL, close=True) == 1
        change(server)
        await assert_caught_up(follower, store)


async def test_the_more_there_is_to_read_anew_the_wider_it_is_spread(
    server: ApiServer, open_store: Open
) -> None:
    prepare(server)
    # As three hundred objects: of eight watchers some come much later than others.
    store = open_store(pace=replace(PACE, relist=1.0))
    watchers = 8
    async with contextlib.AsyncExitStack() as stack:
        followers = [await stack.enter_async_context(following(store)) for _ in range(watchers)]
        first = len(server.faults.requests)
        server.storage.compact()
        server.cut_connections()
        change(server)
        for follower in followers:
            await assert_caught_up_with(follower)
        came = [
            asked.at
            for asked in server.faults.requests[first:]
            if asked.plural == PLURAL and "sendInitialEvents" in asked.query
        ]
    assert len(came) == watchers
    assert max(came) - min(came) > 0.3


BROKEN_LINES = {
    "half-a-line": (b'{"type":"ADDED","object":{"metadata":{"name":"gho', True),
    "garbage": (b"<html></html>\n", False),
    "a-body-that-is-no-event": (b'{"kind":"Status","apiVersion":"v1","code":500}\n', False),
    "an-object-without-metadata": (b'{"type":"ADDED","object":{"spec":{}}}\n', False),
    "an-object-without-version": (b'{"type":"MODIFIED","object":{"metadata":{"name":"ghost"}}}\n', False),
    "a-list-in-place-of-an-object": (b'{"type":"ADDED","object":[]}\n', False),
    "an-error": (b'{"type":"ERROR","object":{"kind":"Status","code":500,"message":"oops"}}\n', False),
    "blank-lines": (b"\n\n \n", False),
    "an-unknown-type": (b'{"type":"PROGRESS","object":{}}\n', False),
    "the-end": (b"", True),
}


@pytest.mark.parametrize("line", list(BROKEN_LINES))
async def test_broken_lines_in_a_watch_lose_nothing(
    server: ApiServer, store: KubernetesDatastore, line: str
) -> None:
    prepare(server)
    async with following(store) as follower:
        content, close = BROKEN_LINES[line]
        assert server.tell_watches(content, PLURAL, close=close) == 1
        change(server)
        await assert_caught_up(follower, store)
        assert "ghost" not in follower.names()


async def test_a_server_that_ends_every_watch_at_once_is_not_asked_in_a_loop(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    prepare(server)
    async with following(store) as follower:
        server.faults.add(status=200, body=b"", when=lambda request: request.watch)
        asked = server.faults.count(watch=True)
        server.cut_connections()
        await asyncio.sleep(1)
        assert 2 < server.faults.count(watch=True) - asked < 25
        server.faults.clear()
        change(server)
        await assert_caught_up(follower, store)


async def test_a_server_restored_from_a_backup_is_read_anew(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    prepare(server)
    async with following(store) as follower:
        server.kill()
        change(server)
        server.storage.rewind(50)
        server.start()
        await assert_caught_up(follower, store)


async def test_bookmarks_spare_reading_all_anew(server: ApiServer, store: KubernetesDatastore) -> None:
    server.watch_list = "refused"
    prepare(server)
    async with following(store) as follower:
        behind_nodes = server.storage.kind("v1", "nodes")
        server.storage.create(behind_nodes, "", {"metadata": {"name": "n"}})
        reflector = next(iter(store._reflectors))
        await follower.until(lambda: reflector._version == str(server.storage.revision))
        server.storage.shelf(
            server.storage.kind("projectcalico.org/v3", PLURAL)
        ).oldest = server.storage.revision
        lists = server.faults.count("list", PLURAL)
        server.cut_connections()
        change(server)
        await assert_caught_up(follower, store)
        assert server.faults.count("list", PLURAL) == lists


async def test_a_list_whose_pages_expire_is_read_in_one_piece(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    server.watch_list = "refused"
    for number in range(20):
        behind(server)(f"set-{number}", "10.0.0.0/8")
    server.faults.add(
        status=410,
        body=b'{"kind":"Status","code":410}',
        times=1,
        when=lambda asked: "continue" in asked.query,
    )
    async with following(store) as follower:
        assert len(follower.names()) == 20
    listed = [asked for asked in server.faults.requests if asked.verb == "list"]
    assert [asked.query["limit"] for asked in listed] == ["7", "7", "0"]


async def test_a_new_token_is_read_when_the_old_one_is_refused(server: ApiServer, open_store: Open) -> None:
    prepare(server)
    store = open_store()
    async with following(store) as follower:
        server.users = {"new": None}
        with pytest.raises(DatastoreError, match="401"):
            await asyncio.to_thread(store.list, KIND)
        open_store("new")  # writes the file
        server.cut_connections()
        change(server)
        await assert_caught_up(follower, store)


def test_a_refused_token_is_tried_once_more_and_not_for_ever(server: ApiServer, open_store: Open) -> None:
    store = open_store("wrong")
    with pytest.raises(DatastoreError, match="401"):
        store.list(KIND)
    assert server.faults.count("list") == 2


def test_what_the_rights_do_not_allow_is_refused_and_said(server: ApiServer, open_store: Open) -> None:
    server.users["agent"] = frozenset({("list", PLURAL), ("get", PLURAL)})
    prepare(server)
    store = open_store("agent")
    assert store.get(KIND, "kept").name == "kept"
    with pytest.raises(DatastoreError, match="403 User cannot create"):
        store.create(network_set("more"))
    with pytest.raises(DatastoreError, match="403 User cannot list"):
        store.list("Tier")


def test_a_request_waits_as_long_as_the_server_asks_it_to(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    prepare(server)
    server.faults.add(status=429, headers={"Retry-After": "1"}, times=1)
    began = time.monotonic()
    assert store.get(KIND, "kept").name == "kept"
    assert 1 <= time.monotonic() - began < 2


def test_a_request_that_is_asked_to_wait_too_long_fails_at_once(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    server.faults.add(status=429, headers={"Retry-After": "600"})
    began = time.monotonic()
    with pytest.raises(DatastoreError, match="429"):
        store.get(KIND, "kept")
    assert time.monotonic() - began < 1


def test_requests_fail_in_bounded_time_when_the_server_is_away_or_frozen(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    prepare(server)
    began = time.monotonic()
    server.faults.freeze()
    with pytest.raises(DatastoreError, match=r"API server: .*timed out"):
        store.get(KIND, "kept")
    server.kill()
    with pytest.raises(DatastoreError, match="API server"):
        store.create(network_set("a"))
    assert time.monotonic() - began < 5


async def test_five_seconds_of_every_fault_in_turn_end_in_the_right_state(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    prepare(server)
    async with following(store) as follower:
        end = time.monotonic() + 5
        turn = 0
        while time.monotonic() < end:
            turn += 1
            server.faults.add(
                when=is_about_sets, **{**list(REFUSALS.values())[turn % len(REFUSALS)], "times": 1}
            )
            behind(server)("changed", f"11.{turn % 256}.0.0/16")
            server.cut_connections()
            if turn % 5 == 0:
                server.kill()
                await asyncio.sleep(0.05)
                server.start()
            await asyncio.sleep(0.1)
            assert {"kept", "changed", "deleted"} <= follower.names()
        server.faults.clear()
        change(server)
        await assert_caught_up(follower, store)
