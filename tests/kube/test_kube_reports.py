"""What the controller says on objects of a cluster: policies' statuses, that something is invalid, events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace as changed
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from pyagent import manifest
from pyagent.calc import policy_digest
from pyagent.calc.observed import OBSERVED_KINDS
from pyagent.controller import board, run
from pyagent.datastore.kubernetes import KubernetesDatastore
from pyagent.datastore.kubernetes.connection import Connection
from pyagent.datastore.reports import Event, NoStatusError
from pyagent.errors import ConflictError, NotFoundError
from pyagent.model import (
    CALICO_V3,
    GlobalNetworkPolicy,
    HostEndpoint,
    Metadata,
)
from pyagent.model.policy import PolicySpec, Rule
from pyagent.model.status import Condition, HostEndpointStatus, PolicyStatus, Truth
from tests.kube.conftest import Open
from tests.support.apiserver import ApiServer
from tests.support.candidates import TERMS
from tests.support.own_names import OwnNames
from tests.support.resources import controllers_configuration, host_endpoint, network_set

PATIENCE_S = 10.0


def policy(name: str, selector: str = "all()", action: str = "Allow") -> GlobalNetworkPolicy:
    return GlobalNetworkPolicy(
        api_version=CALICO_V3,
        kind="GlobalNetworkPolicy",
        metadata=Metadata(name=name),
        spec=PolicySpec(selector=selector, types=("Ingress",), ingress=(Rule(action=action),)),
    )


@contextlib.asynccontextmanager
async def controlling(store: KubernetesDatastore) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(run(store, environment={}, terms=TERMS))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110 (a test's wait)
            await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statuses follow at once, so that a test need not wait for the pace."""
    monkeypatch.setattr(board, "PACE_S", 0.05)


@pytest.fixture
def site(server: ApiServer, open_store: Open) -> KubernetesDatastore:
    """Three nodes with a host endpoint each; the controller leaves them alone."""
    store = open_store()
    store.create(controllers_configuration(auto_create="Disabled"))
    for number in (1, 2, 3):
        store.create(host_endpoint(f"n{number}", f"n{number}", {"role": "web" if number < 3 else "db"}))
    return store


class Agents:
    """What agents would report."""

    def __init__(self, store: KubernetesDatastore) -> None:
        self._store = store

    def digest(self) -> str:
        return policy_digest(each for kind in OBSERVED_KINDS for each in self._store.list(kind)[0])

    def report(self, *names: str, **status: Any) -> None:
        status = {"observed": self.digest(), **status}
        for name in names:
            endpoint = self._store.get("HostEndpoint", name)
            assert isinstance(endpoint, HostEndpoint)
            wire = HostEndpointStatus(**status).wire()
            self._store.update_status(replace(endpoint, status=wire))


def raw(server: ApiServer, plural: str, name: str) -> dict[str, Any]:
    kind = server.storage.kind(CALICO_V3, plural)
    return server.storage.get(kind, "", name)


def status_of(server: ApiServer, name: str) -> PolicyStatus:
    return PolicyStatus.read(raw(server, "globalnetworkpolicies", name).get("status"))


def truth(server: ApiServer, plural: str, name: str, condition: str) -> str:
    found = [
        each["status"]
        for each in (raw(server, plural, name).get("status") or {}).get("conditions", ())
        if each["type"] == condition
    ]
    return found[0] if found else ""


def happened(server: ApiServer) -> dict[tuple[str, str], dict[str, Any]]:
    events = server.storage.list(server.storage.kind("v1", "events"), "")[0]
    return {(each["reason"], each["involvedObject"]["name"]): each for each in events}


async def test_a_policys_status_counts_the_nodes_on_which_it_is_in_force(
    server: ApiServer, site: KubernetesDatastore
) -> None:
    agents = Agents(site)
    async with controlling(site):
        site.create(policy("web", "role == 'web'"))
        site.create(policy("all"))
        await until(lambda: status_of(server, "all").summary == "0/3")
        await until(lambda: status_of(server, "web").summary == "0/2")
        agents.report("n1", "n3")
        await until(lambda: status_of(server, "all").summary == "2/3")
        waiting = status_of(server, "all")
        assert (waiting.selected, waiting.realized, waiting.selected_endpoints) == (3, 2, 3)
        realized = waiting.condition("Realized")
        assert realized is not None
        assert (realized.status, realized.message) == (Truth.FALSE, "waiting for n2")
        agents.report("n2")
        await until(lambda: status_of(server, "all").summary == "3/3")
        await until(lambda: status_of(server, "web").summary == "2/2")
        done = status_of(server, "web").condition("Realized")
        assert done is not None
        assert (done.status, done.observed_generation) == (Truth.TRUE, 1)
        assert done.last_transition_time
        # Events are written after the statuses that they tell of.
        await until(lambda: ("PolicyRealized", "web") in happened(server))
    assert happened(server)["PolicyRealized", "web"]["type"] == "Normal"


async def test_a_changed_policy_starts_again_and_the_others_stay(
    server: ApiServer, site: KubernetesDatastore
) -> None:
    agents = Agents(site)
    async with controlling(site):
        site.create(policy("a"))
        site.create(policy("b"))
        agents.report("n1", "n2", "n3")
        await until(lambda: status_of(server, "a").summary == status_of(server, "b").summary == "3/3")
        writes = server.faults.count("patch", "globalnetworkpolicies")
        site.update(policy("a", action="Deny"))
        await until(lambda: status_of(server, "a").summary == "0/3")
        assert status_of(server, "b").summary == "3/3"
        agents.report("n1", "n2", "n3")
        await until(lambda: status_of(server, "a").summary == "3/3")
        since = raw(server, "globalnetworkpolicies", "b")["metadata"]["resourceVersion"]
        await asyncio.sleep(0.5)
        assert raw(server, "globalnetworkpolicies", "b")["metadata"]["resourceVersion"] == since
        assert server.faults.count("patch", "globalnetworkpolicies") <= writes + 4


async def test_an_agent_that_cannot_compile_is_named_on_the_policies_of_its_node(
    server: ApiServer, site: KubernetesDatastore
) -> None:
    agents = Agents(site)
    failed = Condition(type="Protected", status=Truth.FALSE, reason="TooLarge", message="needs 70,000 cells")
    async with controlling(site):
        site.create(policy("web", "role == 'web'"))
        site.create(policy("db", "role == 'db'"))
        await until(lambda: status_of(server, "db").summary == "0/1")
        agents.report("n3", observed="", conditions=(failed,))
        await until(lambda: truth(server, "globalnetworkpolicies", "db", "Compiled") == "False")
        compiled = status_of(server, "db").condition("Compiled")
        assert compiled is not None
        assert (compiled.reason, compiled.message) == ("TooLarge", "on n3: needs 70,000 cells")
        assert truth(server, "globalnetworkpolicies", "web", "Compiled") == "True"
        agents.report("n1", "n2", "n3")
        await until(lambda: truth(server, "globalnetworkpolicies", "db", "Compiled") == "True")
        await until(lambda: {("AgentDegraded", "n3"), ("PolicyRefused", "db")} <= happened(server).keys())
    events = happened(server)
    assert events["AgentDegraded", "n3"]["type"] == "Warning"
    assert "TooLarge" in events["PolicyRefused", "db"]["message"]


async def test_what_agents_say_of_their_endpoints_makes_the_controller_write_no_endpoint(
    server: ApiServer, site: KubernetesDatastore
) -> None:
    agents = Agents(site)
    async with controlling(site):
        site.create(policy("all"))
        await until(lambda: status_of(server, "all").summary == "0/3")
        written = [server.faults.count(verb, "hostendpoints") for verb in ("create", "patch", "delete")]
        for generation in range(5):
            agents.report("n1", "n2", "n3", generation=generation)
        await until(lambda: status_of(server, "all").summary == "3/3")
        assert written == [
            server.faults.count(verb, "hostendpoints") for verb in ("create", "patch", "delete")
        ]
        # The agents' own writes.
        assert server.faults.count("update", "hostendpoints") == 15


async def test_events_tell_of_interfaces_that_lose_and_regain_protection(
    server: ApiServer, site: KubernetesDatastore
) -> None:
    agents = Agents(site)
    agents.report("n2", unprotected={"eth9": "as it was before anybody looked"})
    async with controlling(site):
        site.create(policy("all"))
        await until(lambda: status_of(server, "all").summary == "0/3")
        agents.report("n1", unprotected={"eth1": "no queueing discipline"})
        await until(lambda: ("InterfaceUnprotected", "n1") in happened(server))
        event = happened(server)["InterfaceUnprotected", "n1"]
        assert event["message"] == "node n1: eth1: no queueing discipline"
        assert (event["type"], event["source"]) == ("Warning", {"component": "autohep"})
        uid = raw(server, "hostendpoints", "n1")["metadata"]["uid"]
        assert event["involvedObject"] == {
            "apiVersion": CALICO_V3,
            "kind": "HostEndpoint",
            "name": "n1",
            "uid": uid,
        }
        agents.report("n1", interfaces=("eth1",), pressure={"flows": 90})
        await until(lambda: ("InterfaceProtected", "n1") in happened(server))
        await until(lambda: ("MapPressure", "n1") in happened(server))
    assert ("InterfaceUnprotected", "n2") not in happened(server), "old news are no events"


@pytest.fixture
def lax(server: ApiServer) -> ApiServer:
    """A server whose definitions check nothing, as those of another or an older installation may."""
    kinds = server.storage.kinds
    for key, kind in kinds.items():
        if kind.custom:
            kinds[key] = changed(kind, schema=None)
    return server


def put(server: ApiServer, plural: str, name: str, **parts: Any) -> None:
    storage = server.storage
    kind = storage.kind(CALICO_V3, plural)
    if ("", name) in storage.shelf(kind).objects:
        storage.patch(kind, "", name, parts)
    else:
        storage.create(kind, "", {"metadata": {"name": name}, **parts})


async def test_an_invalid_policy_says_so_itself_and_its_last_valid_form_is_still_counted(
    lax: ApiServer, site: KubernetesDatastore
) -> None:
    agents = Agents(site)
    async with controlling(site):
        site.create(policy("p"))
        site.create(policy("q"))
        digest = agents.digest()
        agents.report("n1", "n2", "n3")
        await until(lambda: status_of(lax, "p").summary == "3/3")
        put(lax, "globalnetworkpolicies", "p", spec={"ingress": [{"action": "deny"}]})
        await until(lambda: truth(lax, "globalnetworkpolicies", "p", "Accepted") == "False")
        refused = status_of(lax, "p")
        accepted, realized = refused.condition("Accepted"), refused.condition("Realized")
        assert accepted is not None
        assert realized is not None
        assert "spec.ingress[0].action" in accepted.message
        assert (accepted.observed_generation, realized.observed_generation) == (2, 1)
        assert refused.summary == "3/3"
        assert raw(lax, "globalnetworkpolicies", "p")["status"]["lastValidGeneration"] == 1
    # Another controller knows of the last valid form only what stands on the object.
    async with controlling(site):
        site.update(policy("q", action="Deny"))
        await until(lambda: status_of(lax, "q").summary == "0/3")
        agents.report("n1", "n2", "n3", observed=digest)
        await asyncio.sleep(0.5)
        assert status_of(lax, "q").summary == "0/3"
        in_force = [site.get("GlobalNetworkPolicy", "q"), _as_it_was(lax, "p")]
        others = [each for kind in OBSERVED_KINDS - {"GlobalNetworkPolicy"} for each in site.list(kind)[0]]
        agents.report("n1", "n2", "n3", observed=policy_digest((*in_force, *others)))
        await until(lambda: status_of(lax, "q").summary == "3/3")
        put(lax, "globalnetworkpolicies", "p", spec={"ingress": [{"action": "Deny"}]})
        await until(lambda: truth(lax, "globalnetworkpolicies", "p", "Accepted") == "True")
        assert "lastValidGeneration" not in raw(lax, "globalnetworkpolicies", "p")["status"]
    assert "spec.ingress[0].action" in happened(lax)["PolicyRefused", "p"]["message"]


def _as_it_was(server: ApiServer, name: str) -> GlobalNetworkPolicy:
    """The first generation of a policy, as an agent still has it in force."""
    metadata = raw(server, "globalnetworkpolicies", name)["metadata"]
    was = manifest.default(policy(name))
    assert isinstance(was, GlobalNetworkPolicy)
    return replace(was, metadata=replace(was.metadata, uid=metadata["uid"], generation=1))


async def test_any_invalid_object_says_so_and_says_when_it_is_mended(
    lax: ApiServer, site: KubernetesDatastore
) -> None:
    async with controlling(site):
        for plural, bad, good in (
            ("globalnetworksets", {"nets": ["nonsense"]}, {"nets": ["192.0.2.0/24"]}),
            ("tiers", {"defaultAction": "Perhaps"}, {"defaultAction": "Deny"}),
            ("felixconfigurations", {"interfaceExclude": 7}, {"interfaceExclude": None}),
            ("globalnetworkpolicies", {"selector": "role ="}, {"selector": "all()"}),
        ):
            put(lax, plural, "broken", spec=bad)
            await until(lambda plural=plural: truth(lax, plural, "broken", "Accepted") == "False")  # type: ignore[misc]
            put(lax, plural, "broken", spec=good)
            await until(lambda plural=plural: truth(lax, plural, "broken", "Accepted") == "True")  # type: ignore[misc]
        site.create(network_set("fine", "192.0.2.0/24"))
        await asyncio.sleep(0.5)
        assert "status" not in raw(lax, "globalnetworksets", "fine")


async def test_a_configuration_mended_while_no_controller_ran_is_called_valid_by_the_next(
    lax: ApiServer, site: KubernetesDatastore
) -> None:
    plural = "kubecontrollersconfigurations"
    async with controlling(site):
        await until(lambda: "runningConfig" in (raw(lax, plural, "default").get("status") or {}))
        put(lax, plural, "default", spec={"logSeverityScreen": "Loud"})
        await until(lambda: truth(lax, plural, "default", "Accepted") == "False")
    put(lax, plural, "default", spec={"logSeverityScreen": "Info"})
    async with controlling(site):
        await until(lambda: truth(lax, plural, "default", "Accepted") == "True")
        put(lax, plural, "default", spec={"logSeverityScreen": "Debug"})
        await until(
            lambda: raw(lax, plural, "default")["status"]["runningConfig"]["logSeverityScreen"] == "Debug"
        )
        assert truth(lax, plural, "default", "Accepted") == "True", "what is in force is written beside it"


async def test_what_an_agent_says_on_an_endpoint_stays_beside_that_it_is_invalid(
    lax: ApiServer, site: KubernetesDatastore
) -> None:
    protected = Condition(type="Protected", status=Truth.TRUE, reason="All")
    Agents(site).report("n1", conditions=(protected,), generation=7)
    async with controlling(site):
        put(lax, "hostendpoints", "n1", spec={"interfaceName": "", "expectedIPs": ["nonsense"]})
        await until(lambda: truth(lax, "hostendpoints", "n1", "Accepted") == "False")
        assert truth(lax, "hostendpoints", "n1", "Protected") == "True"
        assert raw(lax, "hostendpoints", "n1")["status"]["generation"] == 7


async def test_another_leader_changes_nothing_where_nothing_changed(
    server: ApiServer, open_store: Open, site: KubernetesDatastore
) -> None:
    agents = Agents(site)
    async with controlling(site):
        site.create(policy("all"))
        agents.report("n1", "n2", "n3")
        await until(lambda: status_of(server, "all").summary == "3/3")
        # One node lags behind; the next leader has never heard of the state that it reports.
        agents.report("n2", observed="0123456789abcdef")
    before = raw(server, "globalnetworkpolicies", "all")
    events, writes = len(happened(server)), server.faults.count("patch")
    other = open_store()
    async with controlling(other):
        await until(lambda: bool(other._reflectors) and other.connected)
        await asyncio.sleep(0.7)
        assert raw(server, "globalnetworkpolicies", "all") == before
        assert (len(happened(server)), server.faults.count("patch")) == (events, writes)
        other.create(policy("new"))
        await until(lambda: status_of(server, "new").summary == "0/3")


async def test_of_two_controllers_one_writes_statuses(
    server: ApiServer, open_store: Open, site: KubernetesDatastore
) -> None:
    agents, other = Agents(site), open_store()
    async with controlling(site), controlling(other):
        site.create(policy("all"))
        await until(lambda: status_of(server, "all").summary == "0/3")
        agents.report("n1", "n2", "n3")
        await until(lambda: status_of(server, "all").summary == "3/3")
        await asyncio.sleep(0.3)
        assert server.faults.count("patch", "globalnetworkpolicies") <= 3


async def test_a_cluster_whose_policies_have_no_status_is_asked_once(
    server: ApiServer, site: KubernetesDatastore, caplog: pytest.LogCaptureFixture
) -> None:
    kinds = server.storage.kinds
    key = (CALICO_V3, "globalnetworkpolicies")
    kinds[key] = changed(kinds[key], status=False)
    async with controlling(site):
        site.create(policy("one"))
        await until(lambda: "statuses not written" in caplog.text)
        site.create(policy("two"))
        Agents(site).report("n1", "n2", "n3")
        await asyncio.sleep(0.5)
        assert server.faults.count("patch", "globalnetworkpolicies") == 1
        assert caplog.text.count("statuses not written") == 1


def test_a_status_is_written_in_parts_and_only_on_the_very_object(cluster: OwnNames) -> None:
    assert isinstance(cluster.inner, KubernetesDatastore)
    made, reports = cluster.create(policy("p")), cluster.inner.reports
    stored = cluster.inner.get("GlobalNetworkPolicy", f"{cluster.mark}p")
    kind, name, uid = stored.kind, stored.name, stored.metadata.uid
    reports.write_status(kind, name, uid, {"selected": 3, "summary": "1/3"})
    reports.write_status(kind, name, uid, {"selected": None, "realized": 2})
    assert reports.read(kind, name)["status"] == {"summary": "1/3", "realized": 2}
    with pytest.raises(ConflictError):
        reports.write_status(kind, name, "00000000-0000-0000-0000-000000000000", {"selected": 9})
    with pytest.raises(NotFoundError):
        reports.write_status(kind, f"{name}-not", "", {"selected": 9})
    assert made.metadata.generation == cluster.get(kind, "p").metadata.generation == 1


def test_an_event_is_recorded_and_counted_up(cluster: OwnNames, connection: Connection) -> None:
    assert isinstance(cluster.inner, KubernetesDatastore)
    event = Event(
        name=f"{cluster.mark}e.1",
        kind="HostEndpoint",
        regarding=f"{cluster.mark}n1",
        uid="00000000-0000-0000-0000-000000000001",
        reason="AgentDegraded",
        message="one",
        warning=True,
        count=1,
        first="2026-01-02T03:04:05Z",
        last="2026-01-02T03:04:05Z",
    )
    path = f"/api/v1/namespaces/default/events/{event.name}"
    try:
        cluster.inner.reports.record(event)
        cluster.inner.reports.record(changed(event, count=4, message="four", last="2026-01-02T04:00:00Z"))
        stored = msgspec.json.decode(connection.request("GET", path, "Event", event.name).body)
        assert (stored["count"], stored["message"], stored["type"]) == (4, "four", "Warning")
        assert (stored["firstTimestamp"], stored["lastTimestamp"]) == (event.first, "2026-01-02T04:00:00Z")
        assert stored["involvedObject"]["kind"] == "HostEndpoint"
    finally:
        with contextlib.suppress(NotFoundError):
            connection.request("DELETE", path, "Event", event.name)


def test_a_kind_without_statuses_is_told_from_an_object_that_is_not_there(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    key = (CALICO_V3, "globalnetworkpolicies")
    store.create(policy("p"))
    server.storage.kinds[key] = changed(server.storage.kinds[key], status=False)
    with pytest.raises(NoStatusError):
        store.reports.write_status("GlobalNetworkPolicy", "p", "", {})
