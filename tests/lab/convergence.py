"""When a change has taken effect: the controller's work is done, and every agent enforces what is stored."""

from __future__ import annotations

from pyagent.agent.mirror import CLUSTER_KINDS, KINDS, digest
from pyagent.datastore import Datastore, open_datastore
from pyagent.errors import NotFoundError
from pyagent.model import HostEndpoint, KubeControllersConfiguration
from tests.lab.lab import CONTROLLER, Lab, agent_name
from tests.lab.topology import NODES

CREATED_BY = "projectcalico.org/created-by"


def settle(lab: Lab) -> None:
    """Until the host endpoints follow the nodes, and each agent enforces exactly what is stored now."""
    datastore = open_datastore(lab.datastore)
    lab.wait(lambda: endpoints_follow(datastore), "host endpoints follow the nodes", CONTROLLER)
    kinds = CLUSTER_KINDS if lab.in_cluster else KINDS
    stored = digest(resource for kind in kinds for resource in datastore.list(kind)[0])
    for node in NODES:
        lab.wait(
            lambda node=node.name: enforces(lab, node, stored),  # type: ignore[misc]
            f"{node.name} enforces what is stored",
            agent_name(node.name),
        )


def enforces(lab: Lab, node: str, stored: str) -> bool:
    """Whether an agent has put in force what ``stored`` is the digest of."""
    status = lab.status(node)
    return status.get("observed") == stored and bool(status.get("ready"))


def endpoints_follow(datastore: Datastore) -> bool:
    """Whether the automatic host endpoints are those that the nodes and the configuration call for."""
    endpoints = {
        endpoint.metadata.name: endpoint
        for endpoint in datastore.list("HostEndpoint")[0]
        if isinstance(endpoint, HostEndpoint) and CREATED_BY in endpoint.metadata.labels
    }
    if not wanted(datastore):
        return not endpoints
    nodes = {f"{node.metadata.name}-auto-hep": node for node in datastore.list("Node")[0]}
    return endpoints.keys() == nodes.keys() and all(
        {**node.metadata.labels, CREATED_BY: "calico-kube-controllers"} == endpoints[name].metadata.labels
        for name, node in nodes.items()
    )


def wanted(datastore: Datastore) -> bool:
    """Whether automatic host endpoints are switched on."""
    try:
        configuration = datastore.get("KubeControllersConfiguration", "default")
    except NotFoundError:
        return False
    assert isinstance(configuration, KubeControllersConfiguration)
    node = configuration.spec.controllers.node
    return bool(node and node.host_endpoint and node.host_endpoint.auto_create == "Enabled")
