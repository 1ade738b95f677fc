"""The walkthrough's steps, in the order the seed text tells them: the command, and what must come of it.

A step's judgement gets the command's output and exit status and returns what it observed, in a few words, and
whether that is as expected.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import yaml

from tests.lab.expectations import Stage

Judgement = Callable[[str, int], tuple[str, bool]]

NODES = ("master", "node1", "node2")
WEB = "http://192.168.2.10:8888"
CURL = f"curl -sS {WEB} --connect-timeout 3"
PAGE = "Directory listing for /"
NODE_LABELS = {
    "beta.kubernetes.io/arch": "amd64",
    "beta.kubernetes.io/os": "linux",
    "kubernetes.io/arch": "amd64",
    "kubernetes.io/hostname": "master",
    "kubernetes.io/os": "linux",
    "projectcalico.org/created-by": "calico-kube-controllers",
}


@dataclass(frozen=True, slots=True)
class Step:
    """``machine``: where it is typed; empty: at the administrator's prompt. ``stage``: where it leads."""

    command: str
    expected: str
    judge: Judgement
    machine: str = ""
    stage: Stage | None = None
    background: bool = False


def says(*lines: str) -> Judgement:
    """The output is exactly these lines, and the command succeeds."""

    def judge(output: str, status: int) -> tuple[str, bool]:
        return brief(output, status), status == 0 and output.split() == " ".join(lines).split()

    return judge


def shows(pattern: str) -> Judgement:
    """The pattern is found in the output, and the command succeeds."""

    def judge(output: str, status: int) -> tuple[str, bool]:
        found = re.search(pattern, output)
        return (found.group() if found else brief(output, status)), bool(found) and status == 0

    return judge


def times_out(output: str, status: int) -> tuple[str, bool]:
    """Curl gives up connecting."""
    # The code is what counts: the words differ from one curl to the next.
    return brief(output, status), status == 28


def rows(output: str) -> list[list[str]]:
    """A table's rows without its head, as lists of words."""
    return [line.split() for line in output.splitlines()[1:] if line.strip()]


def brief(output: str, status: int) -> str:
    """An output in a few words."""
    text = "; ".join(line.strip() for line in output.splitlines() if line.strip()) or "no output"
    text = text if len(text) <= 90 else f"{text[:87]}..."
    return text if status == 0 else f"exit {status}: {text}"


def three_nodes(output: str, status: int) -> tuple[str, bool]:
    """Names, AS numbers and addresses of the three nodes."""
    expected = [
        [name, "(64512)", f"192.168.2.1{number}/24", f"fd00:2::1{number}/64"]
        for number, name in enumerate(NODES)
    ]
    found = rows(output)
    return ", ".join(" ".join(row) for row in found), status == 0 and found == expected


def auto_create_disabled(output: str, status: int) -> tuple[str, bool]:
    """The status, which is what really runs, says Disabled."""
    document = yaml.safe_load(output) if status == 0 else {}
    running = document.get("status", {}).get("runningConfig", {})
    value = running.get("controllers", {}).get("node", {}).get("hostEndpoint", {}).get("autoCreate")
    return f"status: autoCreate {value}", value == "Disabled"


def no_endpoints(output: str, status: int) -> tuple[str, bool]:
    """A head without rows."""
    found = rows(output)
    head = output.splitlines()[0].split() if output.strip() else []
    return f"{len(found)} rows", status == 0 and not found and head == ["NAME", "NODE"]


def three_endpoints(output: str, status: int) -> tuple[str, bool]:
    """One for each node."""
    found = rows(output)
    return ", ".join(row[0] for row in found), status == 0 and found == [
        [f"{name}-auto-hep", name] for name in NODES
    ]


def endpoint_of_master(output: str, status: int) -> tuple[str, bool]:
    """Labels of the node, its addresses, every interface, the default-allow profile."""
    endpoint = yaml.safe_load(output) if status == 0 else {}
    spec = {
        "expectedIPs": ["192.168.2.10", "fd00:2::10"],
        "interfaceName": "*",
        "node": "master",
        "profiles": ["projectcalico-default-allow"],
    }
    metadata = endpoint.get("metadata", {})
    observed = endpoint.get("spec", {})
    as_expected = (
        endpoint.get("apiVersion") == "projectcalico.org/v3"
        and endpoint.get("kind") == "HostEndpoint"
        and metadata.get("name") == "master-auto-hep"
        and metadata.get("labels") == NODE_LABELS
        and all(metadata.get(key) for key in ("creationTimestamp", "resourceVersion", "uid"))
        and observed == spec
    )
    return f"{len(metadata.get('labels', {}))} labels, {observed}", as_expected


STEPS = (
    Step("hepctl get nodes -owide", "the three nodes with their addresses", three_nodes),
    Step(
        "hepctl get kubecontrollersconfiguration default -o yaml",
        "status: autoCreate Disabled",
        auto_create_disabled,
    ),
    Step("hepctl get hostendpoints", "none", no_endpoints, stage=Stage.NO_ENDPOINTS),
    Step(
        "hepctl patch kubecontrollersconfiguration default "
        """--patch='{"spec": {"controllers": {"node": {"hostEndpoint": {"autoCreate": "Enabled"}}}}}'""",
        "patched",
        shows("Successfully patched 1 'KubeControllersConfiguration' resource"),
        stage=Stage.ENDPOINTS,
    ),
    Step("hepctl get hostendpoints", "one for each node", three_endpoints),
    Step(
        "hepctl get hostendpoint master-auto-hep -o yaml",
        "the node's labels and addresses, *, default-allow profile",
        endpoint_of_master,
    ),
    Step(
        "hepctl label nodes --all kubernetes-host=",
        "three nodes labeled",
        says("node/master labeled", "node/node1 labeled", "node/node2 labeled"),
    ),
    Step(
        "hepctl label nodes master node-role.kubernetes.io/master=",
        "master labeled",
        says("Successfully set label node-role.kubernetes.io/master on nodes master"),
        stage=Stage.LABELLED,
    ),
    Step(
        "hepctl apply -f - <examples/seed/ingress-k8s-masters.yaml",
        "applied; master is locked down",
        shows(r"Successfully applied 1 'GlobalNetworkPolicy' resource"),
        stage=Stage.MASTERS,
    ),
    Step(
        "hepctl get node -l '!node-role.kubernetes.io/master' -o custom-columns=NAME:.metadata.name"
        " | tail -n +2 | xargs -I{} hepctl label node {} kubernetes-worker=",
        "both workers labeled",
        says(
            "Successfully set label kubernetes-worker on node node1",
            "Successfully set label kubernetes-worker on node node2",
        ),
    ),
    Step(
        "hepctl apply -f - <examples/seed/ingress-k8s-workers.yaml",
        "applied; the workers are locked down",
        shows(r"Successfully applied 1 'GlobalNetworkPolicy' resource"),
        stage=Stage.WORKERS,
    ),
    Step(
        "mkdir -p http; cd http; python3 -m http.server 8888 --bind ::",
        "a web server on master",
        shows("Serving HTTP on .* port 8888"),
        machine="master",
        background=True,
        stage=Stage.LOCKED,
    ),
    Step(CURL, "connection times out", times_out, machine="external"),
    Step(CURL, "connection times out", times_out, machine="node2-pod"),
    Step(
        "hepctl apply -f - <examples/seed/global-access.yaml",
        "applied; the web server is open to all",
        shows(r"Successfully applied 1 'GlobalNetworkPolicy' resource"),
        stage=Stage.GLOBAL,
    ),
    Step(CURL, "the page", shows(PAGE), machine="node2-pod"),
    Step(CURL, "the page", shows(PAGE), machine="external"),
    Step(
        "hepctl delete gnp global-access",
        "deleted; closed again",
        shows(r"Successfully deleted 1 'GlobalNetworkPolicy' resource"),
        stage=Stage.CLOSED_AGAIN,
    ),
    Step(
        "hepctl apply -f - <examples/seed/internal-access.yaml",
        "applied; open to the cluster's nodes",
        shows(r"Successfully applied 1 'GlobalNetworkPolicy' resource"),
        stage=Stage.INTERNAL,
    ),
    Step(CURL, "connection times out", times_out, machine="external"),
    Step(CURL, "the page", shows(PAGE), machine="node1"),
)
