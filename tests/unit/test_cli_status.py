"""`hepctl status`: nodes and policies as agents and controller have reported them."""

from __future__ import annotations

import json

from msgspec.structs import replace

from pyagent.model.status import Condition, HostEndpointStatus, PolicyStatus, Truth

MANIFESTS = """
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: a}
spec: {node: node-a, interfaceName: "*"}
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: b}
spec: {node: node-b, interfaceName: "*"}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: web}
spec: {selector: all(), ingress: [{action: Allow}]}
"""


def protected(truth: Truth, message: str = "") -> Condition:
    return Condition(type="Protected", status=truth, reason="Because", message=message)


def report(hepctl, kind, name, status):
    found = hepctl.datastore.get(kind, name)
    hepctl.datastore.update_status(replace(found, status=status.wire()))


def node(truth: Truth, message: str = "", **more) -> HostEndpointStatus:
    return HostEndpointStatus(conditions=(protected(truth, message),), generation=7, **more)


def in_force(realized: int) -> PolicyStatus:
    accepted = Condition(type="Accepted", status=Truth.TRUE)
    return PolicyStatus(conditions=(accepted,), selected=2, realized=realized, summary=f"{realized}/2")


def test_nobody_has_reported_yet(hepctl):
    hepctl.prepare(MANIFESTS)
    result = hepctl("status")
    assert result.exit_code == 1
    assert "host endpoints: 0 of 2 protected" in result.stdout
    assert result.stdout.count("no agent has reported") == 2
    assert result.stdout.count("no controller has reported") == 1


def test_all_is_well_and_nothing_but_the_sums_is_shown(hepctl):
    hepctl.prepare(MANIFESTS)
    for name in "ab":
        report(hepctl, "HostEndpoint", name, node(Truth.TRUE))
    report(hepctl, "GlobalNetworkPolicy", "web", in_force(2))
    result = hepctl("status")
    assert result.exit_code == 0, result.output
    assert "2 of 2 protected" in result.stdout
    assert "1 of 1 in force wherever they apply" in result.stdout
    assert "node-a" not in result.stdout
    assert "node-a" in hepctl("status", "--all").stdout


def test_a_node_without_protection_a_policy_under_way_and_a_full_table_are_shown(hepctl):
    hepctl.prepare(MANIFESTS)
    report(hepctl, "HostEndpoint", "a", node(Truth.FALSE, "eth1 is not filtered"))
    report(hepctl, "HostEndpoint", "b", node(Truth.TRUE, pressure={"flows4": 90}))
    report(hepctl, "GlobalNetworkPolicy", "web", in_force(1))
    result = hepctl("status")
    assert result.exit_code == 1
    assert "eth1 is not filtered" in result.stdout
    assert "node-b flows4 90%" in result.stdout
    assert "1/2" in result.stdout
    found = json.loads(hepctl("status", "-o", "json").stdout)
    assert [each["protected"] for each in found["nodes"]] == ["False", "True"]
    assert [(each["realized"], each["selected"]) for each in found["policies"]] == [(1, 2)]
