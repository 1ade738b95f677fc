"""The embedded datastore as a directory of files: layout, hand edits, broken files, restarts."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from pyagent.datastore import EmbeddedDatastore, files, open_datastore
from pyagent.errors import AlreadyExistsError, ConflictError, DatastoreError, NotFoundError
from pyagent.model import Resource
from tests.support.by_hand import BROKEN, by_hand, write
from tests.support.datastore_contract import KIND, nets_of, next_event, synced
from tests.support.directories import quick_directory
from tests.support.resources import controllers_configuration, host_endpoint, network_set, node, service


@pytest.fixture
def root() -> Iterator[Path]:
    with quick_directory() as directory:
        yield directory / "store"


@pytest.fixture
def store(root: Path) -> EmbeddedDatastore:
    return EmbeddedDatastore(root)


def names(store: EmbeddedDatastore) -> list[str]:
    return [resource.name for resource in store.list(KIND)[0]]


HEP_BY_HAND = """\
# the office uplink
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: h}
spec: {node: n1, interfaceName: eth0}  # do not touch
"""


class TestStatuses:
    async def test_a_file_written_by_hand_stays_as_it_is_and_watches_hear_of_its_status(
        self, store: EmbeddedDatastore, root: Path
    ) -> None:
        file = root / "hostendpoints" / "h.yaml"
        write(file, HEP_BY_HAND)
        inode = file.stat().st_ino
        async with synced(store, "HostEndpoint") as events:
            first = store.get("HostEndpoint", "h")
            after = store.update_status(replace(first, status={"generation": 3}))
            assert (await next_event(events)).resource == after
        assert (file.read_text(), file.stat().st_ino) == (HEP_BY_HAND, inode)
        again = EmbeddedDatastore(root).get("HostEndpoint", "h")
        assert again == after
        assert again.metadata.generation == first.metadata.generation == 1
        assert again.metadata.resource_version != first.metadata.resource_version
        # An edit goes on from there.
        write(file, HEP_BY_HAND.replace("eth0", "eth1"))
        edited = store.get("HostEndpoint", "h")
        assert edited.spec.interface_name == "eth1"  # type: ignore[attr-defined]
        assert edited.status == {"generation": 3}  # type: ignore[attr-defined]
        assert edited.metadata.generation == 2

    def test_a_file_that_the_store_wrote_carries_its_status(
        self, store: EmbeddedDatastore, root: Path
    ) -> None:
        created = store.create(host_endpoint("h", "n1"))
        store.update_status(replace(created, status={"generation": 3}))
        assert "generation: 3" in (root / "hostendpoints" / "h.yaml").read_text().partition("status:")[2]


class TestLayout:
    def test_each_resource_is_one_yaml_file(self, store: EmbeddedDatastore, root: Path) -> None:
        store.create(network_set("a", "10.0.0.0/8"))
        store.create(service("one", "web"))
        text = (root / "globalnetworksets" / "a.yaml").read_text()
        assert "10.0.0.0/8" in text
        assert "kind: GlobalNetworkSet" in text
        assert (root / "services" / "one" / "web.yaml").is_file()

    def test_only_the_owner_may_read_anything(self, store: EmbeddedDatastore, root: Path) -> None:
        store.create(network_set("a"))
        store.create(service("one", "web"))
        for path in [root, *root.rglob("*")]:
            expected = 0o700 if path.is_dir() else 0o600
            assert stat.S_IMODE(path.stat().st_mode) == expected, path

    def test_a_directory_that_others_may_write_to_is_warned_of(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        tmp_path.chmod(0o755)
        EmbeddedDatastore(tmp_path)
        assert not caplog.records
        tmp_path.chmod(0o777)
        EmbeddedDatastore(tmp_path)
        assert "can be changed by other users" in caplog.text

    def test_a_deleted_resource_leaves_no_file(self, store: EmbeddedDatastore, root: Path) -> None:
        store.create(network_set("a"))
        assert list(root.rglob("a.yaml"))
        store.delete(KIND, "a")
        assert not list(root.rglob("a.yaml"))

    def test_left_over_temporary_files_are_ignored_and_removed(
        self, store: EmbeddedDatastore, root: Path
    ) -> None:
        store.create(network_set("a"))
        leftovers = [
            root / where / f"{files.TEMPORARY_PREFIX}1-2"
            for where in ("globalnetworksets", "nodes", ".last-good")
        ]
        for leftover in leftovers:
            leftover.write_text("half a file")
        assert names(store) == ["a"]
        assert names(EmbeddedDatastore(root)) == ["a"]
        assert not any(leftover.exists() for leftover in leftovers)

    def test_editors_files_beside_the_resources_are_ignored(
        self, store: EmbeddedDatastore, root: Path
    ) -> None:
        store.create(network_set("a"))
        for name in (".a.yaml.swp", "a.yaml~", "#a.yaml#", "4913", "README"):
            (root / "globalnetworksets" / name).write_text("not yaml: [")
        assert names(store) == ["a"]


class TestOpening:
    def test_a_path_and_a_dir_url_are_the_same_store(self, root: Path) -> None:
        open_datastore(str(root)).create(network_set("a"))
        assert open_datastore(f"dir://{root}").get(KIND, "a").name == "a"

    @pytest.mark.parametrize(
        "url", ["", "etcd://host:2379", "dir://host/path", "dir:relative", "kubernetes://"]
    )
    def test_anything_else_is_refused(self, url: str) -> None:
        with pytest.raises(DatastoreError):
            open_datastore(url)

    def test_a_file_is_not_a_datastore(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(DatastoreError, match="not a directory"):
            open_datastore(str(tmp_path / "file"))

    def test_everything_survives_a_restart(self, store: EmbeddedDatastore, root: Path) -> None:
        created: list[Resource] = [
            store.create(network_set("a", "10.0.0.0/8")),
            store.create(network_set("b")),
        ]
        again = EmbeddedDatastore(root)
        assert again.list(KIND) == (created, store.list(KIND)[1])

    def test_two_processes_share_one_sequence_of_versions(self, store: EmbeddedDatastore, root: Path) -> None:
        other = EmbeddedDatastore(root)
        versions = [
            each.create(network_set(name)).metadata.resource_version
            for each, name in ((store, "a"), (other, "b"), (store, "c"))
        ]
        assert versions == ["1", "2", "3"]
        with pytest.raises(AlreadyExistsError):
            store.create(network_set("b"))

    @pytest.mark.parametrize("damage", ["", "7", "garbage", "99999999999999999999999\n"])
    def test_a_damaged_counter_never_gives_a_version_out_again(
        self, store: EmbeddedDatastore, root: Path, damage: str
    ) -> None:
        highest = int(store.create(network_set("a")).metadata.resource_version)
        (root / ".revision").write_text(damage)
        assert (
            int(EmbeddedDatastore(root).create(network_set("b")).metadata.resource_version) > highest + 1000
        )

    def test_a_lock_held_too_long_is_an_error_and_not_a_hang(
        self, store: EmbeddedDatastore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(files, "LOCK_TIMEOUT_S", 0.05)
        with (root / ".lock").open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(DatastoreError, match="locked by another process"):
                store.create(network_set("a"))
        assert store.create(network_set("a")).name == "a"

    def test_reading_needs_no_lock(self, store: EmbeddedDatastore, root: Path) -> None:
        store.create(network_set("a"))
        with (root / ".lock").open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert names(store) == ["a"]
            assert names(EmbeddedDatastore(root)) == ["a"]

    def test_a_write_reaches_the_disk_before_its_name_and_its_name_before_the_answer(
        self, store: EmbeddedDatastore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.create(network_set("a"))
        steps: list[str] = []
        sync, rename = os.fsync, Path.rename

        def recorded_sync(descriptor: int) -> None:
            steps.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
            sync(descriptor)

        def recorded_rename(here: Path, there: Path) -> Path:
            steps.append(f"rename {there.relative_to(root)}")
            return rename(here, there)

        monkeypatch.setattr(os, "fsync", recorded_sync)
        monkeypatch.setattr(Path, "rename", recorded_rename)
        store.update(network_set("a", "10.0.0.0/8"))
        steps = [step for step in steps if ".last-good" not in step]
        assert [step.partition("-")[0] for step in steps] == [
            "sync .tmp",
            "rename globalnetworksets/a.yaml",
            "sync globalnetworksets",
        ]

    def test_a_removed_lock_file_does_not_let_two_writers_in(
        self, store: EmbeddedDatastore, root: Path
    ) -> None:
        store.create(network_set("a"))
        (root / ".lock").unlink()
        assert store.update(network_set("a", "10.0.0.0/8")).metadata.generation == 2
        assert (root / ".lock").exists()

    def test_a_vanished_directory_is_a_datastore_error(self, store: EmbeddedDatastore, root: Path) -> None:
        root.rename(root.with_name("moved"))
        with pytest.raises(DatastoreError):
            store.create(network_set("a"))


class TestHandEdits:
    def test_a_file_put_there_by_hand_becomes_a_resource(self, store: EmbeddedDatastore, root: Path) -> None:
        path = root / "globalnetworksets" / "a.yaml"
        text = by_hand("10.0.0.0/8", comment="# mine\n")
        write(path, text)
        found = store.get(KIND, "a")
        assert nets_of(found) == ("10.0.0.0/8",)
        assert found.metadata.uid
        assert found.metadata.creation_timestamp
        assert found.metadata.resource_version == "1"
        assert path.read_text() == text
        assert store.get(KIND, "a") == found
        assert EmbeddedDatastore(root).get(KIND, "a") == found

    @pytest.mark.parametrize(
        "metadata", ["", '  resourceVersion: "1"\n', '  resourceVersion: "999"\n  uid: other\n']
    )
    def test_an_edited_file_gets_a_new_version_whatever_it_claims(
        self, store: EmbeddedDatastore, root: Path, metadata: str
    ) -> None:
        created = store.create(network_set("a", "10.0.0.0/8"))
        write(root / "globalnetworksets" / "a.yaml", by_hand("11.0.0.0/8", metadata=metadata))
        edited = store.get(KIND, "a")
        assert nets_of(edited) == ("11.0.0.0/8",)
        assert edited.metadata.resource_version == "2"
        assert edited.metadata.uid == created.metadata.uid
        assert edited.metadata.creation_timestamp == created.metadata.creation_timestamp
        assert edited.metadata.generation == 2

    def test_an_edit_makes_what_was_read_before_stale(self, store: EmbeddedDatastore, root: Path) -> None:
        created = store.create(network_set("a", "10.0.0.0/8"))
        write(root / "globalnetworksets" / "a.yaml", by_hand("11.0.0.0/8"))
        with pytest.raises(ConflictError):
            store.update(replace(created, metadata=replace(created.metadata, labels={"x": "y"})))
        assert nets_of(store.get(KIND, "a")) == ("11.0.0.0/8",)

    def test_an_edit_that_changes_nothing_is_no_new_version(
        self, store: EmbeddedDatastore, root: Path
    ) -> None:
        created = store.create(network_set("a", "10.0.0.0/8"))
        path = root / "globalnetworksets" / "a.yaml"
        path.write_text("# only a comment\n" + path.read_text())
        assert store.get(KIND, "a") == created

    def test_going_back_to_an_older_text_is_a_new_version_for_every_reader(
        self, store: EmbeddedDatastore, root: Path
    ) -> None:
        other = EmbeddedDatastore(root)
        path = root / "globalnetworksets" / "a.yaml"
        versions = []
        for net in ("10.0.0.0/8", "11.0.0.0/8", "10.0.0.0/8"):
            write(path, by_hand(net))
            versions.append(other.get(KIND, "a").metadata.resource_version)
        assert versions == ["1", "2", "3"]
        assert store.get(KIND, "a").metadata.resource_version == "3"

    def test_two_readers_agree_on_what_an_edit_became(self, store: EmbeddedDatastore, root: Path) -> None:
        write(root / "globalnetworksets" / "a.yaml", by_hand("10.0.0.0/8"))
        assert store.get(KIND, "a") == EmbeddedDatastore(root).get(KIND, "a")

    def test_a_file_removed_by_hand_is_gone_and_a_new_one_is_a_new_resource(
        self, store: EmbeddedDatastore, root: Path
    ) -> None:
        created = store.create(network_set("a"))
        path = root / "globalnetworksets" / "a.yaml"
        path.unlink()
        with pytest.raises(NotFoundError):
            store.get(KIND, "a")
        assert names(store) == []
        write(path, by_hand())
        assert store.get(KIND, "a").metadata.uid != created.metadata.uid

    def test_a_status_that_an_edit_leaves_out_is_kept(self, store: EmbeddedDatastore, root: Path) -> None:
        store.create(replace(host_endpoint("h", "n1"), status={"policies": 3}))
        path = root / "hostendpoints" / "h.yaml"
        text = path.read_text()
        write(path, text[: text.index("status:")].replace("node: n1", "node: n2"))
        edited = store.get("HostEndpoint", "h")
        assert (getattr(edited, "spec").node, getattr(edited, "status")) == ("n2", {"policies": 3})  # noqa: B009

    def test_a_node_is_written_whole_because_no_kubelet_does_it(self, store: EmbeddedDatastore) -> None:
        store.create(node("n1", "10.0.0.1"))
        changed = store.update(node("n1", "10.0.0.2"))
        assert changed.status.addresses[0].address == "10.0.0.2"
        assert store.update(node("n1", labels={"x": ""})).status.addresses[0].address == "10.0.0.2"


class TestBrokenFiles:
    @pytest.mark.parametrize(
        "text",
        [
            BROKEN,
            "",
            by_hand("not-a-net"),
            by_hand("10.0.0.0/8", name="another"),
            by_hand("10.0.0.0/8") + "---\n" + by_hand("10.0.0.0/8"),
            by_hand("10.0.0.0/8").replace("GlobalNetworkSet", "Tier"),
            by_hand("10.0.0.0/8") + "bogus: field\n",
        ],
        ids=["syntax", "empty", "invalid", "name", "two documents", "kind", "unknown field"],
    )
    def test_the_last_good_version_stays_in_force_also_over_a_restart(
        self, store: EmbeddedDatastore, root: Path, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        good = store.create(network_set("a", "10.0.0.0/8"))
        write(root / "globalnetworksets" / "a.yaml", text)
        assert store.get(KIND, "a") == good
        assert store.list(KIND)[0] == [good]
        assert EmbeddedDatastore(root).list(KIND)[0] == [good]
        assert "broken file kind=GlobalNetworkSet name=a" in caplog.text

    def test_the_last_good_version_may_itself_be_an_edit(self, store: EmbeddedDatastore, root: Path) -> None:
        store.create(network_set("a", "10.0.0.0/8"))
        write(root / "globalnetworksets" / "a.yaml", by_hand("11.0.0.0/8"))
        edited = store.get(KIND, "a")
        write(root / "globalnetworksets" / "a.yaml", BROKEN)
        assert EmbeddedDatastore(root).get(KIND, "a") == edited
        assert nets_of(edited) == ("11.0.0.0/8",)

    @pytest.mark.parametrize("make", ["symlink", "directory", "pipe", "bytes"])
    def test_what_is_no_text_file_is_broken_and_never_followed(
        self, store: EmbeddedDatastore, root: Path, tmp_path: Path, make: str
    ) -> None:
        good = store.create(network_set("a", "10.0.0.0/8"))
        path = root / "globalnetworksets" / "a.yaml"
        path.unlink()
        outside = tmp_path / "outside.yaml"
        outside.write_text(by_hand("11.0.0.0/8"))
        match make:
            case "symlink":
                path.symlink_to(outside)
            case "directory":
                path.mkdir()
            case "pipe":
                os.mkfifo(path)
            case "bytes":
                path.write_bytes(b"\xff\xfe")
        assert store.get(KIND, "a") == good

    def test_a_file_that_never_was_good_is_an_error_and_no_resource(
        self, store: EmbeddedDatastore, root: Path
    ) -> None:
        write(root / "globalnetworksets" / "a.yaml", BROKEN)
        store.create(network_set("b"))
        assert names(store) == ["b"]
        with pytest.raises(DatastoreError, match=r"a\.yaml"):
            store.get(KIND, "a")
        with pytest.raises(AlreadyExistsError):
            store.create(network_set("a"))

    def test_a_broken_file_can_be_replaced_or_deleted(self, store: EmbeddedDatastore, root: Path) -> None:
        path = root / "globalnetworksets" / "a.yaml"
        write(path, BROKEN)
        assert store.update(network_set("a", "10.0.0.0/8")) == store.get(KIND, "a")
        write(path, BROKEN)
        store.delete(KIND, "a")
        assert names(store) == []
        assert not path.exists()

    def test_writing_the_last_good_version_again_repairs_the_file(
        self, store: EmbeddedDatastore, root: Path
    ) -> None:
        good = store.create(network_set("a", "10.0.0.0/8"))
        path = root / "globalnetworksets" / "a.yaml"
        write(path, BROKEN)
        store.update(good)
        assert "10.0.0.0/8" in path.read_text()

    def test_a_status_never_overwrites_what_somebody_is_editing(
        self, store: EmbeddedDatastore, root: Path
    ) -> None:
        config = store.create(controllers_configuration())
        path = root / "kubecontrollersconfigurations" / "default.yaml"
        write(path, BROKEN)
        with pytest.raises(DatastoreError, match=r"default\.yaml"):
            store.update_status(config)
        assert path.read_text() == BROKEN

    def test_a_record_of_an_earlier_release_in_yaml_is_read_as_it_is(
        self, store: EmbeddedDatastore, root: Path
    ) -> None:
        good = store.create(network_set("a", "10.0.0.0/8"))
        record = root / ".last-good" / "globalnetworksets" / "a.yaml"
        header, _, body = record.read_text().partition("\n")
        assert body.startswith("{")
        as_before = (root / "globalnetworksets" / "a.yaml").read_text()
        record.write_text(f"{header}\n{as_before}")
        assert EmbeddedDatastore(root).get(KIND, "a") == good
        assert record.read_text() == f"{header}\n{as_before}"  # nothing was adopted

    def test_a_record_of_another_resource_is_not_taken_for_this_one(
        self, store: EmbeddedDatastore, root: Path
    ) -> None:
        good = store.create(network_set("a", "10.0.0.0/8"))
        record = root / ".last-good" / "globalnetworksets" / "a.yaml"
        record.write_text(record.read_text().replace('"name": "a"', '"name": "b"'))
        found = EmbeddedDatastore(root).get(KIND, "a")
        assert found.name == "a"
        assert found.metadata.resource_version > good.metadata.resource_version

    def test_a_record_says_what_its_resource_says_in_every_kind_of_text(
        self, store: EmbeddedDatastore, root: Path
    ) -> None:
        labels = {"a.b/c": "x"}
        texts = {"note": 'line\nline\u2028\x85 \U0001f600 "quoted" # yes', "number": "1e3", "empty": ""}
        resource = network_set("a", "10.0.0.0/8")
        metadata = replace(resource.metadata, labels=labels, annotations=texts)
        good = store.create(replace(resource, metadata=metadata))
        assert good.metadata.annotations == texts
        assert EmbeddedDatastore(root).get(KIND, "a") == good

    def test_a_lost_record_costs_nothing_but_a_new_version(
        self, store: EmbeddedDatastore, root: Path
    ) -> None:
        good = store.create(network_set("a", "10.0.0.0/8"))
        record = root / ".last-good" / "globalnetworksets" / "a.yaml"
        for damage in ("garbage", f"# last good version, read from sha256:{'0' * 64}\n{BROKEN}"):
            record.write_text(damage)
            found = EmbeddedDatastore(root).get(KIND, "a")
            assert nets_of(found) == ("10.0.0.0/8",)
            assert found.metadata.resource_version > good.metadata.resource_version
