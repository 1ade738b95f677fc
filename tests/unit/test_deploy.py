"""What is deployed: chart and kustomize say the same, valid by Kubernetes' schemas, with known options."""

from __future__ import annotations

import copy
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pyagent.controller.settings import Environment, host_endpoint_config
from pyagent.model.config import KubeControllersConfigurationSpec

PROJECT = Path(__file__).parents[2]
KUSTOMIZE = PROJECT / "deploy" / "kustomize"
#: The oldest and the newest release that the schemas are at hand for.
RELEASES = ("1.30", "1.37")
VARIANTS = {
    "base": ("--set", "namespace.create=true"),
    "overlays/privileged": ("--set", "namespace.create=true,agent.privileged=true"),
    "overlays/limit-agents": ("--set", "namespace.create=true,admission.limitAgents=true"),
    "overlays/webhook": ("--set", "namespace.create=true,webhook.enabled=true"),
}

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def manifests() -> ModuleType:
    subprocess.run([PROJECT / "scripts" / "deploy-tools"], check=True, capture_output=True)
    spec = importlib.util.spec_from_file_location("manifests", PROJECT / "scripts" / "manifests.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["manifests"] = module
    spec.loader.exec_module(module)
    return module


def by_name(text: str) -> dict[tuple[str, str], Manifest]:
    found = [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def built(manifests: ModuleType, place: str) -> dict[tuple[str, str], Manifest]:
    command = [manifests.TOOLS / "kubectl", "kustomize", KUSTOMIZE / place]
    return by_name(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def complaints(manifest: Manifest, release: str) -> str:
    try:
        kubernetes_validate.validate(manifest, release, strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error.message)
    return ""


def test_what_is_made_from_the_chart_is_not_stale(manifests: ModuleType) -> None:
    stale = [str(path) for path, content in manifests.files().items() if path.read_text() != content]
    assert stale == [], "run `make manifests`"


@pytest.mark.parametrize("place", VARIANTS)
def test_chart_and_kustomize_make_the_same(manifests: ModuleType, place: str) -> None:
    rendered = by_name(manifests.render("--include-crds", *VARIANTS[place]))
    assert built(manifests, place) == rendered
    assert ("DaemonSet", "autohep-agent") in rendered


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("place", VARIANTS)
def test_kubernetes_accepts_every_object(manifests: ModuleType, place: str, release: str) -> None:
    found = built(manifests, place)
    assert {name: said for name, each in found.items() if (said := complaints(each, release))} == {}


@pytest.mark.parametrize(
    "path",
    ["tolerationz", "containers/0/readOnlyRootFilesystem", "containers/0/securityContext/dropCapabilities"],
)
def test_a_misspelt_field_is_found(manifests: ModuleType, path: str) -> None:
    daemon_set = copy.deepcopy(built(manifests, "base")["DaemonSet", "autohep-agent"])
    *steps, last = path.split("/")
    at = daemon_set["spec"]["template"]["spec"]
    for step in steps:
        at = at[int(step)] if isinstance(at, list) else at[step]
    assert complaints(daemon_set, "1.37") == ""
    at[last] = {}
    assert last in complaints(daemon_set, "1.37")


def pod(manifests: ModuleType, kind: str, name: str) -> Manifest:
    spec: Manifest = built(manifests, "overlays/webhook")[kind, name]["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("DaemonSet", "autohep-agent"),
        ("Deployment", "autohep-controller"),
        ("Deployment", "autohep-webhook"),
    ],
)
def test_the_daemons_know_every_option_they_are_given(manifests: ModuleType, kind: str, name: str) -> None:
    (container,) = pod(manifests, kind, name)["containers"]
    verb, *options = container["args"]
    hepctl = PROJECT / ".venv" / "bin" / "hepctl"
    said = subprocess.run([hepctl, verb, "--help"], capture_output=True, text=True, check=True).stdout
    assert [each for each in options if f"{each.partition('=')[0]} " not in said] == []


def test_the_webhook_fails_open_and_is_found_under_the_name_its_certificate_is_for(
    manifests: ModuleType,
) -> None:
    objects = built(manifests, "overlays/webhook")
    (webhook,) = objects["ValidatingWebhookConfiguration", "autohep"]["webhooks"]
    assert webhook["failurePolicy"] == "Ignore"
    called = webhook["clientConfig"]["service"]
    service = objects["Service", called["name"]]
    assert called["namespace"] == service["metadata"]["namespace"] == "autohep-system"
    template = objects["Deployment", "autohep-webhook"]["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    (container,) = template["spec"]["containers"]
    (port,), (served,) = container["ports"], service["spec"]["ports"]
    assert (called["port"], served["targetPort"]) == (served["port"], port["name"])
    assert f"--address=0.0.0.0:{port['containerPort']}" in container["args"]
    assert ("Deployment", "autohep-webhook") not in built(manifests, "base"), "it is a choice"


@pytest.mark.parametrize("name", ["autohep-controller", "autohep-webhook"])
def test_a_drain_takes_one_replica_at_a_time_of_what_has_several(manifests: ModuleType, name: str) -> None:
    objects = built(manifests, "overlays/webhook")
    budget, deployment = objects["PodDisruptionBudget", name]["spec"], objects["Deployment", name]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["replicas"] > budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    assert budget["selector"] == deployment["selector"]


@pytest.mark.parametrize("value", ["enabled", ""])
def test_host_endpoints_can_be_switched_on_at_install(manifests: ModuleType, value: str) -> None:
    objects = by_name(manifests.render("--set", f"controller.autoHostEndpoints={value}"))
    (container,) = objects["Deployment", "autohep-controller"]["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each["value"] for each in container["env"]}
    environment = Environment.read({key: text for key, text in given.items() if not key.startswith("HEPCTL")})
    config = host_endpoint_config(KubeControllersConfigurationSpec(), environment)
    assert config.auto_create == ("Enabled" if value else "Disabled")


@pytest.mark.parametrize("name", ["autohep-controller", "autohep-webhook"])
def test_controller_and_webhook_have_no_rights_on_their_node(manifests: ModuleType, name: str) -> None:
    spec = pod(manifests, "Deployment", name)
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert not any("hostPath" in volume for volume in spec["volumes"])


def test_the_alerts_are_raised_when_they_should_be(manifests: ModuleType) -> None:
    place = PROJECT / "deploy" / "monitoring"
    command = [manifests.TOOLS / "promtool", "test", "rules", "rules_test.yaml"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["rules.yaml", "dashboard.json"])
def test_every_metric_that_is_asked_for_is_one_that_is_exported(name: str) -> None:
    sources = [PROJECT / "pyagent" / part for part in ("agent", "controller", "telemetry")]
    code = "".join(path.read_text() for part in sources for path in part.rglob("*.py"))
    text = (PROJECT / "deploy" / "monitoring" / name).read_text()
    asked = {re.sub("_bucket$", "", each) for each in re.findall(r"\bautohep_[a-z_]+", text)}
    assert len(asked) > 5
    assert [each for each in asked if not re.search(rf'"(?:autohep_)?{each[8:]}"', code)] == []
