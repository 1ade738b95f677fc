"""A cluster that the lab borrows is afterwards as it was before, and nobody else's is touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pyagent.controller import reconcile_once
from pyagent.controller.leader import LEASE
from pyagent.datastore import Lease, open_datastore
from pyagent.datastore.kubernetes import KubernetesDatastore
from tests.lab.cluster import Cluster, ClusterError
from tests.support.apiserver import ApiServer, Storage
from tests.support.apiserver.kinds import BUILT_IN
from tests.support.resources import host_endpoint, network_set, node


@pytest.fixture
def bare() -> Iterator[ApiServer]:
    """A server without our kinds."""
    server = ApiServer(Storage(BUILT_IN))
    server.start()
    yield server
    server.kill()


def held(server: ApiServer) -> set[tuple[str, ...]]:
    """Everything that is stored."""
    return {(plural, *key) for plural, shelf in server.storage._shelves.items() for key in shelf.objects}


def test_everything_is_removed_that_was_not_there_before(bare: ApiServer, tmp_path: Path) -> None:
    before = held(bare)
    cluster = Cluster(Path(bare.kubeconfig(tmp_path)))
    cluster.prepare()
    store = open_datastore(cluster.url)
    assert isinstance(store, KubernetesDatastore)
    store.create(node("n1", "192.0.2.1"))
    store.create(host_endpoint("h", "n1"))
    store.create(network_set("s", "10.0.0.0/8"))
    reconcile_once(store, environment={})
    store.leases.create(Lease(namespace=store.leases.namespace, name=LEASE, holder="it"))
    assert len(held(bare)) > len(before) + 10
    cluster.clean()
    assert held(bare) == before


def test_what_was_there_before_stays(server: ApiServer, tmp_path: Path) -> None:
    cluster = Cluster(Path(server.kubeconfig(tmp_path)))
    store = open_datastore(cluster.url)
    reconcile_once(store, environment={})
    before = held(server)
    cluster.prepare()
    store.create(node("n1", "192.0.2.1"))
    cluster.clean()
    assert held(server) == before


def test_a_cluster_with_nodes_is_refused_and_stays_as_it_is(server: ApiServer, tmp_path: Path) -> None:
    cluster = Cluster(Path(server.kubeconfig(tmp_path)))
    open_datastore(cluster.url).create(node("n1", "192.0.2.1"))
    before = held(server)
    with pytest.raises(ClusterError, match="Node/n1"):
        cluster.prepare()
    cluster.clean()
    assert held(server) == before


def test_nodes_get_the_same_credentials_for_the_proxys_address(tmp_path: Path) -> None:
    content = {
        "current-context": "b",
        "contexts": [
            {"name": "a", "context": {"cluster": "other", "user": "u"}},
            {"name": "b", "context": {"cluster": "real", "user": "u"}},
        ],
        "clusters": [
            {"name": "other", "cluster": {"server": "https://192.0.2.1"}},
            {
                "name": "real",
                "cluster": {"server": "https://api.example:6443", "certificate-authority": "ca"},
            },
        ],
        "users": [{"name": "u", "user": {"client-key": "/keys/k", "tokenFile": "t"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(content))
    cluster = Cluster(tmp_path / "kubeconfig")
    assert cluster.address() == ("api.example", 6443)
    url = cluster.as_seen_by_nodes(tmp_path / "nodes")
    assert url == f"kubernetes:///?kubeconfig={tmp_path}/nodes"
    written = yaml.safe_load((tmp_path / "nodes").read_text())
    assert written["clusters"][1]["cluster"] == {
        "server": "https://127.0.0.1:16443",
        "certificate-authority": f"{tmp_path}/ca",
        "tls-server-name": "api.example",
    }
    assert written["users"][0]["user"] == {"client-key": "/keys/k", "tokenFile": f"{tmp_path}/t"}
    assert (tmp_path / "nodes").stat().st_mode & 0o077 == 0
