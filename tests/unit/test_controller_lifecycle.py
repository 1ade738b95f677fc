"""What becomes of automatic host endpoints when nodes, configuration, users and rivals change things."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from pyagent.controller import Report, reconcile_once
from pyagent.errors import DatastoreError
from pyagent.model import HostEndpoint, Node
from pyagent.model.config import HostEndpointTemplate
from pyagent.model.endpoint import EndpointPort
from tests.support.memory_datastore import MemoryDatastore
from tests.support.resources import controllers_configuration, host_endpoint, node

MARK = {"projectcalico.org/created-by": "calico-kube-controllers"}
INSIDE = HostEndpointTemplate(generate_name="inside", interface_cidrs=("10.0.0.0/8",))


class Cluster:
    """A datastore with a controller that runs when it is told to."""

    def __init__(self, store: MemoryDatastore, *templates: HostEndpointTemplate) -> None:
        self.store = store
        store.create(controllers_configuration(auto_create="Enabled", templates=templates))
        store.create(node("n1", "10.0.0.1", labels={"role": "db"}))
        store.create(node("n2", "10.0.0.2"))
        self.reconcile()

    def reconcile(self) -> Report:
        return reconcile_once(self.store, {})

    def configure(self, **config: object) -> None:
        self.store.update(controllers_configuration(**{"auto_create": "Enabled"} | config))

    def names(self) -> list[str]:
        return [each.name for each in self.store.list("HostEndpoint")[0]]

    def endpoint(self, name: str) -> HostEndpoint:
        found = self.store.get("HostEndpoint", name)
        assert isinstance(found, HostEndpoint)
        return found

    def edit(self, name: str, change: Callable[[HostEndpoint], HostEndpoint]) -> HostEndpoint:
        """A user's edit."""
        return self.store.update(change(self.endpoint(name)))


def relabelled(**labels: str) -> Callable[[HostEndpoint], HostEndpoint]:
    return lambda each: replace(each, metadata=replace(each.metadata, labels=labels))


def respecified(**fields: object) -> Callable[[HostEndpoint], HostEndpoint]:
    return lambda each: replace(each, spec=replace(each.spec, **fields))


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(MemoryDatastore())


class TestNodes:
    def test_every_node_has_its_endpoint_after_the_first_pass(self, cluster: Cluster) -> None:
        assert cluster.names() == ["n1-auto-hep", "n2-auto-hep"]
        assert not cluster.reconcile().changed

    def test_a_new_node_gets_its_endpoint(self, cluster: Cluster) -> None:
        cluster.store.create(node("n3", "10.0.0.3"))
        assert cluster.reconcile().created == ["n3-auto-hep"]

    def test_a_label_of_the_node_is_carried_over(self, cluster: Cluster) -> None:
        before = cluster.endpoint("n1-auto-hep")
        cluster.store.update(node("n1", labels={"role": "web", "zone": "a"}))
        assert cluster.reconcile().updated == ["n1-auto-hep"]
        after = cluster.endpoint("n1-auto-hep")
        assert after.metadata.labels == {"role": "web", "zone": "a"} | MARK
        assert after.metadata.uid == before.metadata.uid

    def test_an_address_of_the_node_is_carried_over(self, cluster: Cluster) -> None:
        cluster.store.update(node("n1", "10.0.0.9", labels={"role": "db"}))
        assert cluster.reconcile().updated == ["n1-auto-hep"]
        assert cluster.endpoint("n1-auto-hep").spec.expected_ips == ("10.0.0.9",)

    def test_a_node_that_changes_in_nothing_that_counts_causes_no_write(self, cluster: Cluster) -> None:
        stored = cluster.store.get("Node", "n1")
        assert isinstance(stored, Node)
        cluster.store.update(replace(stored, status=replace(stored.status, phase="Running")))
        assert not cluster.reconcile().changed

    def test_a_deleted_node_takes_all_its_endpoints_with_it_and_no_others(self) -> None:
        cluster = Cluster(MemoryDatastore(), INSIDE)
        assert len(cluster.names()) == 4
        cluster.store.delete("Node", "n1")
        assert sorted(cluster.reconcile().deleted) == ["n1-auto-hep", "n1-inside-auto-hep"]
        assert cluster.names() == ["n2-auto-hep", "n2-inside-auto-hep"]


class TestConfiguration:
    def test_disabling_deletes_every_automatic_endpoint_and_no_other(self, cluster: Cluster) -> None:
        cluster.store.create(host_endpoint("mine", "n1"))
        cluster.configure(auto_create="Disabled")
        assert sorted(cluster.reconcile().deleted) == ["n1-auto-hep", "n2-auto-hep"]
        assert cluster.names() == ["mine"]

    def test_enabling_again_makes_them_again(self, cluster: Cluster) -> None:
        cluster.configure(auto_create="Disabled")
        cluster.reconcile()
        cluster.configure()
        assert cluster.reconcile().created == ["n1-auto-hep", "n2-auto-hep"]

    def test_disabling_the_default_endpoint_leaves_the_templates(self) -> None:
        cluster = Cluster(MemoryDatastore(), INSIDE)
        cluster.configure(create_default_host_endpoint="Disabled", templates=(INSIDE,))
        assert cluster.reconcile().deleted == ["n1-auto-hep", "n2-auto-hep"]
        assert cluster.names() == ["n1-inside-auto-hep", "n2-inside-auto-hep"]

    def test_a_renamed_template_replaces_its_endpoints(self) -> None:
        cluster = Cluster(MemoryDatastore(), INSIDE)
        cluster.configure(templates=(replace(INSIDE, generate_name="other"),))
        report = cluster.reconcile()
        assert report.created == ["n1-other-auto-hep", "n2-other-auto-hep"]
        assert report.deleted == ["n1-inside-auto-hep", "n2-inside-auto-hep"]

    @pytest.mark.parametrize(
        "changed",
        [replace(INSIDE, node_selector="role == 'db'"), replace(INSIDE, interface_cidrs=("10.0.0.1/32",))],
        ids=["selector", "cidr"],
    )
    def test_a_template_that_no_longer_matches_a_node_loses_that_endpoint(
        self, changed: HostEndpointTemplate
    ) -> None:
        cluster = Cluster(MemoryDatastore(), INSIDE)
        cluster.configure(templates=(changed,))
        assert cluster.reconcile().deleted == ["n2-inside-auto-hep"]
        assert "n1-inside-auto-hep" in cluster.names()

    def test_a_template_that_cannot_be_used_changes_no_endpoint(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pyagent.manifest.validate", lambda _resource: [])
        cluster.configure(templates=(replace(INSIDE, node_selector="role =="),))
        cluster.store.delete("Node", "n1")
        report = cluster.reconcile()
        assert [name for name, _ in report.failed] == ["default"]
        assert cluster.names() == ["n1-auto-hep", "n2-auto-hep"]

    def test_a_configuration_that_cannot_be_read_changes_no_endpoint(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cluster.store.delete("KubeControllersConfiguration", "default")

        def refuse(*_arguments: object) -> None:
            raise DatastoreError("broken file")

        with monkeypatch.context() as patch:
            patch.setattr(cluster.store, "create", refuse)
            report = cluster.reconcile()
        assert report.failed
        assert cluster.names() == ["n1-auto-hep", "n2-auto-hep"]


class TestEdits:
    @pytest.mark.parametrize(
        "change",
        [
            relabelled(role="web", **MARK),
            relabelled(**MARK),
            relabelled(role="db", extra="1", **MARK),
            respecified(expected_ips=("10.0.0.7",)),
            respecified(interface_name="eth0"),
            lambda each: replace(each, metadata=replace(each.metadata, annotations={"a": "b"})),
        ],
        ids=["label", "label removed", "label added", "expectedIPs", "interfaceName", "annotation"],
    )
    def test_an_edit_of_what_is_compared_is_undone(
        self, cluster: Cluster, change: Callable[[HostEndpoint], HostEndpoint]
    ) -> None:
        before = cluster.endpoint("n1-auto-hep")
        edited = cluster.edit("n1-auto-hep", change)
        assert edited != before
        assert cluster.reconcile().updated == ["n1-auto-hep"]
        after = cluster.endpoint("n1-auto-hep")
        assert (after.spec, after.metadata.labels, after.metadata.annotations) == (
            before.spec,
            before.metadata.labels,
            before.metadata.annotations,
        )

    def test_a_deleted_endpoint_is_made_again(self, cluster: Cluster) -> None:
        cluster.store.delete("HostEndpoint", "n1-auto-hep")
        assert cluster.reconcile().created == ["n1-auto-hep"]

    @pytest.mark.parametrize(
        "fields",
        [
            {"profiles": ("mine",)},
            {"ports": (EndpointPort(name="web", port=80, protocol="TCP"),)},
            {"node": "n2"},
        ],
        ids=["profiles", "ports", "node"],
    )
    def test_an_edit_of_profiles_ports_or_node_lives_until_another_field_is_written(
        self, cluster: Cluster, fields: dict[str, object]
    ) -> None:
        before = cluster.endpoint("n1-auto-hep")
        edited = cluster.edit("n1-auto-hep", respecified(**fields))
        assert not cluster.reconcile().changed
        assert cluster.endpoint("n1-auto-hep") == edited
        cluster.store.update(node("n1", labels={"role": "web"}))
        assert cluster.reconcile().updated == ["n1-auto-hep"]
        assert cluster.endpoint("n1-auto-hep").spec == before.spec

    def test_an_endpoint_moved_to_a_node_that_does_not_exist_is_made_anew(self, cluster: Cluster) -> None:
        cluster.edit("n1-auto-hep", respecified(node="nowhere"))
        report = cluster.reconcile()
        assert (report.deleted, report.created) == (["n1-auto-hep"], ["n1-auto-hep"])
        assert cluster.endpoint("n1-auto-hep").spec.node == "n1"

    def test_without_its_mark_an_endpoint_is_no_longer_automatic(
        self, cluster: Cluster, caplog: pytest.LogCaptureFixture
    ) -> None:
        unmarked = cluster.edit("n1-auto-hep", relabelled(role="mine"))
        report = cluster.reconcile()
        assert report.foreign == ["n1-auto-hep"]
        assert not report.changed
        assert "n1-auto-hep" in caplog.text
        cluster.store.delete("Node", "n1")
        cluster.reconcile()
        assert cluster.endpoint("n1-auto-hep") == unmarked


class TestForeignEndpoints:
    def test_one_of_the_same_name_is_left_alone_with_a_warning_and_taken_over_when_it_goes(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = MemoryDatastore()
        mine = store.create(host_endpoint("n1-auto-hep", "n1", labels={"owner": "me"}, interface_name="eth0"))
        cluster = Cluster(store)
        assert cluster.endpoint("n1-auto-hep") == mine
        assert cluster.names() == ["n1-auto-hep", "n2-auto-hep"]
        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert ["n1-auto-hep" in record.getMessage() for record in warnings] == [True]
        store.delete("HostEndpoint", "n1-auto-hep")
        assert cluster.reconcile().created == ["n1-auto-hep"]

    def test_another_creators_mark_is_not_ours(self, cluster: Cluster) -> None:
        cluster.store.create(host_endpoint("theirs", "gone", labels={"projectcalico.org/created-by": "them"}))
        assert not cluster.reconcile().changed
        assert "theirs" in cluster.names()

    @pytest.mark.parametrize("node_name", ["n1", "gone"])
    def test_one_that_carries_the_mark_under_an_unexpected_name_is_deleted(
        self, cluster: Cluster, node_name: str
    ) -> None:
        cluster.store.create(host_endpoint("dangling", node_name, labels=MARK))
        cluster.store.create(host_endpoint("mine", node_name))
        assert cluster.reconcile().deleted == ["dangling"]
        assert cluster.names() == ["mine", "n1-auto-hep", "n2-auto-hep"]


class TestRivals:
    """Somebody else writes between our reading and our writing."""

    def test_an_update_that_meets_a_newer_version_is_tried_again_on_it(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cluster.store.update(node("n1", labels={"role": "web"}))
        interfere(cluster, monkeypatch, "update", lambda: relabel_behind_our_back(cluster), times=1)
        report = cluster.reconcile()
        assert (report.updated, report.failed) == (["n1-auto-hep"], [])
        assert cluster.endpoint("n1-auto-hep").metadata.labels == {"role": "web"} | MARK

    def test_a_creation_that_comes_second_takes_what_is_there(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wanted = cluster.endpoint("n1-auto-hep")
        cluster.store.delete("HostEndpoint", "n1-auto-hep")
        interfere(
            cluster, monkeypatch, "create", lambda: MemoryDatastore.create(cluster.store, wanted), times=1
        )
        report = cluster.reconcile()
        assert (report.created, report.updated, report.failed) == ([], [], [])
        assert cluster.endpoint("n1-auto-hep").spec == wanted.spec

    def test_an_endpoint_that_loses_its_mark_while_it_is_deleted_stays(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cluster.store.delete("Node", "n1")

        def unmark() -> None:
            MemoryDatastore.update(cluster.store, relabelled(role="mine")(cluster.endpoint("n1-auto-hep")))

        interfere(cluster, monkeypatch, "delete", unmark, times=1)
        report = cluster.reconcile()
        assert (report.deleted, report.failed) == ([], [])
        assert "n1-auto-hep" in cluster.names()

    def test_a_rival_that_never_stops_is_reported_and_the_others_are_served(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cluster.store.update(node("n1", labels={"role": "web"}))
        cluster.store.create(node("n3", "10.0.0.3"))
        interfere(cluster, monkeypatch, "update", lambda: relabel_behind_our_back(cluster), times=100)
        report = cluster.reconcile()
        assert [name for name, _ in report.failed] == ["n1-auto-hep"]
        assert report.created == ["n3-auto-hep"]

    def test_one_endpoint_that_cannot_be_written_does_not_stop_the_others(
        self, cluster: Cluster, caplog: pytest.LogCaptureFixture
    ) -> None:
        pattern = HostEndpointTemplate(generate_name="t", interface_pattern=".")
        listed = '[{"name": "Not_A_Name", "addresses": []}, {"name": "eth0", "addresses": []}]'
        cluster.configure(templates=(pattern,))
        cluster.store.create(node("n3", "10.0.0.3", annotations={"projectcalico.org/Interfaces": listed}))
        report = cluster.reconcile()
        assert [name for name, _ in report.failed] == ["n3-t-Not_A_Name-auto-hep"]
        assert report.created == ["n3-auto-hep", "n3-t-eth0-auto-hep"]
        assert "n3-t-Not_A_Name-auto-hep" in caplog.text


def relabel_behind_our_back(cluster: Cluster) -> None:
    """A change of the endpoint that goes around whatever ``interfere`` put in the way."""
    stored = cluster.endpoint("n1-auto-hep")
    generation = len(stored.metadata.labels.get("rival", "")) + 1
    MemoryDatastore.update(cluster.store, relabelled(rival="x" * generation, **MARK)(stored))


def interfere(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, method: str, rival: Callable[[], object], times: int
) -> None:
    """Let ``rival`` act right before each of the next calls of a datastore method for a host endpoint."""
    original = getattr(cluster.store, method)
    left = [times]

    def interfered(*arguments: object, **named: object) -> object:
        first = arguments[0]
        if left[0] and "HostEndpoint" in (first, getattr(first, "kind", None)):
            left[0] -= 1
            rival()
        return original(*arguments, **named)

    monkeypatch.setattr(cluster.store, method, interfered)
