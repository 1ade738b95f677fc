"""Objects as a cluster has them: invalid, newer than this release, of missing kinds, and Nodes that beat."""

from __future__ import annotations

import asyncio
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pyagent.datastore import EventType, open_datastore
from pyagent.datastore.kubernetes import KubernetesDatastore
from pyagent.datastore.kubernetes.decoding import decode
from pyagent.errors import DatastoreError, ManifestError
from pyagent.inquiry import from_datastore
from pyagent.model import Node
from tests.kube.conftest import Open
from tests.support.apiserver import ApiServer, Storage
from tests.support.apiserver.kinds import BUILT_IN, served_by
from tests.support.following import following
from tests.support.resources import network_set, node

V3 = "projectcalico.org/v3"


@pytest.fixture
def lax(server: ApiServer) -> ApiServer:
    """A server whose definitions check nothing, as those of another or an older installation may."""
    kinds = server.storage.kinds
    for key, kind in kinds.items():
        kinds[key] = changed(kind, schema=None)
    return server


def put(server: ApiServer, plural: str, name: str, **parts: Any) -> None:
    """Create or patch an object behind everybody's back."""
    storage = server.storage
    kind = storage.kind("v1" if plural == "nodes" else V3, plural)
    if ("", name) in storage.shelf(kind).objects:
        storage.patch(kind, "", name, parts)
        if "status" in parts:
            storage.patch(kind, "", name, {"status": parts["status"]}, status=True)
    else:
        storage.create(kind, "", {"metadata": {"name": name}, **parts})


def policy(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"selector": "all()", "types": ["Ingress"], "ingress": list(rules)}


async def test_a_policy_that_turns_invalid_keeps_its_last_valid_form_until_it_is_mended(
    lax: ApiServer, store: KubernetesDatastore
) -> None:
    put(lax, "globalnetworkpolicies", "p", spec=policy({"action": "Deny"}))
    async with following(store, "GlobalNetworkPolicy") as follower:
        key = ("GlobalNetworkPolicy", "p")
        good = follower.resources[key]
        put(lax, "globalnetworkpolicies", "p", spec=policy({"action": "deny"}))
        await follower.until(lambda: key in follower.broken)
        assert "error with field spec.ingress[0].action = 'deny'" in follower.broken[key]
        assert follower.resources[key] is good
        # Everything else goes on.
        put(lax, "globalnetworkpolicies", "q", spec=policy({"action": "Allow"}))
        await follower.until(lambda: ("GlobalNetworkPolicy", "q") in follower.resources)
        put(lax, "globalnetworkpolicies", "p", spec=policy({"action": "Pass"}))
        await follower.until(lambda: key not in follower.broken)
        assert follower.resources[key].spec.ingress[0].action == "Pass"  # type: ignore[attr-defined]


async def test_an_invalid_object_is_kept_through_a_new_list_and_forgotten_when_deleted(
    lax: ApiServer, store: KubernetesDatastore
) -> None:
    put(lax, "globalnetworksets", "s", spec={"nets": ["10.0.0.0/8"]})
    async with following(store) as follower:
        key = ("GlobalNetworkSet", "s")
        lax.kill()
        put(lax, "globalnetworksets", "s", spec={"nets": ["nonsense"]})
        lax.start()
        await follower.until(lambda: key in follower.broken)
        assert follower.resources[key].spec.nets == ("10.0.0.0/8",)  # type: ignore[attr-defined]
        kind = lax.storage.kind(V3, "globalnetworksets")
        lax.storage.delete(kind, "", "s", {})
        await follower.until(lambda: key not in follower.resources)
        # A namesake is another object: nothing of the old one is in force for it.
        put(lax, "globalnetworksets", "s", spec={"nets": ["nonsense"]})
        await follower.until(lambda: key in follower.broken)
        assert key not in follower.resources


async def test_an_object_that_never_was_valid_is_reported_and_everything_else_is_there(
    lax: ApiServer, store: KubernetesDatastore
) -> None:
    put(lax, "globalnetworksets", "bad", spec={"nets": "10.0.0.0/8"})
    put(lax, "globalnetworksets", "good", spec={"nets": ["10.0.0.0/8"]})
    async with following(store) as follower:
        assert follower.names() == {"good"}
        assert set(follower.broken) == {("GlobalNetworkSet", "bad")}
    assert [each.name for each in store.list("GlobalNetworkSet")[0]] == ["good"]
    with pytest.raises(DatastoreError, match="must be a list"):
        store.get("GlobalNetworkSet", "bad")


def test_fields_of_a_newer_release_are_dropped_outside_of_policies(
    lax: ApiServer, store: KubernetesDatastore
) -> None:
    spec = {"nets": ["10.0.0.0/8"], "novelty": {"a": 1}}
    put(lax, "globalnetworksets", "s", spec=spec, status={"conditions": []})
    assert store.get("GlobalNetworkSet", "s").spec.nets == ("10.0.0.0/8",)  # type: ignore[attr-defined]
    put(lax, "felixconfigurations", "default", spec={"novelty": 1, "vxlanPort": 4790, "bpfLogLevel": "Debug"})
    assert store.get("FelixConfiguration", "default").spec.vxlan_port == 4790  # type: ignore[attr-defined]


def test_an_unknown_field_of_a_policy_makes_it_invalid_for_it_may_mean_something_narrower(
    lax: ApiServer, store: KubernetesDatastore
) -> None:
    put(lax, "globalnetworkpolicies", "p", spec={**policy({"action": "Allow"}), "egress": None})
    assert store.get("GlobalNetworkPolicy", "p").spec.egress == ()  # type: ignore[attr-defined]
    spec = {**policy({"action": "Allow"}), "onlyAtNight": None}
    put(lax, "globalnetworkpolicies", "said-as-nothing", spec=spec)
    assert store.get("GlobalNetworkPolicy", "said-as-nothing").name == "said-as-nothing"
    put(lax, "globalnetworkpolicies", "q", spec={**policy({"action": "Allow"}), "onlyAtNight": True})
    with pytest.raises(DatastoreError, match="onlyAtNight"):
        store.get("GlobalNetworkPolicy", "q")


def test_an_unknown_condition_in_a_rule_makes_the_object_invalid_for_dropping_it_would_allow_more(
    lax: ApiServer, store: KubernetesDatastore
) -> None:
    put(
        lax,
        "globalnetworkpolicies",
        "p",
        spec=policy({"action": "Allow", "source": {"domains": ["a.example"]}}),
    )
    with pytest.raises(DatastoreError, match="domains"):
        store.get("GlobalNetworkPolicy", "p")


def test_at_a_glance_nodes_are_what_a_watch_tells_of_them(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    notes = {"projectcalico.org/IPv4Address": "10.0.0.1/24", "notes.example.org/text": "n" * 1000}
    status = {
        "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
        "images": [{"names": ["a"], "sizeBytes": 1}],
    }
    put(server, "nodes", "n1", metadata={"name": "n1", "annotations": notes}, status=status)
    whole, glanced = store.list("Node")[0][0], store.glance("Node")[0][0]
    assert isinstance(whole, Node)
    assert isinstance(glanced, Node)
    assert whole.status.images
    assert not glanced.status.images
    assert whole.metadata.annotations == notes
    assert set(glanced.metadata.annotations) == {"projectcalico.org/IPv4Address"}
    assert glanced.status.addresses == whole.status.addresses
    assert (glanced.metadata.uid, glanced.metadata.labels) == (whole.metadata.uid, whole.metadata.labels)


def test_settings_of_another_agent_survive_a_write(lax: ApiServer, store: KubernetesDatastore) -> None:
    put(lax, "felixconfigurations", "default", spec={"bpfConnectTimeLoadBalancing": "TCP", "vxlanPort": 4790})
    store.update(store.get("FelixConfiguration", "default"))
    kind = lax.storage.kind(V3, "felixconfigurations")
    assert lax.storage.get(kind, "", "default")["spec"]["bpfConnectTimeLoadBalancing"] == "TCP"


def test_what_is_not_ours_is_changed_only_in_what_was_asked_for(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    put(
        server,
        "nodes",
        "n",
        metadata={"name": "n", "labels": {"old": "1", "kept": "1"}, "finalizers": ["x/y"]},
        spec={"podCIDR": "10.1.0.0/24", "futureField": {"a": 1}},
        status={"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}], "futureField": 1},
    )
    before = store.get("Node", "n")
    labels = {"kept": "1", "new": "1"}
    store.update(
        msgspec.structs.replace(before, metadata=msgspec.structs.replace(before.metadata, labels=labels))
    )
    stored = server.storage.get(server.storage.kind("v1", "nodes"), "", "n")
    assert stored["metadata"]["labels"] == labels
    assert stored["metadata"]["finalizers"] == ["x/y"]
    assert stored["spec"]["futureField"] == {"a": 1}
    assert stored["status"]["futureField"] == 1


async def test_a_nodes_heartbeat_is_no_event_and_a_change_of_labels_or_addresses_is_one(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    address = {"type": "InternalIP", "address": "192.0.2.1"}
    put(server, "nodes", "n", status={"addresses": [address], "conditions": [{"type": "Ready", "n": 0}]})
    async with following(store, "Node") as follower:
        for beat in range(20):
            status = {"addresses": [address], "conditions": [{"type": "Ready", "n": beat + 1}]}
            put(server, "nodes", "n", status=status)
        put(server, "nodes", "n", metadata={"labels": {"role": "db"}})
        await follower.until(lambda: len(follower.events) == 3)
        put(
            server,
            "nodes",
            "n",
            status={"addresses": [address, {"type": "InternalIP", "address": "192.0.2.2"}]},
        )
        await follower.until(lambda: len(follower.events) == 4)
        put(server, "nodes", "n", metadata={"annotations": {"projectcalico.org/IPv4Address": "192.0.2.9/24"}})
        await follower.until(lambda: len(follower.events) == 5)
    types = [event.type for event in follower.events]
    assert types == [EventType.ADDED, EventType.SYNCED, *[EventType.MODIFIED] * 3]
    last = follower.resources["Node", "n"]
    assert last.metadata.labels == {"role": "db"}
    assert [each.address for each in last.status.addresses] == ["192.0.2.1", "192.0.2.2"]  # type: ignore[attr-defined]


async def test_kinds_that_are_not_installed_yet_are_waited_for(
    tmp_path: Path, open_store: Open, server: ApiServer
) -> None:
    ours = {key: kind for key, kind in server.storage.kinds.items() if kind.custom}
    for key in ours:
        del server.storage.kinds[key]
    store = open_store()
    with pytest.raises(DatastoreError, match="does not serve GlobalNetworkSet: is its CRD installed"):
        store.list("GlobalNetworkSet")
    with pytest.raises(DatastoreError, match="does not serve GlobalNetworkSet: is its CRD installed"):
        store.create(network_set("a"))
    async with following(store, "GlobalNetworkSet", "Tier", synced=False) as follower:
        await asyncio.sleep(0.3)
        assert not follower.events
        server.storage.kinds.update(ours)
        await asyncio.to_thread(store.create, network_set("a"))
        await follower.until(lambda: follower.synced)
        await follower.until(lambda: follower.names() == {"a"})


async def test_a_kind_that_an_older_installation_lacks_counts_as_empty_where_that_means_the_same(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    kinds = server.storage.kinds
    staged, sets = kinds.pop((V3, "stagedglobalnetworkpolicies")), kinds.pop((V3, "globalnetworksets"))
    async with following(store, "StagedGlobalNetworkPolicy", "GlobalNetworkPolicy"):
        pass
    async with following(store, "StagedGlobalNetworkPolicy", "GlobalNetworkSet", synced=False) as follower:
        await asyncio.sleep(0.3)
        assert not follower.synced, "policies that name sets would match something else without them"
        kinds[V3, "globalnetworksets"] = sets
        await follower.until(lambda: follower.synced)
        kinds[V3, "stagedglobalnetworkpolicies"] = staged
        put(server, "stagedglobalnetworkpolicies", "p", spec=policy())
        await follower.until(lambda: follower.names("StagedGlobalNetworkPolicy") == {"p"})


def test_what_the_schema_refuses_is_refused_with_every_cause(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    kind = server.storage.kind(V3, "globalnetworksets")
    strict = {**kind.schema, "required": ["spec", "somethingElse"]}  # type: ignore[dict-item]
    server.storage.kinds[V3, "globalnetworksets"] = changed(kind, schema=strict)
    with pytest.raises(ManifestError, match=r"error with field somethingElse .*Required value"):
        store.create(network_set("a"))


async def test_one_watch_a_kind_asks_for_bookmarks_and_an_end_at_random(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    async with following(store, "GlobalNetworkSet", "Tier"):
        assert sorted(watch.plural for watch in server.watches) == ["globalnetworksets", "tiers"]
    watches = [asked.query for asked in server.faults.requests if asked.watch]
    assert all(each["allowWatchBookmarks"] == "true" for each in watches)
    assert all(240 <= int(each["timeoutSeconds"]) <= 480 for each in watches)
    assert all(each["sendInitialEvents"] == "true" for each in watches)


async def test_a_watch_that_is_closed_leaves_no_connection(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    async with following(store, "GlobalNetworkSet", "Tier") as follower:
        assert len(server.watches) == 2
    # The server notices at its next bookmark.
    await follower.until(lambda: not server.watches)


def test_a_lean_node_is_a_fraction_of_the_whole() -> None:
    raw = msgspec.json.encode(
        {
            "metadata": {
                "name": "n",
                "uid": "u",
                "resourceVersion": "7",
                "labels": {"a": "b"},
                "managedFields": [{}],
            },
            "spec": {"podCIDR": "10.0.0.0/24"},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
                "images": [{"names": ["x"]}],
            },
        }
    )
    lean, whole = decode(raw, "Node", lean=True).resource, decode(raw, "Node").resource
    assert lean is not None
    assert whole is not None
    assert lean.status.addresses == whole.status.addresses  # type: ignore[attr-defined]
    assert (lean.status.images, len(whole.status.images)) == ((), 1)  # type: ignore[attr-defined]


def test_a_status_that_comes_with_a_new_object_is_stored_too(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    created = store.create(msgspec.structs.replace(network_set("a"), status={"conditions": []}))
    assert created.status == {"conditions": []}
    assert store.create(node("n", "192.0.2.1")).status.addresses[0].address == "192.0.2.1"


@pytest.mark.parametrize(
    "url",
    [
        "kubernetes://host/",
        "kubernetes:///path",
        "kubernetes:///?nonsense=1",
        "kubernetes:///?kubeconfig=a&kubeconfig=b",
        "kubernetes:///?context=a",
        "kubernetes:///?kubeconfig=/no/such/file",
        "kubernetes:",
    ],
)
def test_a_bad_url_or_configuration_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(DatastoreError):
        open_datastore(url)


def test_a_url_names_a_cluster_by_its_kubeconfig(server: ApiServer, tmp_path: Path) -> None:
    store = open_datastore(f"kubernetes:///?kubeconfig={server.kubeconfig(tmp_path)}&context=it")
    assert store.create(network_set("a")).name == "a"


def test_a_storage_begins_as_an_empty_cluster_does() -> None:
    storage = Storage(served_by([]))
    assert [kind.plural for kind in storage.kinds.values()] == [kind.plural for kind in BUILT_IN]


def test_a_list_of_a_kind_that_an_older_installation_lacks_is_empty_and_questions_are_answered(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    store.create(network_set("a"))
    for plural in ("stagedglobalnetworkpolicies", "tiers"):
        del server.storage.kinds[V3, plural]
    assert store.list("Tier") == ([], "")
    assert "a" in {each.name for each in from_datastore(store).resources}
    del server.storage.kinds[V3, "globalnetworksets"]
    with pytest.raises(DatastoreError, match="does not serve GlobalNetworkSet"):
        from_datastore(store)
