"""The way this suite goes to a real cluster, tried on a stand-in that it knows nothing of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pyagent.crds import definitions
from tests.support.apiserver import ApiServer, Storage
from tests.support.apiserver.kinds import served_by

PROJECT = Path(__file__).parents[2]


def test_a_cluster_named_by_its_kubeconfig_is_used_and_left_as_it_was(
    server: ApiServer, tmp_path: Path
) -> None:
    server.storage = Storage(served_by([]))
    left = {"namespaces": 2, "services": 1}
    some = "test_kube_contract and (namespaces or begins or status) or test_kube_schema or leases or 429"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/kube", "-k", some],
        cwd=PROJECT,
        env={**os.environ, "AUTOHEP_TEST_KUBECONFIG": server.kubeconfig(tmp_path), "AUTOHEP_REQUIRE_ALL": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert server.faults.count("create", "customresourcedefinitions") == len(definitions())
    for kind in server.storage.kinds.values():
        objects = server.storage.list(kind, "")[0]
        assert len(objects) == left.get(kind.plural, 0), f"{kind.plural} left behind"
