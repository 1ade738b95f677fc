"""The stand-in answers as an API server does where our code relies on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver import Storage
from tests.support.apiserver.journal import JournaledStorage
from tests.support.apiserver.kinds import Served
from tests.support.apiserver.routes import check_query
from tests.support.apiserver.storage import ApiError

V3 = "projectcalico.org/v3"


@pytest.fixture
def sets() -> tuple[Storage, Served]:
    storage = Storage()
    return storage, storage.kind(V3, "globalnetworksets")


def a_set(name: str, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}, "spec": {"nets": ["10.0.0.0/8"]}}


def refused(code: int) -> Any:
    return pytest.raises(ApiError, check=lambda error: error.code == code)


def test_a_new_object_has_no_version_and_an_update_has_the_name_of_its_path(
    sets: tuple[Storage, Served],
) -> None:
    storage, kind = sets
    with refused(500):
        storage.create(kind, "", a_set("a", resourceVersion="5"))
    stored = storage.create(kind, "", a_set("a"))
    version = stored["metadata"]["resourceVersion"]
    with refused(400):
        storage.update(kind, "", "a", a_set("b", resourceVersion=version))
    with refused(422):
        storage.update(kind, "", "a", a_set("a"))
    storage.update(kind, "", "a", a_set("a", resourceVersion=version))


def test_a_page_may_be_asked_for_twice_and_not_after_a_restart(sets: tuple[Storage, Served]) -> None:
    storage, kind = sets
    for name in "abc":
        storage.create(kind, "", a_set(name))
    _, _, token = storage.list(kind, "", 2)
    assert storage.list(kind, "", 2, token) == storage.list(kind, "", 2, token)
    storage.compact()
    with refused(410):
        storage.list(kind, "", 2, token)


def test_what_is_not_served_is_said_in_plain_words_and_what_is_missing_by_name(
    sets: tuple[Storage, Served],
) -> None:
    storage, kind = sets
    with pytest.raises(ApiError) as unknown:
        storage.kind(V3, "novelties")
    assert unknown.value.body() == b"404 page not found\n"
    with pytest.raises(ApiError) as missing:
        storage.get(kind, "", "a")
    assert missing.value.status["details"]["name"] == "a"


def test_a_definition_takes_its_objects_with_it_and_every_watcher_is_told(
    sets: tuple[Storage, Served],
) -> None:
    from pyagent.crds import definitions

    storage, kind = sets
    crds = storage.kind("apiextensions.k8s.io/v1", "customresourcedefinitions")
    (crd,) = (each for each in definitions() if each["spec"]["names"]["plural"] == kind.plural)
    storage.create(crds, "", crd)
    storage.create(kind, "", a_set("a"))
    shelf = storage.shelf(kind)
    storage.delete(crds, "", crd["metadata"]["name"], {})
    assert [type_ for _, type_, _ in shelf.history] == ["ADDED", "DELETED"]
    assert not storage.serves(kind)


@pytest.mark.parametrize(
    "spec",
    [{"leaseDurationSeconds": 0}, {"renewTime": "yesterday"}, {"renewTime": "2026-01-01T00:00:00Z"}],
    ids=str,
)
def test_a_lease_that_candidates_could_not_read_is_refused(spec: dict[str, Any]) -> None:
    storage = Storage()
    kind = storage.kind("coordination.k8s.io/v1", "leases")
    with refused(422):
        storage.create(kind, "default", {"metadata": {"name": "l"}, "spec": spec})
    good = {"leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"}
    storage.create(kind, "default", {"metadata": {"name": "l"}, "spec": good})


def test_what_the_stand_in_does_not_do_is_refused_and_not_ignored() -> None:
    check_query({"watch": "true", "labelSelector": ""})
    with refused(501):
        check_query({"labelSelector": "a=b"})


def test_what_was_stored_outlives_the_process_though_the_last_line_is_half_written(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    storage = JournaledStorage(journal)
    kind = storage.kind(V3, "globalnetworksets")
    for name in "abc":
        storage.create(kind, "", a_set(name))
    storage.delete(kind, "", "b", {})
    storage.close()
    with journal.open("a") as file:
        file.write('[999, "ADDED", "projectcal')
    again = JournaledStorage(journal)
    kept = again.list(again.kind(V3, "globalnetworksets"), "")[0]
    assert [each["metadata"]["name"] for each in kept] == ["a", "c"]
    assert again.revision > storage.revision
    again.create(kind, "", a_set("d"))
    again.close()
    third = JournaledStorage(journal)
    third.close()
    assert len(third.list(kind, "")[0]) == 3
