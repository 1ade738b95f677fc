"""One controller works at a time, whatever clocks and the store of leases do."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from msgspec.structs import replace

from pyagent.controller.leader import Election
from pyagent.datastore import Lease
from tests.support.candidates import TERMS, Shift, candidate
from tests.support.memory_leases import MemoryLeases


def lease_of(leases: MemoryLeases) -> Lease:
    return leases.get("tests", "test-lease")


async def test_one_of_two_works_and_the_other_takes_over_at_once_when_it_ends() -> None:
    leases, shift = MemoryLeases(), Shift()
    async with candidate(leases, "a", shift) as a:
        await shift.until("a")
        async with candidate(leases, "b", shift):
            await asyncio.sleep(1.2 * TERMS.lease)
            assert shift.log == ["a begins"]
            a.cancel()
            await shift.until("b", patience=0.5 * TERMS.lease)
            assert shift.log == ["a begins", "a ends", "b begins"]
    assert lease_of(leases).holder == ""


async def test_a_lease_that_nobody_renews_is_taken_over_when_it_has_run_out_and_not_before() -> None:
    leases, shift = MemoryLeases(), Shift()
    leases.create(Lease(namespace="tests", name="test-lease", holder="gone", seconds=1, transitions=4))
    async with candidate(leases, "b", shift):
        await asyncio.sleep(0.7)
        assert shift.working == []
        await shift.until("b")
        assert (lease_of(leases).holder, lease_of(leases).transitions) == ("b", 5)


@pytest.mark.parametrize(
    "renewed", ["1999-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z", "nonsense", ""]
)
async def test_anothers_clock_means_nothing(renewed: str) -> None:
    leases, shift = MemoryLeases(), Shift()
    held = leases.create(Lease(namespace="tests", name="test-lease", holder="a", seconds=1, renewed=renewed))
    async with candidate(leases, "b", shift):
        for _ in range(4):
            await asyncio.sleep(0.4)
            held = leases.update(replace(held, acquired=f"{held.version}"))
        assert shift.working == [], "it is renewed, however wrong the time in it"
        await shift.until("b")


async def test_a_leader_that_cannot_renew_stops_working_before_another_may_begin() -> None:
    leases, shift = MemoryLeases(), Shift()
    async with candidate(leases, "a", shift):
        await shift.until("a")
        leases.away = True
        await shift.until(patience=TERMS.lease)
        leases.away = False
        await shift.until("a")
    assert shift.log == ["a begins", "a ends", "a begins", "a ends"]


async def test_a_leader_whose_lease_was_taken_stops_and_waits() -> None:
    leases, shift = MemoryLeases(), Shift()
    async with candidate(leases, "a", shift):
        await shift.until("a")
        while True:
            with contextlib.suppress(Exception):
                leases.update(replace(lease_of(leases), holder="thief", seconds=1))
                break
        await shift.until(patience=0.5)
        await asyncio.sleep(0.5)
        assert shift.working == []
        await shift.until("a")


async def test_many_candidates_and_a_flaky_store_never_make_two_work_at_once() -> None:
    leases, shift = MemoryLeases(), Shift()
    async with contextlib.AsyncExitStack() as stack:
        for name in "abcde":
            await stack.enter_async_context(candidate(leases, name, shift))
        for turn in range(20):
            leases.away = turn % 3 == 0
            await asyncio.sleep(0.1)
    assert shift.most == 1
    assert shift.log


async def test_an_error_of_the_work_is_the_elections_and_the_lease_is_given_up() -> None:
    async def fail() -> None:
        raise RuntimeError("broken")

    leases = MemoryLeases()
    with pytest.raises(RuntimeError, match="broken"):
        await Election(leases, "test-lease", terms=TERMS).lead(fail)
    assert lease_of(leases).holder == ""


async def test_work_that_ends_by_itself_ends_the_election() -> None:
    leases = MemoryLeases()
    election = Election(leases, "test-lease", terms=TERMS)
    await election.lead(lambda: asyncio.sleep(0))
    assert not election.leading
