"""A policy that turns invalid keeps its last valid form until it is deleted, also over an agent's restart."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace as changed
from pathlib import Path

from pyagent.agent.lastgood import LastGood
from pyagent.agent.mirror import Mirror
from pyagent.agent.state import StateDirectory
from pyagent.datastore import EmbeddedDatastore
from pyagent.datastore.kubernetes import KubernetesDatastore
from pyagent.datastore.protocol import Datastore
from tests.support.apiserver import ApiServer
from tests.support.resources import network_set

KEY = ("GlobalNetworkSet", "", "s")


@contextlib.asynccontextmanager
async def agent(store: Datastore, state: StateDirectory) -> AsyncIterator[Mirror]:
    """What an agent does with a datastore, as far as its memory goes."""
    last_good = LastGood(state, "n1")
    mirror = Mirror(store, "n1", last_good)
    task = asyncio.create_task(mirror.follow())
    try:
        await until(lambda: mirror.synced)
        yield mirror
        last_good.keep(mirror.resources())
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 (a test's wait)
            await asyncio.sleep(0.01)


def make_invalid(server: ApiServer) -> None:
    """What a definition of another installation lets in."""
    kind = server.storage.kind("projectcalico.org/v3", "globalnetworksets")
    server.storage.patch(kind, "", "s", {"spec": {"nets": ["nonsense"]}})


async def test_over_an_agents_restart_with_an_api_server(
    server: ApiServer, store: KubernetesDatastore, tmp_path: Path
) -> None:
    kinds = server.storage.kinds
    for key, kind in kinds.items():
        kinds[key] = changed(kind, schema=None)
    store.create(network_set("s", "10.0.0.0/8"))
    with StateDirectory(tmp_path / "state") as state:
        async with agent(store, state) as mirror:
            before = mirror.seen()
        make_invalid(server)
        for _ in range(2):  # a second restart knows it as well
            async with agent(store, state) as mirror:
                assert mirror.seen().policies == before.policies
                assert KEY in mirror._resources
                assert "GlobalNetworkSet/s" in mirror.broken
        async with agent(store, state) as mirror:
            store.delete("GlobalNetworkSet", "s")
            await until(lambda: KEY not in mirror._resources)
        # Made anew under the same name, and invalid from the start: that is another one.
        store.create(network_set("s", "10.0.0.0/8"))
        make_invalid(server)
        async with agent(store, state) as mirror:
            assert KEY not in mirror._resources


async def test_over_an_agents_restart_with_the_embedded_datastore(tmp_path: Path) -> None:
    store = EmbeddedDatastore(tmp_path / "store")
    store.create(network_set("s", "10.0.0.0/8"))
    file = tmp_path / "store" / "globalnetworksets" / "s.yaml"
    with StateDirectory(tmp_path / "state") as state:
        async with agent(store, state) as mirror:
            before = mirror.seen()
        file.write_text(file.read_text().replace("10.0.0.0/8", "nonsense"))
        async with agent(EmbeddedDatastore(tmp_path / "store"), state) as mirror:
            assert mirror.seen().policies == before.policies
            assert "GlobalNetworkSet/s" in mirror.broken
            file.unlink()
            await until(lambda: KEY not in mirror._resources)
