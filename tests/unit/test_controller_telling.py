"""The controller's pages, and statuses of policies in an embedded datastore."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from pyagent.calc import policy_digest
from pyagent.calc.observed import OBSERVED_KINDS
from pyagent.controller import run
from pyagent.controller.happenings import Happening
from pyagent.controller.history import History
from pyagent.controller.meters import WRITTEN, Meters
from pyagent.controller.recorder import BURST, PENDING, REPEAT_S, Recorder
from pyagent.controller.telling import pages_of
from pyagent.datastore import EmbeddedDatastore
from pyagent.datastore.reports import Event
from pyagent.model import HostEndpoint
from pyagent.model.status import HostEndpointStatus, PolicyStatus
from tests.support.directories import quick_directory
from tests.support.resources import controllers_configuration, host_endpoint, network_set

POLICY = """# Kept as it is written.
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata:
  name: web
spec:
  selector: all()
  types: [Ingress]
"""


@pytest.fixture
def root() -> Iterator[Path]:
    with quick_directory() as directory:
        yield directory / "store"


@contextlib.asynccontextmanager
async def controlling(store: EmbeddedDatastore, meters: Meters) -> AsyncIterator[None]:
    task = asyncio.create_task(run(store, environment={}, meters=meters))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110 (a test's wait)
            await asyncio.sleep(0.02)


def said(store: EmbeddedDatastore) -> PolicyStatus:
    found = {each.name: each for each in store.list("GlobalNetworkPolicy")[0]}
    return PolicyStatus.read(getattr(found.get("web"), "status", None))


async def test_a_policy_in_a_file_gets_its_status_and_the_file_stays_as_it_is(root: Path) -> None:
    store, meters = EmbeddedDatastore(root), Meters()
    store.create(controllers_configuration(auto_create="Disabled"))
    store.create(host_endpoint("n1", "n1"))
    path = root / "globalnetworkpolicies" / "web.yaml"
    async with controlling(store, meters):
        path.write_text(POLICY)
        await until(lambda: said(store).summary == "0/1")
        endpoint = store.get("HostEndpoint", "n1")
        assert isinstance(endpoint, HostEndpoint)
        digest = policy_digest(each for kind in OBSERVED_KINDS for each in store.list(kind)[0])
        store.update_status(replace(endpoint, status=HostEndpointStatus(observed=digest).wire()))
        await until(lambda: said(store).summary == "1/1")
        broken = POLICY.replace("Ingress", "Sideways")
        path.write_text(broken)
        await asyncio.sleep(0.5)
        assert path.read_text() == broken, "a file that is being edited is left alone"
        path.write_text(POLICY)
        await until(lambda: said(store).summary == "1/1")
    assert path.read_text() == POLICY
    page = b"\n".join(line for _, _, line in (pages_of(store, meters)["/metrics"].make(),))
    assert b'autohep_controller_writes_total{kind="GlobalNetworkPolicy/status",result="written"}' in page
    assert b'autohep_policies{condition="Realized",status="True"} 1' in page
    assert b"autohep_nodes 1" in page


def test_ready_is_who_hears_of_the_datastore_and_alive_who_answers() -> None:
    class Store:
        connected = True
        staleness = 3.0

    store = Store()
    pages = pages_of(store, Meters())  # type: ignore[arg-type]
    assert pages["/readyz"].make()[0] == 200
    store.connected = False
    assert pages["/readyz"].make()[0] == 503
    assert pages["/livez"].make()[0] == 200
    assert b"autohep_api_connected 0" in pages["/metrics"].make()[2]


def test_writes_are_counted_by_kind_and_result() -> None:
    meters = Meters()
    meters.count_write("HostEndpoint", WRITTEN, 3)
    (family,) = [each for each in meters.families() if each.name == "autohep_controller_writes_total"]
    assert [(each.labels, each.value) for each in family.samples] == [
        ((("kind", "HostEndpoint"), ("result", "written")), 3)
    ]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def happening(number: int = 0) -> Happening:
    return Happening("HostEndpoint", f"n{number}", "uid", "AgentDegraded", "too large", warning=True)


def test_the_same_again_counts_up_and_is_told_now_and_then() -> None:
    clock, told = Clock(), list[Event]()
    recorder = Recorder(told.append, clock, lambda: "2026-01-02T03:04:05Z")
    recorder.note(happening())
    assert recorder.flush() is None
    for _ in range(9):
        recorder.note(happening())
    assert recorder.flush() == clock.now + REPEAT_S
    clock.now += REPEAT_S
    recorder.flush()
    assert [(each.name, each.count) for each in told] == [(told[0].name, 1), (told[0].name, 10)]


def test_a_storm_of_happenings_is_told_slowly_and_what_is_too_much_is_counted() -> None:
    clock, told = Clock(), list[Event]()
    recorder = Recorder(told.append, clock)
    for number in range(PENDING + 7):
        recorder.note(happening(number))
    assert recorder.flush() is not None
    assert (len(told), recorder.dropped) == (BURST, 7)
    clock.now += 10
    recorder.flush()
    assert len(told) == BURST + 20


def test_a_node_in_a_state_that_never_was_here_counts_as_where_it_was() -> None:
    history, one = History(), network_set("one", "192.0.2.0/24")
    history.begin({("GlobalNetworkSet", "one"): one}, [])
    first = policy_digest([one])
    two = replace(one, metadata=replace(one.metadata, generation=2))
    history.advance({("GlobalNetworkSet", "one"): two})
    assert history.number_of(first, -1) == 0
    assert history.number_of(policy_digest([two]), -1) == 1
    assert history.number_of("unheard of", 0) == 0
    assert history.changed(("GlobalNetworkSet", "one")) == 1


def test_a_history_forgets_the_oldest_states_first() -> None:
    history, one = History(limit=2), network_set("one", "192.0.2.0/24")
    states = [replace(one, metadata=replace(one.metadata, generation=number)) for number in (1, 2, 3)]
    for state in states:
        history.advance({("GlobalNetworkSet", "one"): state})
    assert [history.number_of(policy_digest([state]), -1) for state in states] == [-1, 1, 2]
