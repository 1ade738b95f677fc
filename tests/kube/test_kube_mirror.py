"""What an agent goes by is the same while the API server is not well, and right again afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from pyagent import manifest
from pyagent.agent.mirror import CLUSTER_KINDS, KINDS, Mirror
from pyagent.datastore.kubernetes import KubernetesDatastore
from pyagent.model import GlobalNetworkPolicy
from tests.support.apiserver import ApiServer
from tests.support.resources import host_endpoint, network_set


def policy(name: str, action: str) -> GlobalNetworkPolicy:
    spec = {"selector": "all()", "ingress": [{"action": action}]}
    document = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }
    decoded = manifest.decode(document)
    assert isinstance(decoded, GlobalNetworkPolicy)
    return decoded


@contextlib.asynccontextmanager
async def mirrored(store: KubernetesDatastore, kinds: Sequence[str] = KINDS) -> AsyncIterator[Mirror]:
    mirror = Mirror(store, kinds=kinds)
    task = asyncio.create_task(mirror.follow())
    try:
        await until(lambda: mirror.synced)
        yield mirror
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 (a test's wait)
            await asyncio.sleep(0.01)


def kill(server: ApiServer) -> None:
    server.kill()


def refuse(server: ApiServer) -> None:
    server.faults.add(status=500)
    server.cut_connections()


def forbid(server: ApiServer) -> None:
    server.users = {}
    server.cut_connections()


def freeze(server: ApiServer) -> None:
    server.faults.freeze()


def uninstall(server: ApiServer) -> None:
    """As if nothing of ours had ever been there: the definitions are gone, and every watch with them."""
    server.faults.add(status=404, body=b"404 page not found")
    server.storage.compact()
    server.cut_connections()


def pretend_empty(server: ApiServer) -> None:
    """A list that breaks off before it has said that it is one."""
    server.faults.add(status=200, cut=True, body=b'{"metadata":{"resourceVersion":"1"},"items":[]}')
    server.storage.compact()
    server.cut_connections()


@pytest.mark.parametrize("fault", [kill, refuse, forbid, freeze, uninstall, pretend_empty])
async def test_what_an_agent_goes_by_does_not_change_during_a_fault(
    server: ApiServer, store: KubernetesDatastore, fault: Callable[[ApiServer], None]
) -> None:
    store.create(host_endpoint("h", "n1"))
    store.create(network_set("s", "10.0.0.0/8"))
    store.create(policy("p", "Deny"))
    users = server.users
    async with mirrored(store) as mirror:
        before = mirror.observed()
        mirror.changed.clear()
        await until(lambda: store.connected)
        fault(server)
        await until(lambda: not store.connected)
        await asyncio.sleep(0.5)
        assert not mirror.changed.is_set()
        assert mirror.observed() == before
        server.users = users
        server.faults.clear()
        if fault is kill:
            server.start()
        await asyncio.to_thread(store.update, policy("p", "Allow"))
        await asyncio.to_thread(store.delete, "GlobalNetworkSet", "s")
        await until(lambda: {"GlobalNetworkSet"} == _gone(mirror) and mirror.observed() != before)
        await until(lambda: _action(mirror) == "Allow")


def _gone(mirror: Mirror) -> set[str]:
    kinds = {key[0] for key in mirror._resources}
    return {"HostEndpoint", "GlobalNetworkSet", "GlobalNetworkPolicy"} - kinds


def _action(mirror: Mirror) -> str:
    found = mirror._resources["GlobalNetworkPolicy", "", "p"]
    assert isinstance(found, GlobalNetworkPolicy)
    return found.spec.ingress[0].action


async def test_an_agent_watches_each_kind_once_and_neither_nodes_nor_services(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    async with mirrored(store, CLUSTER_KINDS):
        assert len(server.watches) == len(CLUSTER_KINDS)
        assert len({watch.plural for watch in server.watches}) == len(CLUSTER_KINDS)
        asked = {asked.plural for asked in server.faults.requests}
        assert "clusterservices" in asked
        assert not asked & {"nodes", "services", "endpointslices"}
