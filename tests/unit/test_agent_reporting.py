"""Statuses are written when they differ, once, and nothing that goes wrong with them is in the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from pyagent.agent.mirror import Mirror
from pyagent.agent.reporting import Pace, Reporter
from pyagent.datastore.protocol import R
from pyagent.datastore.reports import NoStatusError
from pyagent.errors import ConflictError, DatastoreError, NotFoundError
from pyagent.model.status import PROTECTED, Condition, HostEndpointStatus, Truth
from tests.support.memory_datastore import MemoryDatastore
from tests.support.resources import host_endpoint

QUICK = Pace(spread=0, rest=0, urgent=0, first_pause=0.01, longest_pause=0.02, forbidden=0.01)
#: What is not urgent is not written while a test lasts.
SLOW = Pace(spread=1e15, spread_most=1e9, rest=0, urgent=0)


def status(truth: Truth = Truth.TRUE, **fields: Any) -> HostEndpointStatus:
    return HostEndpointStatus(conditions=(Condition(type=PROTECTED, status=truth),), **fields)


class Counted(MemoryDatastore):
    """Counts the statuses that it is told, and may refuse them."""

    def __init__(self) -> None:
        super().__init__()
        self.tried = self.written = 0
        self.error: Exception | None = None

    def update_status(self, resource: R) -> R:
        self.tried += 1
        if self.error is not None:
            raise self.error
        self.written += 1
        return super().update_status(resource)


@contextlib.asynccontextmanager
async def reporting(store: Counted, pace: Pace = QUICK) -> AsyncIterator[Reporter]:
    mirror = Mirror(store, "n1")
    reporter = Reporter(store, mirror, pace)
    tasks = [asyncio.create_task(mirror.follow()), asyncio.create_task(reporter.follow())]
    try:
        await until(lambda: mirror.synced)
        yield reporter
        assert not tasks[0].done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 (a test's wait)
            await asyncio.sleep(0.005)


def stored(store: Counted, name: str = "h") -> HostEndpointStatus:
    return HostEndpointStatus.read(store.get("HostEndpoint", name).status)  # type: ignore[attr-defined]


@pytest.fixture
def store() -> Counted:
    store = Counted()
    store.create(host_endpoint("h", "n1"))
    store.create(host_endpoint("other", "n2"))
    return store


async def test_a_status_is_written_once_with_the_time_of_its_transition(store: Counted) -> None:
    async with reporting(store) as reporter:
        reporter.want({"h": status(observed="a")})
        await until(lambda: stored(store).observed == "a")
        since = stored(store).condition(PROTECTED).last_transition_time  # type: ignore[union-attr]
        assert since.endswith("Z")
        for generation in range(5):  # every label of every node makes a new one
            reporter.want({"h": status(observed="a", generation=generation)})
            await asyncio.sleep(0.02)
        assert store.written == 1
        reporter.want({"h": status(observed="b", generation=9)})
        await until(lambda: stored(store).observed == "b")
        assert (store.written, stored(store).generation) == (2, 9)
        assert stored(store).condition(PROTECTED).last_transition_time == since  # type: ignore[union-attr]


async def test_only_this_nodes_endpoints_are_written(store: Counted) -> None:
    async with reporting(store) as reporter:
        reporter.want({"h": status(), "other": status(), "gone": status()})
        await until(lambda: bool(stored(store).conditions))
        await asyncio.sleep(0.05)
        assert stored(store, "other") == HostEndpointStatus()
        assert store.written == 1


async def test_what_somebody_else_made_of_it_is_put_right_and_a_new_endpoint_gets_its_own(
    store: Counted,
) -> None:
    async with reporting(store) as reporter:
        reporter.want({"h": status(observed="a")})
        await until(lambda: stored(store).observed == "a")
        store.delete("HostEndpoint", "h")
        again = store.create(host_endpoint("h", "n1", {"new": "label"}))
        await until(lambda: stored(store).observed == "a")
        MemoryDatastore.update_status(
            store, replace(again, metadata=replace(again.metadata, resource_version=""))
        )
        await until(lambda: stored(store).observed == "a")


async def test_the_first_status_and_a_loss_of_protection_do_not_wait_for_their_turn(store: Counted) -> None:
    async with reporting(store, SLOW) as reporter:
        reporter.want({"h": status(observed="a")})
        await until(lambda: stored(store).observed == "a")
        reporter.want({"h": status(observed="b")})
        await asyncio.sleep(0.05)
        assert stored(store).observed == "a"
        reporter.want({"h": status(Truth.FALSE, observed="b")})
        await until(lambda: stored(store).condition(PROTECTED).status is Truth.FALSE)  # type: ignore[union-attr]


def refused(code: int) -> DatastoreError:
    error = DatastoreError(f"refused: {code}")
    error.status = code
    return error


async def test_a_datastore_that_takes_no_statuses_is_left_in_peace(
    store: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    store.error = NoStatusError("no statuses here")
    async with reporting(store) as reporter:
        reporter.want({"h": status()})
        await until(lambda: reporter.refused)
        tried = store.tried
        reporter.want({"h": status(observed="b")})
        await asyncio.sleep(0.05)
        assert store.tried == tried
    assert caplog.text.count("statuses not written") == 1


@pytest.mark.parametrize(
    "error",
    [
        *(refused(403), refused(404), refused(500), DatastoreError("away")),
        *(ConflictError("HostEndpoint", "h"), NotFoundError("HostEndpoint", "h")),
    ],
)
async def test_what_fails_is_told_once_and_tried_again(
    store: Counted, error: DatastoreError, caplog: pytest.LogCaptureFixture
) -> None:
    store.error = error
    async with reporting(store) as reporter:
        reporter.want({"h": status()})
        await until(lambda: store.tried >= 3)
        assert caplog.text.count("status not written") == int(
            not isinstance(error, (ConflictError, NotFoundError))
        )
        store.error = None
        await until(lambda: bool(stored(store).conditions))


async def test_changes_of_all_nodes_are_spread(store: Counted) -> None:
    """Two thousand endpoints: within four times what a thousand have, and no two agents at the same time."""
    mirror = Mirror(store, "n1")
    for number in range(2000):
        key = ("HostEndpoint", "", f"e{number}")
        mirror._put(key, host_endpoint(f"e{number}", "n9"))
    known = Pace(rest=0)
    pauses = set()
    for _ in range(20):
        reporter = Reporter(store, mirror, known)
        reporter._written["h"] = store.get("HostEndpoint", "h"), status()  # type: ignore[assignment]
        mirror.endpoints["h"] = reporter._written["h"][0]
        pause = reporter._until_due({"h": status(observed="new")})
        assert pause is not None
        pauses.add(round(pause, 2))
    assert max(pauses) <= 48.0
    assert max(pauses) - min(pauses) > 12.0
    assert len(pauses) > 10
