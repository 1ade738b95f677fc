"""Connections that are kept: what happens to a request on one that the server closed meanwhile."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from pyagent.datastore.kubernetes import KubernetesDatastore
from pyagent.datastore.kubernetes.connection import Connection
from pyagent.datastore.kubernetes.errors import UnreachableError
from tests.kube.conftest import PACE
from tests.support.apiserver import ApiServer
from tests.support.resources import network_set

PLURAL = "globalnetworksets"


def test_a_read_on_a_connection_that_the_server_closed_is_asked_once_more(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    store.create(network_set("s", "10.0.0.0/8"))
    server.faults.add(hang_up=True, times=1, when=lambda request: request.verb == "get")
    assert store.get("GlobalNetworkSet", "s").name == "s"
    assert server.faults.count("get", PLURAL) == 2


def test_a_read_that_is_never_answered_is_not_asked_for_ever(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    server.faults.add(hang_up=True, when=lambda request: request.verb == "get")
    with pytest.raises(UnreachableError):
        store.get("GlobalNetworkSet", "s")
    assert server.faults.count("get", PLURAL) == 2


def test_a_write_without_an_answer_is_not_sent_twice(server: ApiServer, store: KubernetesDatastore) -> None:
    server.faults.add(hang_up=True, times=1, when=lambda request: request.verb == "create")
    with pytest.raises(UnreachableError):
        store.create(network_set("s", "10.0.0.0/8"))
    assert server.faults.count("create", PLURAL) == 1
    store.create(network_set("s", "10.0.0.0/8"))
    assert server.faults.count("create", PLURAL) == 2


def test_a_connection_that_was_closed_while_idle_is_noticed_before_a_write(
    server: ApiServer, tmp_path: Path
) -> None:
    store = KubernetesDatastore(Connection(server.kubeconfig(tmp_path), pace=PACE))
    store.create(network_set("first", "10.0.0.0/8"))
    server.cut_connections()
    store.create(network_set("second", "10.0.0.0/8"))
    assert server.faults.count("create", PLURAL) == 2


def test_the_stand_in_keeps_the_connection_on_which_it_was_asked_for_what_it_does_not_serve(
    server: ApiServer,
) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    client.connect()
    kept = client.sock
    for _ in range(20):
        client.request("GET", "/apis/nowhere.example/v1/things")
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (404, b"404 page not found\n")
        assert client.sock is kept
    client.close()
