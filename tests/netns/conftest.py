"""One lab with a control plane for all test files, as new for each: starting three agents takes seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pyagent.datastore import open_datastore
from tests.lab import Lab
from tests.lab.convergence import settle
from tests.lab.lab import NODE_MANIFESTS
from tests.netns.site import Site, site

DISABLE = '{"spec": {"controllers": {"node": {"hostEndpoint": {"autoCreate": "Disabled"}}}}}'


@pytest.fixture(scope="session")
def running_lab() -> Iterator[Lab]:
    """Machines, services, datastore, controller and agents."""
    with Lab(f"w{os.getpid()}") as lab:
        yield lab


@pytest.fixture(scope="module")
def whole_lab(request: pytest.FixtureRequest, running_lab: Lab) -> Iterator[Lab]:
    """The lab without policies or endpoints; what its processes logged is shown if a test failed."""
    before = request.session.testsfailed
    yield running_lab
    if request.session.testsfailed > before:
        for name in running_lab.processes.names():
            print(f"--- the end of {name}'s log\n{running_lab.processes.log(name, lines=40)}")
    clear(running_lab)


def clear(lab: Lab) -> None:
    """Back to the beginning: no policies, endpoints disabled, nodes without the labels a test gave them."""
    datastore = open_datastore(lab.datastore)
    for policy in datastore.list("GlobalNetworkPolicy")[0]:
        datastore.delete("GlobalNetworkPolicy", policy.name)
    lab.hepctl("patch", "kubecontrollersconfiguration", "default", f"--patch={DISABLE}")
    lab.hepctl("replace", "-f", str(NODE_MANIFESTS))
    settle(lab)


@pytest.fixture(scope="session")
def shared_site() -> Iterator[Site]:
    """One node, one pod and a peer for all scenarios; each test says what is to be enforced."""
    with site("s", "--xdp-interface", "eth0") as made:
        yield made
