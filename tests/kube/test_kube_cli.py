"""The same commands against a cluster: the walkthrough's manifests as they stand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pyagent.cli.main import cli
from tests.support.apiserver import ApiServer

SEED = Path(__file__).parents[2] / "examples" / "seed"
Hepctl = Callable[..., Result]


@pytest.fixture
def hepctl(server: ApiServer, tmp_path: Path) -> Hepctl:
    environment = {
        "HEPCTL_DATASTORE": f"kubernetes:///?kubeconfig={server.kubeconfig(tmp_path)}",
        "HEPCTL_CONFIG": None,
    }

    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, words, env=environment, prog_name="hepctl")

    return run


def test_the_walkthrough_works_on_a_cluster(hepctl: Hepctl) -> None:
    for name in ("nodes", "global-access", "ingress-k8s-masters", "ingress-k8s-workers", "internal-access"):
        done = hepctl("apply", "-f", str(SEED / f"{name}.yaml"))
        assert done.exit_code == 0, done.output
    once = hepctl("controller", "--once")
    assert once.exit_code == 0, once.output
    patch = '{"spec": {"controllers": {"node": {"hostEndpoint": {"autoCreate": "Enabled"}}}}}'
    patched = hepctl("patch", "kubecontrollersconfiguration", "default", f"--patch={patch}")
    assert patched.exit_code == 0, patched.output
    made = hepctl("controller", "--once")
    assert "-auto-hep created" in made.output
    shown = hepctl("get", "heps", "-o", "wide")
    assert "-auto-hep" in shown.output
    policies = hepctl("get", "gnp")
    assert "internal-access" in policies.output
    gone = hepctl("delete", "gnp", "internal-access")
    assert gone.exit_code == 0, gone.output
    assert "internal-access" not in hepctl("get", "gnp").output
    again = hepctl("apply", "-f", str(SEED / "global-access.yaml"))
    assert again.exit_code == 0, again.output


def test_what_the_cluster_refuses_is_said_in_one_line_and_ends_with_an_error(
    server: ApiServer, hepctl: Hepctl
) -> None:
    server.users = {}
    refused = hepctl("get", "gnp")
    assert refused.exit_code == 1
    assert "401" in refused.output
    assert "Traceback" not in refused.output
    server.kill()
    away = hepctl("get", "gnp")
    assert away.exit_code == 1
    assert "API server: " in away.output
    assert "Traceback" not in away.output


def test_once_tells_agents_of_services_and_the_second_time_there_is_nothing_to_tell(
    server: ApiServer, hepctl: Hepctl, tmp_path: Path
) -> None:
    port = {"port": 80, "protocol": "TCP", "nodePort": 30080}
    body = {"metadata": {"name": "web"}, "spec": {"type": "NodePort", "ports": [port]}}
    server.storage.create(server.storage.kind("v1", "services"), "default", body)
    assert "clusterservices.autohep.io/default written" in hepctl("controller", "--once").output
    assert "default   1           0           0" in hepctl("get", "clusterservices").output
    assert "written" not in hepctl("controller", "--once").output
