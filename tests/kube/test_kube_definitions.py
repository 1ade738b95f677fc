"""Installing the kinds: again changes nothing, and what somebody else serves is left alone."""

from __future__ import annotations

import copy

from pyagent.crds import definitions
from pyagent.datastore.kubernetes import KubernetesDatastore
from tests.support.apiserver import ApiServer
from tests.support.apiserver.kinds import Served

CRDS = ("apiextensions.k8s.io/v1", "customresourcedefinitions")


def test_kinds_are_created_then_unchanged_then_upgraded(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    assert {outcome for _, outcome in store.definitions.apply(definitions())} == {"created"}
    assert {outcome for _, outcome in store.definitions.apply(definitions())} == {"unchanged"}
    newer = copy.deepcopy(definitions())
    newer[0]["spec"]["names"]["shortNames"] = ["new"]
    outcomes = [outcome for _, outcome in store.definitions.apply(newer)]
    assert outcomes == ["upgraded", *["unchanged"] * (len(newer) - 1)]
    stored = server.storage.get(server.storage.kind(*CRDS), "", newer[0]["metadata"]["name"])
    assert stored["spec"]["names"]["shortNames"] == ["new"]


def test_where_somebody_else_defines_a_kind_nothing_of_its_group_is_touched(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    theirs = copy.deepcopy(definitions()[1])
    group = theirs["spec"]["group"]
    del theirs["spec"]["names"]["categories"]
    server.storage.create(server.storage.kind(*CRDS), "", theirs)
    outcomes = dict(store.definitions.apply(definitions()))
    for definition in definitions():
        outcome = outcomes[definition["metadata"]["name"]]
        assert outcome.startswith("left alone") == (definition["spec"]["group"] == group)
    assert server.faults.count("update", CRDS[1]) == 0
    assert "created" in outcomes.values(), "the other group is ours"


def test_where_an_aggregated_server_serves_the_group_nothing_is_installed(
    server: ApiServer, store: KubernetesDatastore
) -> None:
    kind = Served("apiregistration.k8s.io", "v1", "apiservices", "APIService", namespaced=False)
    server.storage.kinds[kind.api_version, kind.plural] = kind
    spec = {"service": {"name": "calico-api", "namespace": "calico-apiserver"}}
    server.storage.create(kind, "", {"metadata": {"name": "v3.projectcalico.org"}, "spec": spec})
    outcomes = dict(store.definitions.apply(definitions()))
    for definition in definitions():
        theirs = definition["spec"]["group"] == "projectcalico.org"
        assert ("aggregated API server" in outcomes[definition["metadata"]["name"]]) == theirs
    assert "created" in outcomes.values(), "the other group is ours"
