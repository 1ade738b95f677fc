"""The parts of the cluster's datastore that need no server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pyagent.datastore.kubernetes.cache import Cache
from pyagent.datastore.kubernetes.decoding import Decoded
from pyagent.datastore.kubernetes.errors import (
    ExpiredError,
    NotServedError,
    RefusedError,
    UnreachableError,
    refusal,
)
from pyagent.datastore.kubernetes.events import events
from pyagent.datastore.kubernetes.pace import Backoff, Pace
from pyagent.datastore.protocol import EventType
from pyagent.errors import AlreadyExistsError, ConflictError, NotFoundError, Problem
from tests.support.resources import network_set


def test_hepctl_does_not_pay_for_clusters_that_it_does_not_use(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "import pyagent.cli.main\n"
        "from pyagent.datastore import open_datastore\n"
        f"open_datastore({str(tmp_path)!r}).list('Tier')\n"
        "assert 'pyagent.datastore' in sys.modules\n"
        "assert not {'kubernetes', 'urllib3', 'pydantic'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_pauses_double_with_jitter_up_to_the_longest() -> None:
    backoff = Backoff(Pace(first_pause=0.2, longest_pause=30))
    pauses = [backoff.pause() for _ in range(12)]
    for pause, bound in zip(pauses, [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30, 30], strict=True):
        assert bound / 2 <= pause <= bound
    assert len(set(pauses)) == len(pauses)


def test_only_a_connection_that_lived_makes_the_next_pause_short_again() -> None:
    for healthy, expected in ((0.0, 1.0), (60.0, 4.0)):
        backoff = Backoff(Pace(first_pause=1, longest_pause=100, healthy=healthy))
        for _ in range(2):
            backoff.pause()
        backoff.connected()
        backoff.ended()
        assert expected / 2 <= backoff.pause() <= expected


def test_a_server_that_asks_for_time_gets_it() -> None:
    assert 17 <= Backoff(Pace()).pause(at_least=17) <= 1.2 * 17


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_are_whole_however_the_bytes_arrive(size: int) -> None:
    content = b'{"type":"ADDED","object":{"a":1}}\n\n{"type":"DELETED","object":{}}\n{"type":"ADDED","obj'
    chunks = [content[start : start + size] for start in range(0, len(content), size)]
    found = list(events(chunks))
    assert [event.type for event in found] == ["ADDED", "DELETED"]
    assert bytes(found[0].object) == b'{"a":1}'


def test_garbage_is_no_event_and_no_end() -> None:
    with pytest.raises(UnreachableError, match="no watch event"):
        list(events([b"<html>\n"]))


@pytest.mark.parametrize(
    ("code", "body", "error"),
    [
        (404, b'{"kind":"Status","reason":"NotFound","details":{"name":"a"}}', NotFoundError),
        (404, b'{"kind":"Status","reason":"NotFound","details":{"name":"space"}}', RefusedError),
        (404, b"404 page not found", NotServedError),
        (409, b'{"kind":"Status","reason":"AlreadyExists"}', AlreadyExistsError),
        (409, b'{"kind":"Status","reason":"Conflict"}', ConflictError),
        (410, b"", ExpiredError),
        (500, b"\xff\xfe", RefusedError),
        (403, b'{"kind":"Status","message":null}', RefusedError),
    ],
)
def test_refusals_have_the_errors_of_every_datastore(code: int, body: bytes, error: type[Exception]) -> None:
    assert type(refusal(code, body, 0, "Tier", "a")) is error


def decoded(version: int, *nets: str, uid: str = "u", problem: str = "") -> Decoded:
    resource = None if problem else network_set("a", *nets)
    problems = (Problem("spec", problem),) if problem else ()
    return Decoded("a", "", uid, str(version), resource, problems)


class Told:
    """A cache and what its reader was told each time it looked."""

    def __init__(self) -> None:
        self.wakes = 0
        self.cache = Cache("GlobalNetworkSet", self._wake)

    def _wake(self) -> None:
        self.wakes += 1

    def __call__(self) -> list[str]:
        return [event.type.value for event in self.cache.take()]


def test_changes_that_wait_are_merged_to_one() -> None:
    told = Told()
    for version in range(100):
        told.cache.put(decoded(version))
    assert told() == ["ADDED"]
    for version in range(100, 200):
        told.cache.put(decoded(version))
    assert told() == ["MODIFIED"]
    told.cache.put(decoded(200, uid="other"))
    told.cache.drop(("", "a"))
    assert told() == ["DELETED"]
    told.cache.put(decoded(201))
    told.cache.drop(("", "a"))
    assert told() == []


def test_a_whole_new_list_is_told_as_its_differences() -> None:
    told = Told()
    told.cache.replace({("", "a"): decoded(1)})
    assert told.cache.synced
    assert told() == ["ADDED"]
    told.cache.replace({("", "a"): decoded(1)})
    assert told() == []
    told.cache.replace({("", "a"): decoded(2, uid="other")})
    assert told() == ["DELETED", "ADDED"]
    told.cache.replace({})
    assert told() == ["DELETED"]


def test_an_object_that_became_invalid_unseen_is_told_as_it_was_and_as_broken() -> None:
    told = Told()
    told.cache.put(decoded(1, "10.0.0.0/8"))
    told.cache.put(decoded(2, problem="wrong"))
    added, error = told.cache.take()
    assert (added.type, error.type) == (EventType.ADDED, EventType.ERROR)
    assert added.resource == error.resource == network_set("a", "10.0.0.0/8")
    assert error.problems == (Problem("spec", "wrong"),)
    told.cache.put(decoded(3, "11.0.0.0/8"))
    assert told() == ["MODIFIED"]
