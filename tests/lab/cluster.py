"""A cluster's API server in place of the lab's directory: a real one, or the repository's stand-in.

A real one must be empty of nodes and of our kinds, for the walkthrough's objects have fixed names. What the
lab adds to it is removed again.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import yaml

from pyagent.controller.leader import LEASE
from pyagent.crds import PRESENTATIONS, definitions
from pyagent.datastore import Datastore, open_datastore
from pyagent.datastore.kubernetes.connection import Connection
from pyagent.datastore.kubernetes.errors import NotServedError
from pyagent.datastore.kubernetes.places import collection
from pyagent.errors import DatastoreError, NotFoundError
from tests.lab.proxy import PORT

DEFINITIONS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
#: What a cluster may hold before: the controller makes these anywhere, and leaves those that exist.
_PREDEFINED: Final = frozenset({"Tier", "Profile", "KubeControllersConfiguration", "ClusterServices"})
_PATIENCE: Final = 60.0


class ClusterError(Exception):
    """The cluster cannot be used."""


class Cluster:
    """The API server that ``kubeconfig`` names."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig.absolute()
        self.url = f"kubernetes:///?kubeconfig={quote(str(self.kubeconfig))}"
        self._before: dict[str, set[str]] | None = None
        self._defined: list[str] = []

    def prepare(self) -> None:
        """Define our kinds where they are not, and note what there is. ClusterError if it is somebody's."""
        connection = Connection(str(self.kubeconfig))
        for definition in definitions():
            names, name = definition["spec"]["names"], definition["metadata"]["name"]
            if not _is_served(connection, names["kind"]):
                connection.request("POST", DEFINITIONS, "CustomResourceDefinition", name, body=definition)
                self._defined.append(name)
        for kind in PRESENTATIONS:
            _wait_until_served(connection, kind)
        before = _names(open_datastore(self.url))
        taken = [f"{kind}/{name}" for kind, names in before.items() for name in sorted(names)]
        taken = [each for each in taken if each.partition("/")[0] not in _PREDEFINED]
        if taken:
            shown = ", ".join(taken[:3])
            raise ClusterError(f"the cluster is in use ({shown}): give one without nodes and policies")
        self._before = before

    def clean(self) -> None:
        """Remove what came after ``prepare``, and the definitions that it made."""
        if self._before is not None:
            datastore = open_datastore(self.url)
            for kind, names in _names(datastore).items():
                for name in names - self._before[kind]:
                    with contextlib.suppress(NotFoundError):
                        datastore.delete(kind, name)
        connection = Connection(str(self.kubeconfig))
        if self._before is not None:
            leases = "/apis/coordination.k8s.io/v1/namespaces"
            path = f"{leases}/{open_datastore(self.url).leases.namespace}/leases/{LEASE}"  # type: ignore[attr-defined]
            with contextlib.suppress(NotFoundError):
                connection.request("DELETE", path, "Lease", LEASE)
        for name in self._defined:
            with contextlib.suppress(NotFoundError):
                connection.request("DELETE", f"{DEFINITIONS}/{name}", "CustomResourceDefinition", name)

    def address(self) -> tuple[str, int]:
        """Host and port of the server."""
        parts = urlsplit(self._cluster(self._read())["server"])
        return str(parts.hostname), parts.port or (443 if parts.scheme == "https" else 80)

    def as_seen_by_nodes(self, path: Path) -> str:
        """Write a kubeconfig file for the nodes' side of the proxy; the datastore's URL by it."""
        content = self._read()
        cluster = self._cluster(content)
        parts = urlsplit(cluster["server"])
        cluster["server"] = f"{parts.scheme}://127.0.0.1:{PORT}{parts.path}"
        if parts.scheme == "https":
            cluster.setdefault("tls-server-name", parts.hostname)
        for entry in (cluster, *(each.get("user") or {} for each in content.get("users", ()))):
            for key in ("certificate-authority", "client-certificate", "client-key", "tokenFile"):
                if key in entry:
                    entry[key] = str(self.kubeconfig.parent / entry[key])
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(content))
        return f"kubernetes:///?kubeconfig={quote(str(path))}"

    def _read(self) -> dict[str, Any]:
        content: dict[str, Any] = yaml.safe_load(self.kubeconfig.read_text())
        return content

    @staticmethod
    def _cluster(content: dict[str, Any]) -> dict[str, Any]:
        contexts = {each["name"]: each["context"] for each in content["contexts"]}
        clusters: dict[str, dict[str, Any]] = {each["name"]: each["cluster"] for each in content["clusters"]}
        return clusters[contexts[content["current-context"]]["cluster"]]


def _names(datastore: Datastore) -> dict[str, set[str]]:
    return {
        kind: {each.name for each in datastore.list(kind)[0]} for kind in ("Node", *sorted(PRESENTATIONS))
    }


def _is_served(connection: Connection, kind: str) -> bool:
    try:
        connection.request("GET", collection(kind), kind)
    except NotServedError:
        return False
    return True


def _wait_until_served(connection: Connection, kind: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.request("GET", collection(kind), kind)
        except DatastoreError as error:
            if time.monotonic() > deadline:
                raise ClusterError(f"{kind} is defined but not served: {error}") from error
            time.sleep(0.1)
        else:
            return
