"""How resources are written: what a merge keeps, what a lost race does, what comes first."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pyagent import manifest
from pyagent.cli import writing
from pyagent.errors import ConflictError

NODE = """
apiVersion: v1
kind: Node
metadata: {name: n, labels: {a: "1", b: "2"}, annotations: {projectcalico.org/IPv4Address: 10.0.0.1/24}}
status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}
"""
CONFIGURATION = """
apiVersion: projectcalico.org/v3
kind: KubeControllersConfiguration
metadata: {name: default}
"""


def one(text):
    (document,) = manifest.load(text)
    assert document.resource is not None
    return document.resource


class Contested:
    """A datastore in which somebody else is faster, ``times`` times."""

    def __init__(self, inner, times):
        self.inner, self.times = inner, times

    def get(self, kind, name, namespace=""):
        return self.inner.get(kind, name, namespace)

    def update(self, resource):
        if self.times:
            self.times -= 1
            raise ConflictError(resource.kind, resource.name)
        return self.inner.update(resource)


def test_apply_replaces_labels_and_keeps_what_the_store_gave(hepctl):
    store = hepctl.datastore
    created = writing.apply(store, one(NODE))
    written = writing.apply(store, one(NODE.replace('a: "1", b', "c")))
    assert written.metadata.labels == {"c": "2"}
    assert written.metadata.uid == created.metadata.uid
    assert written.metadata.creation_timestamp == created.metadata.creation_timestamp
    assert written.metadata.resource_version != created.metadata.resource_version


def test_status_of_a_node_is_the_users_and_of_a_configuration_the_controllers(hepctl):
    store = hepctl.datastore
    writing.apply(store, one(NODE))
    moved = writing.apply(store, one(NODE.replace("10.0.0.1}", "10.0.0.9}")))
    assert moved.status.addresses[0].address == "10.0.0.9"
    writing.apply(store, one(CONFIGURATION))
    reported = one(f"{CONFIGURATION}status: {{environmentVars: {{A: b}}}}\n")
    store.update_status(replace(reported, metadata=store.get(reported.kind, "default").metadata))
    kept = writing.apply(store, one(f"{CONFIGURATION}spec: {{healthChecks: Disabled}}\n"))
    assert kept.status.environment_vars == {"A": "b"}
    assert kept.spec.health_checks == "Disabled"


@pytest.mark.parametrize("times", [1, writing.RETRIES])
def test_lost_race_is_run_again(hepctl, times):
    writing.create(hepctl.datastore, one(NODE))
    contested = Contested(hepctl.datastore, times)
    assert writing.replace(contested, one(NODE.replace("b:", "c:"))).metadata.labels == {"a": "1", "c": "2"}


def test_race_lost_again_and_again_is_a_conflict(hepctl):
    writing.create(hepctl.datastore, one(NODE))
    with pytest.raises(ConflictError):
        writing.replace(Contested(hepctl.datastore, writing.RETRIES + 1), one(NODE))


def test_stale_version_is_not_tried_again(hepctl):
    stored = writing.create(hepctl.datastore, one(NODE))
    contested = Contested(hepctl.datastore, 1)
    with pytest.raises(ConflictError):
        writing.replace(contested, stored)
    assert writing.replace(contested, stored).metadata.uid == stored.metadata.uid


def test_copy_from_another_datastore_is_created_anew(hepctl):
    foreign = one(NODE.replace("{name: n", '{name: n, resourceVersion: "77", uid: x-y'))
    assert writing.apply(hepctl.datastore, foreign).metadata.uid != "x-y"


def test_what_others_refer_to_is_written_first_and_deleted_last(hepctl):
    text = """
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: t.p}
spec: {tier: t}
---
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: t}
"""
    hepctl.prepare(text)
    tier = hepctl.datastore.get("Tier", "t")
    policy = hepctl.datastore.get("GlobalNetworkPolicy", "t.p")
    assert int(tier.metadata.resource_version) < int(policy.metadata.resource_version)
    assert hepctl("delete", "-f", "-", text=text).stdout == "Successfully deleted 2 resource(s)\n"
