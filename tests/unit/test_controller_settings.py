"""The configuration in force, the status that shows it, and the environment's word."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pyagent import manifest
from pyagent.controller import SettingsError, reconcile_once
from pyagent.controller.settings import Environment, host_endpoint_config, status_of
from pyagent.model import KubeControllersConfiguration
from pyagent.model.config import HostEndpointTemplate, KubeControllersConfigurationSpec
from tests.support.memory_datastore import MemoryDatastore
from tests.support.resources import controllers_configuration, node

ASSUMED = {"DATASTORE_TYPE": "kubernetes", "ENABLED_CONTROLLERS": "node"}


def status(spec: KubeControllersConfigurationSpec, **environment: str) -> dict[str, object]:
    """The status as it is shown."""
    configuration = replace(
        controllers_configuration(), status=status_of(spec, Environment.read(environment))
    )
    return manifest.encode(configuration)["status"]


def running(spec: KubeControllersConfigurationSpec, **environment: str) -> dict[str, object]:
    return status(spec, **environment)["runningConfig"]  # type: ignore[return-value]


def initial() -> KubeControllersConfigurationSpec:
    return manifest.initial_kube_controllers_configuration().spec


def test_the_status_of_a_new_installation_is_the_one_of_the_walkthrough() -> None:
    assert status(initial()) == {
        "environmentVars": ASSUMED,
        "runningConfig": {
            "controllers": {"node": {"hostEndpoint": {"autoCreate": "Disabled"}, "syncLabels": "Disabled"}},
            "etcdV3CompactionPeriod": "10m0s",
            "healthChecks": "Enabled",
            "logSeverityScreen": "Info",
        },
    }


def test_an_enabled_node_controller_shows_everything_it_obeys() -> None:
    template = HostEndpointTemplate(generate_name="t", interface_cidrs=("10.0.0.0/8",))
    spec = controllers_configuration(auto_create="Enabled", templates=(template,)).spec
    shown = running(spec)["controllers"]
    assert shown == {
        "node": {
            "hostEndpoint": {
                "autoCreate": "Enabled",
                "createDefaultHostEndpoint": "Enabled",
                "templates": [{"generateName": "t", "interfaceCIDRs": ["10.0.0.0/8"]}],
            },
            "syncLabels": "Disabled",
        }
    }


def test_a_configuration_that_says_nothing_has_the_defaults() -> None:
    empty = KubeControllersConfigurationSpec()
    assert running(empty) == running(initial())
    config = host_endpoint_config(empty, Environment.read({}))
    assert (config.auto_create, config.create_default_host_endpoint) == ("Disabled", "Enabled")


def test_durations_are_shown_as_go_prints_them() -> None:
    spec = replace(initial(), etcd_v3_compaction_period="90m")
    assert running(spec)["etcdV3CompactionPeriod"] == "1h30m0s"


@pytest.mark.parametrize(
    ("value", "expected"), [("enabled", "Enabled"), ("disabled", "Disabled"), ("ENABLED", "Enabled")]
)
@pytest.mark.parametrize("resource", ["Enabled", "Disabled"])
def test_the_environment_decides_on_automatic_endpoints_whatever_the_resource_says(
    value: str, expected: str, resource: str
) -> None:
    spec = controllers_configuration(auto_create=resource).spec
    environment = Environment.read({"AUTO_HOST_ENDPOINTS": value})
    assert host_endpoint_config(spec, environment).auto_create == expected
    assert host_endpoint_config(spec, Environment.read({})).auto_create == resource
    assert status(spec, AUTO_HOST_ENDPOINTS=value)["environmentVars"] == ASSUMED | {
        "AUTO_HOST_ENDPOINTS": value
    }


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("LOG_LEVEL", "debug", "logSeverityScreen", "Debug"),
        ("LOG_LEVEL", "warning", "logSeverityScreen", "Warning"),
        ("HEALTH_ENABLED", "false", "healthChecks", "Disabled"),
        ("HEALTH_ENABLED", "true", "healthChecks", "Enabled"),
        ("COMPACTION_PERIOD", "30m", "etcdV3CompactionPeriod", "30m0s"),
    ],
)
def test_each_variable_beats_its_field_and_is_shown(
    variable: str, value: str, field: str, expected: str
) -> None:
    assert running(initial(), **{variable: value})[field] == expected
    assert status(initial(), **{variable: value})["environmentVars"] == ASSUMED | {variable: value}


def test_variables_without_effect_on_the_result_are_shown_too() -> None:
    given = {"SYNC_NODE_LABELS": "true", "RECONCILER_PERIOD": "1m", "ENABLED_CONTROLLERS": "node,policy"}
    assert status(initial(), **given)["environmentVars"] == ASSUMED | given
    assert running(initial(), **given) == running(initial())


def test_variables_that_mean_nothing_here_are_not_shown() -> None:
    assert status(initial(), PATH="/bin", HOME="/root")["environmentVars"] == ASSUMED


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AUTO_HOST_ENDPOINTS", "yes"),
        ("AUTO_HOST_ENDPOINTS", ""),
        ("AUTO_HOST_ENDPOINTS", "true"),
        ("SYNC_NODE_LABELS", "maybe"),
        ("HEALTH_ENABLED", "Enabled"),
        ("LOG_LEVEL", "loud"),
        ("COMPACTION_PERIOD", "10"),
        ("RECONCILER_PERIOD", "soon"),
        ("ENABLED_CONTROLLERS", "policy"),
        ("ENABLED_CONTROLLERS", "node,nonsense"),
        ("ENABLED_CONTROLLERS", ""),
    ],
)
def test_a_meaningless_value_is_fatal_and_nothing_is_written(variable: str, value: str) -> None:
    store = MemoryDatastore()
    with pytest.raises(SettingsError, match=variable):
        reconcile_once(store, {variable: value})
    assert store.list("KubeControllersConfiguration")[0] == []
    reconcile_once(store, {})
    assert len(store.list("KubeControllersConfiguration")[0]) == 1


class TestPredefinedResources:
    def test_all_are_written_at_the_first_start_and_none_at_the_second(self) -> None:
        store = MemoryDatastore()
        report = reconcile_once(store, {})
        assert sorted(report.predefined) == [
            "KubeControllersConfiguration/default",
            "Profile/projectcalico-default-allow",
            "Tier/default",
            "Tier/kube-admin",
            "Tier/kube-baseline",
        ]
        again = reconcile_once(store, {})
        assert not again.changed

    def test_the_default_configuration_is_complete_and_disabled(self) -> None:
        store = MemoryDatastore()
        reconcile_once(store, {})
        spec = manifest.encode(store.get("KubeControllersConfiguration", "default"))["spec"]
        period = {"reconcilerPeriod": "5m0s"}
        assert spec == {
            "controllers": {
                "loadBalancer": {"assignIPs": "AllServices"},
                "migration": {"policyNameMigrator": "Enabled"},
                "namespace": period,
                "node": period
                | {
                    "hostEndpoint": {"autoCreate": "Disabled", "createDefaultHostEndpoint": "Enabled"},
                    "leakGracePeriod": "15m0s",
                    "syncLabels": "Enabled",
                },
                "policy": period,
                "serviceAccount": period,
                "workloadEndpoint": period,
            },
            "etcdV3CompactionPeriod": "10m0s",
            "healthChecks": "Enabled",
            "logSeverityScreen": "Info",
            "prometheusMetricsPort": 9094,
        }

    def test_the_profile_allows_everything_both_ways(self) -> None:
        store = MemoryDatastore()
        reconcile_once(store, {})
        spec = manifest.encode(store.get("Profile", "projectcalico-default-allow"))["spec"]
        assert [rule["action"] for rule in spec["ingress"]] == ["Allow"]
        assert [rule["action"] for rule in spec["egress"]] == ["Allow"]

    def test_the_tiers_have_their_orders_and_actions(self) -> None:
        store = MemoryDatastore()
        reconcile_once(store, {})
        tiers = {each.name: manifest.encode(each)["spec"] for each in store.list("Tier")[0]}
        assert tiers == {
            "default": {"order": 1_000_000, "defaultAction": "Deny"},
            "kube-admin": {"order": 1_000, "defaultAction": "Pass"},
            "kube-baseline": {"order": 10_000_000, "defaultAction": "Pass"},
        }

    def test_what_exists_is_left_as_it_is(self) -> None:
        store = MemoryDatastore()
        configured = store.create(controllers_configuration(auto_create="Enabled"))
        store.create(node("n1", "10.0.0.1"))
        report = reconcile_once(store, {})
        assert "KubeControllersConfiguration/default" not in report.predefined
        stored = store.get("KubeControllersConfiguration", "default")
        assert isinstance(stored, KubeControllersConfiguration)
        assert stored.spec == configured.spec
        assert report.created == ["n1-auto-hep"]


class TestStatus:
    def test_the_status_is_rewritten_when_it_differs_and_only_then(self) -> None:
        store = MemoryDatastore()
        assert reconcile_once(store, {}).status_written
        assert not reconcile_once(store, {}).status_written
        store.update_status(replace(store.get("KubeControllersConfiguration", "default"), status=None))
        assert reconcile_once(store, {}).status_written
        assert reconcile_once(store, {"AUTO_HOST_ENDPOINTS": "enabled"}).status_written

    def test_a_deleted_configuration_is_written_again(self) -> None:
        store = MemoryDatastore()
        reconcile_once(store, {})
        store.delete("KubeControllersConfiguration", "default")
        assert reconcile_once(store, {}).predefined == ["KubeControllersConfiguration/default"]
