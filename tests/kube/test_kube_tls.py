"""Clusters speak TLS: trust, tokens of pods, and connections that end in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyagent.datastore import open_datastore
from pyagent.datastore.kubernetes import KubernetesDatastore, open_kubernetes
from pyagent.errors import DatastoreError
from tests.kube.conftest import PACE
from tests.support.apiserver import ADMIN, ApiServer
from tests.support.apiserver.certificates import expired, self_signed
from tests.support.following import following
from tests.support.resources import network_set


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    server = ApiServer(tls=self_signed(tmp_path))
    server.bookmark = 0.3
    server.start()
    yield server
    server.kill()


@pytest.fixture
def store(server: ApiServer, tmp_path: Path) -> KubernetesDatastore:
    return open_kubernetes(f"kubernetes:///?kubeconfig={server.kubeconfig(tmp_path)}", PACE)


async def test_a_watch_over_tls_survives_cuts_kills_and_silence_and_ends_when_it_is_closed(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    async with following(store) as follower:
        await asyncio.to_thread(store.create, network_set("a"))
        await follower.until(lambda: follower.names() == {"a"})
        server.cut_connections()
        await asyncio.to_thread(store.create, network_set("b"))
        await follower.until(lambda: follower.names() == {"a", "b"})
        server.kill()
        await asyncio.sleep(0.2)
        server.start()
        await asyncio.to_thread(store.delete, "GlobalNetworkSet", "a")
        await follower.until(lambda: follower.names() == {"b"})
        server.faults.freeze()
        await follower.until(lambda: not store.connected)
        server.faults.thaw()
        await asyncio.to_thread(store.create, network_set("c"))
        await follower.until(lambda: follower.names() == {"b", "c"})
        reflectors = list(store._reflectors)
    assert not any(reflector._thread.is_alive() for reflector in reflectors)


async def test_clocks_that_disagree_about_a_certificate_change_nothing_that_is_known(
    server: ApiServer, store: KubernetesDatastore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.to_thread(store.create, network_set("a"))
    async with following(store) as follower:
        good = server.tls
        assert good is not None
        server.kill()
        server.tls = expired(tmp_path, good)
        server.start()
        await follower.until(lambda: "certificate has expired" in caplog.text)
        assert follower.names() == {"a"}
        assert not store.connected
        server.kill()
        server.tls = good
        server.start()
        await asyncio.to_thread(store.create, network_set("b"))
        await follower.until(lambda: follower.names() == {"a", "b"})


def test_a_server_that_nobody_vouches_for_is_not_spoken_to(server: ApiServer, tmp_path: Path) -> None:
    path = Path(server.kubeconfig(tmp_path))
    path.write_text(path.read_text().replace(f", certificate-authority: '{tmp_path}/tls.crt'", ""))
    store = open_datastore(f"kubernetes:///?kubeconfig={path}")
    with pytest.raises(DatastoreError, match="certificate verify failed"):
        store.list("Tier")


@pytest.fixture
def pod(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a pod of the cluster finds; the file of its token."""
    token = tmp_path / "pod-token"
    token.write_text(ADMIN)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    where = "kubernetes.config.incluster_config"
    monkeypatch.setattr(f"{where}.SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(f"{where}.SERVICE_CERT_FILENAME", str(tmp_path / "tls.crt"))
    return token


def test_a_pod_finds_its_cluster_by_itself_and_a_new_token_when_the_old_one_ran_out(
    server: ApiServer, pod: Path
) -> None:
    store = open_datastore("kubernetes:")
    assert store.create(network_set("a")).name == "a"
    server.users = {"second": None}
    pod.write_text("second\n")
    assert store.get("GlobalNetworkSet", "a").name == "a"
