"""README's steps from a bare cluster to enforced, taken from it and played on a server without our kinds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pyagent.datastore.kubernetes.connection import Connection
from pyagent.datastore.kubernetes.places import collection
from pyagent.errors import DatastoreError
from pyagent.model import KINDS
from tests.lab import Lab
from tests.lab.cluster import DEFINITIONS
from tests.lab.convergence import settle
from tests.lab.lab import PROJECT
from tests.support.apiserver import ApiServer, Storage
from tests.support.apiserver.kinds import BUILT_IN


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Path]:
    """The kubeconfig of a cluster that knows nothing of us."""
    server = ApiServer(Storage(BUILT_IN))
    server.start()
    yield Path(server.kubeconfig(tmp_path))
    server.kill()


def steps() -> list[str]:
    """The commands of the section, without what is said of them."""
    section = (PROJECT / "README.md").read_text().partition("\n## On a cluster\n")[2]
    block = section.partition("```\n")[2].partition("```")[0]
    return [re.sub(r"\s{2,}#.*", "", line) for line in block.splitlines() if line]


def kubectl_apply(connection: Connection, path: Path) -> None:
    """What ``kubectl apply -f`` sends where nothing of that is there yet."""
    for file in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
        for document in yaml.safe_load_all(file.read_text()):
            kind = document["kind"]
            where = collection(kind) if kind in KINDS else DEFINITIONS
            connection.request("POST", where, kind, document["metadata"]["name"], body=document)


def test_the_steps_lead_from_a_bare_cluster_to_enforced(bare: Path) -> None:
    connection = Connection(str(bare))
    first, *rest = steps()
    assert first == "kubectl apply -f deploy/crds"
    with pytest.raises(DatastoreError, match="CRD"):
        connection.request("GET", collection("HostEndpoint"), "HostEndpoint")
    kubectl_apply(connection, PROJECT / "deploy/crds")
    with Lab("steps", in_cluster=True, kubeconfig=bare) as lab:  # Nodes, controller and agents
        assert [each for each in rest if each.startswith(("export", "hepctl controller", "hepctl agent"))]
        assert lab.connect("external", "master", 9000).reached
        for command in rest:
            if command.startswith("kubectl apply -f "):
                kubectl_apply(connection, PROJECT / command.removeprefix("kubectl apply -f "))
            elif not command.startswith(("export ", "hepctl controller", "hepctl agent ")):
                done = lab.shell(command)
                assert done.returncode == 0, f"{command}: {done.stdout}"
                settle(lab)
        settle(lab)
        assert not lab.connect("external", "master", 9000).reached
        assert lab.connect("external", "master", 6443).reached
        assert lab.connect("external", "node1", 10250).reached, "no policy for workers yet"
