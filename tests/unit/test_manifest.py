"""Manifests: from text to resources with defaults, back to text, and what is said of bad documents."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pyagent import manifest
from pyagent.manifest import ManifestError
from pyagent.manifest.reading import read
from pyagent.model import GlobalNetworkPolicy, HostEndpoint, KubeControllersConfiguration, Node, Tier
from pyagent.model.config import FelixConfigurationSpec, ProtoPort

ENDPOINT = """\
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata:
  creationTimestamp: "2020-05-19T00:53:26Z"
  labels:
    beta.kubernetes.io/arch: amd64
    node-role.kubernetes.io/master: ""
    projectcalico.org/created-by: calico-kube-controllers
  name: master-auto-hep
  resourceVersion: "741196"
  uid: 434ede74-1eb4-49d5-864d-4bad0604076d
spec:
  expectedIPs:
  - 192.168.2.10
  interfaceName: '*'
  node: master
  profiles:
  - projectcalico-default-allow
"""
CONFIGURATION = """\
apiVersion: projectcalico.org/v3
kind: KubeControllersConfiguration
metadata:
  creationTimestamp: "2020-05-14T23:19:23Z"
  name: default
  resourceVersion: "738864"
  uid: 7ef01338-124b-402f-85f0-699bad5529c4
spec:
  controllers:
    namespace:
      reconcilerPeriod: 5m0s
    node:
      reconcilerPeriod: 5m0s
      syncLabels: Enabled
    policy:
      reconcilerPeriod: 5m0s
    serviceAccount:
      reconcilerPeriod: 5m0s
    workloadEndpoint:
      reconcilerPeriod: 5m0s
  etcdV3CompactionPeriod: 10m0s
  healthChecks: Enabled
  logSeverityScreen: Info
status:
  environmentVars:
    DATASTORE_TYPE: kubernetes
    ENABLED_CONTROLLERS: node
  runningConfig:
    controllers:
      node:
        hostEndpoint:
          autoCreate: Disabled
        syncLabels: Disabled
    etcdV3CompactionPeriod: 10m0s
    healthChecks: Enabled
    logSeverityScreen: Info
"""
POLICY = """\
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata:
  name: ingress-k8s-masters
spec:
  selector: has(node-role.kubernetes.io/master)
  # This rule allows ingress to the Kubernetes API server.
  ingress:
  - action: Allow
    protocol: TCP
    destination:
      ports:
      # kube API server
      - 6443
  - action: Allow
    destination:
      nets:
      - 127.0.0.1/32
"""
HEADER = "apiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{name: thing}}\n"


def _one(text: str) -> manifest.Document:
    documents = manifest.load(text, "file.yaml")
    assert len(documents) == 1
    return documents[0]


def _resource(text: str) -> Any:
    document = _one(text)
    assert document.problems == ()
    return document.resource


def _spec(kind: str, spec: str) -> Any:
    return _resource(HEADER.format(kind=kind) + f"spec: {spec}\n").spec


def _messages(text: str) -> list[str]:
    document = _one(text)
    assert document.resource is None
    return [str(problem) for problem in document.problems]


@pytest.mark.parametrize("text", [ENDPOINT, CONFIGURATION], ids=["endpoint", "configuration"])
def test_upstreams_output_is_read_and_written_back_byte_for_byte(text: str) -> None:
    assert manifest.dump_yaml(manifest.encode(_resource(text))) == text


def test_a_policy_is_read_with_its_defaults() -> None:
    policy = _resource(POLICY)
    assert isinstance(policy, GlobalNetworkPolicy)
    assert policy.spec.tier == "default"
    assert policy.spec.types == ("Ingress",)
    assert policy.metadata.labels == {"projectcalico.org/tier": "default"}
    assert policy.spec.ingress[0].destination.ports == (6443,)
    assert policy.spec.order is None


@pytest.mark.parametrize(
    ("rules", "types"),
    [
        ("{}", ("Ingress",)),
        ("{ingress: [{action: Deny}]}", ("Ingress",)),
        ("{egress: [{action: Deny}]}", ("Egress",)),
        ("{ingress: [{action: Deny}], egress: [{action: Deny}]}", ("Ingress", "Egress")),
        ("{egress: [{action: Deny}], types: [Ingress]}", ("Ingress",)),
    ],
)
def test_types_follow_the_rules_unless_given(rules: str, types: tuple[str, ...]) -> None:
    assert _spec("GlobalNetworkPolicy", rules).types == types


def test_the_tier_label_says_the_policys_tier() -> None:
    text = HEADER.format(kind="StagedGlobalNetworkPolicy") + "spec: {tier: platform}\n"
    policy = _resource(text.replace("{name: thing}", "{name: a, labels: {projectcalico.org/tier: x, b: c}}"))
    assert policy.metadata.labels == {"projectcalico.org/tier": "platform", "b": "c"}
    assert policy.spec.staged_action == "Set"


def test_quoted_port_numbers_are_numbers_and_ranges_and_names_stay() -> None:
    spec = _spec(
        "GlobalNetworkPolicy",
        '{ingress: [{action: Allow, protocol: TCP, destination: {ports: ["80", 20:22, "1:2", http]}}]}',
    )
    assert spec.ingress[0].destination.ports == (80, "20:22", "1:2", "http")


def test_tiers_get_their_default_action_and_built_in_ones_their_order() -> None:
    assert _spec("Tier", "{order: 5}").default_action == "Deny"
    text = HEADER.format(kind="Tier").replace("thing", "kube-admin")
    tier = _resource(text)
    assert isinstance(tier, Tier)
    assert (tier.spec.order, tier.spec.default_action) == (1000.0, "Pass")


def test_given_controllers_are_completed_and_others_stay_out() -> None:
    text = HEADER.format(kind="KubeControllersConfiguration").replace("thing", "default")
    configuration = _resource(text + "spec: {controllers: {node: {hostEndpoint: {}}, policy: {}}}\n")
    assert isinstance(configuration, KubeControllersConfiguration)
    assert manifest.encode(configuration)["spec"] == {
        "logSeverityScreen": "Info",
        "healthChecks": "Enabled",
        "etcdV3CompactionPeriod": "10m0s",
        "controllers": {
            "node": {
                "reconcilerPeriod": "5m0s",
                "syncLabels": "Enabled",
                "hostEndpoint": {"autoCreate": "Disabled", "createDefaultHostEndpoint": "Enabled"},
            },
            "policy": {"reconcilerPeriod": "5m0s"},
        },
    }


def test_the_controllers_first_configuration_is_valid_and_complete() -> None:
    initial = manifest.initial_kube_controllers_configuration()
    assert manifest.validate(initial) == []
    assert manifest.default(initial) == initial
    node = manifest.encode(initial)["spec"]["controllers"]["node"]
    assert node["hostEndpoint"] == {"autoCreate": "Disabled", "createDefaultHostEndpoint": "Enabled"}


def test_upstreams_agent_settings_survive_and_typos_do_not() -> None:
    given = "{bpfExternalServiceMode: DSR, chainInsertMode: Append, interfaceExclude: 'kube-ipvs0, x*'}"
    text = HEADER.format(kind="FelixConfiguration") + f"spec: {given}\n"
    resource = _resource(text)
    assert resource.spec.interface_exclude == ("kube-ipvs0", "x*")
    assert manifest.encode(resource)["spec"] == {
        "bpfExternalServiceMode": "DSR",
        "chainInsertMode": "Append",
        "interfaceExclude": ["kube-ipvs0", "x*"],
    }
    assert manifest.decode(manifest.encode(resource)) == resource
    messages = _messages(text.replace("chainInsertMode", "chainInsert") + "  \n")
    lost = "field in document is not recognized or is in the wrong location"
    assert messages == [f"file.yaml:4: error with field spec.chainInsert ({lost}: chainInsert)"]
    assert "wrong location: upstream" in _messages(text.replace("chainInsertMode: Append", "upstream: {}"))[0]


def test_an_empty_list_that_means_something_is_written_and_other_empties_are_not() -> None:
    felix = _resource(HEADER.format(kind="FelixConfiguration") + "spec: {failsafeInboundHostPorts: []}\n")
    assert manifest.encode(felix)["spec"] == {"failsafeInboundHostPorts": []}
    policy = _resource(HEADER.format(kind="Profile") + "spec: {ingress: [{action: Allow, source: {}}]}\n")
    assert manifest.encode(policy)["spec"] == {"ingress": [{"action": "Allow"}]}
    tier = _resource(HEADER.format(kind="Tier") + "spec: {order: 100.0}\n")
    assert manifest.dump_yaml(manifest.encode(tier)).endswith("spec:\n  defaultAction: Deny\n  order: 100\n")


def test_unknown_fields_wrong_types_and_unquoted_texts_are_all_reported_with_their_lines() -> None:
    text = """\
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata:
  name: a
  labels:
    a: yes
    x/y: 5
    ok: "no"
spec:
  selektor: foo
  order: "5"
  ingress:
  - action: Allow
    foo: 1
"""
    lost = "field in document is not recognized or is in the wrong location"

    def quote(value: str, what: str) -> str:
        return f'must be text, but {value} is {what} in YAML: write "{value}"'

    assert _messages(text) == [
        f"""file.yaml:6: error with field metadata.labels.a = 'yes' ({quote("yes", "true or false")})""",
        f"""file.yaml:7: error with field metadata.labels[x/y] = '5' ({quote("5", "a number")})""",
        f"file.yaml:10: error with field spec.selektor ({lost}: selektor)",
        "file.yaml:11: error with field spec.order = '5' (must be a number, not text)",
        f"file.yaml:14: error with field spec.ingress[0].foo ({lost}: foo)",
    ]


def test_a_broken_rule_is_reported_with_its_line_or_that_of_what_encloses_it() -> None:
    text = HEADER.format(kind="HostEndpoint") + "spec:\n  expectedIPs:\n  - 10.0.0.1\n  - 10.0.0.x\n"
    assert _messages(text) == [
        "file.yaml:4: error with field spec.node (node is required)",
        "file.yaml:7: error with field spec.expectedIPs[1] = '10.0.0.x' ('10.0.0.x' is not an IP address)",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "apiVersion: v1\nkind: Pod\n",
            "2: error with field kind = 'Pod' (resource type 'Pod' is not supported)",
        ),
        ("apiVersion: v1\n", "1: error with field kind (kind is required)"),
        ("kind: Node\n", "1: error with field apiVersion (apiVersion is required)"),
        ("kind: [Node]\napiVersion: v1\n", "1: error with field kind (kind must be text)"),
        (
            "apiVersion: v1\nkind: Tier\n",
            "1: error with field apiVersion = 'v1' (apiVersion of Tier is projectcal",
        ),
        ("just text\n", "1: error with field document (is not an object with apiVersion and kind)"),
        ("apiVersion: v1\nkind: Node\n", "1: error with field metadata.name (name is required)"),
        (
            "apiVersion: v1\nkind: Node\nmetadata: 5\n",
            "3: error with field metadata = '5' (must be an object, not a",
        ),
        (
            "apiVersion: v1\nkind: Node\nmetadata: {name: a, ownerReferences: [{kind: b}]}\n",
            "apiVersion is required",
        ),
    ],
)
def test_what_is_no_resource_is_refused_clearly(text: str, message: str) -> None:
    assert message in _messages(text)[0]


def test_null_means_not_given_and_for_a_label_an_empty_text() -> None:
    text = HEADER.format(kind="HostEndpoint").replace(
        "{name: thing}", "{name: thing, creationTimestamp: null, labels: {kubernetes-host: }}"
    )
    endpoint = _resource(text + "spec: {node: a, interfaceName: '*', ports: }\nstatus:\n")
    assert isinstance(endpoint, HostEndpoint)
    assert endpoint.metadata.labels == {"kubernetes-host": ""}
    assert endpoint.metadata.creation_timestamp is None


def test_a_real_node_is_read_whatever_kubernetes_adds_to_it() -> None:
    text = """\
apiVersion: v1
kind: Node
metadata: {name: a, labels: {kubernetes.io/os: linux}, managedFields: [{manager: kubelet, time: null}]}
spec: {podCIDR: 10.0.0.0/24, somethingNew: 1}
status:
  addresses: [{address: 192.168.2.10, type: InternalIP, zone: b}]
  features: {supplementalGroupsPolicy: true}
  news: [1]
"""
    node = _resource(text)
    assert isinstance(node, Node)
    assert node.status.addresses[0].address == "192.168.2.10"
    assert "wrong location: labls" in _messages(text.replace("labels", "labls"))[0]


def test_services_and_slices_are_read_leniently() -> None:
    service = _resource(
        "{apiVersion: v1, kind: Service, new: 1, metadata: {name: a, namespace: b, new: 1},"
        " spec: {ports: [{port: 80, nodePort: 30080, appProtocol: x}], sessionAffinity: None}}"
    )
    assert service.spec.ports[0].node_port == 30080
    endpoints = _resource(
        "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a}, new: [1],"
        " endpoints: [{addresses: [10.0.0.1], hints: {}}], ports: [{port: 80, appProtocol: null}]}"
    )
    assert endpoints.endpoints[0].addresses == ("10.0.0.1",)


def test_several_documents_lists_and_arrays_are_taken_apart() -> None:
    tier = "{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: %s}}"
    text = f"""\
# a comment only
---
{tier % "a"}
---
---
apiVersion: v1
kind: List
metadata: {{}}
items:
- {tier % "b"}
- {tier % "Bad"}
---
[{tier % "c"}, {tier % "d"}]
---
apiVersion: projectcalico.org/v3
kind: TierList
items:
- metadata: {{name: e}}
---
apiVersion: projectcalico.org/v3
kind: TierList
items:
"""
    documents = manifest.load(text, "x")
    assert [document.name for document in documents] == ["a", "b", "Bad", "c", "d", "e"]
    assert [document.line for document in documents] == [3, 10, 11, 13, 13, 18]
    assert [bool(document.problems) for document in documents] == [False, False, True, False, False, False]
    assert documents[2].problems[0].line == 11
    assert documents[5].resource is not None
    assert documents[5].resource.kind == "Tier"


def test_a_broken_document_does_not_spoil_its_neighbours() -> None:
    text = f"{POLICY}---\nspec: [\n---\n{ENDPOINT}"
    first, broken, last = manifest.load(text, "x")
    assert first.resource is not None
    assert last.resource is not None
    assert broken.problems[0].path == "document"
    assert POLICY.count("\n") < broken.problems[0].line <= POLICY.count("\n") + 3


def test_decode_raises_every_problem_with_its_file() -> None:
    with pytest.raises(ManifestError) as raised:
        manifest.decode({"apiVersion": "projectcalico.org/v3", "kind": "Tier", "spec": {"x": 1}}, "there")
    assert str(raised.value).startswith("there: error with field spec.x (")
    with pytest.raises(ManifestError) as raised:
        manifest.decode(
            {"apiVersion": "projectcalico.org/v3", "kind": "Tier", "spec": {"defaultAction": "x"}}
        )
    assert str(raised.value).splitlines()[0] == "error with the following fields:"
    assert len(raised.value.problems) == 2


def test_json_is_read_also_where_it_is_no_yaml() -> None:
    value = manifest.encode(_resource(ENDPOINT))
    value["metadata"]["annotations"] = {"a": "\U0001f600"}
    text = json.dumps(value, indent="\t")
    assert manifest.encode(_resource(text)) == value
    assert manifest.encode(_resource(manifest.dump_json(value))) == value
    assert "given twice" in _messages('{\t"a": 1,\n\t"a": "\\ud83d\\ude00"}')[0]
    assert "nested deeper" in _messages('{"a":\t"\\ud83d\\ude00", "b": ' + "[" * 200 + "]" * 200 + "}")[0]


def test_characters_that_break_lines_only_in_yaml_survive_both_formats() -> None:
    value = {"a": "b\u2028c\x85d\ne"}
    for text in (manifest.dump_yaml(value), manifest.dump_json(value), json.dumps(value)):
        (document,) = read(text)
        assert document.value == value


def test_text_that_reads_as_something_else_is_written_in_quotes() -> None:
    value = {
        "a": ["", "*", "yes", "y", "5", "1e3", "null", "2020-01-01", "20:22", "plain", "a: b", "é", "x\ny\n"]
    }
    text = manifest.dump_yaml(value)
    assert text == (
        'a:\n- ""\n- \'*\'\n- "yes"\n- "y"\n- "5"\n- "1e3"\n- "null"\n- "2020-01-01"\n- "20:22"\n- plain\n'
        "- 'a: b'\n- é\n- |\n  x\n  y\n"
    )


def test_files_directories_and_standard_input_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b.yaml").write_text(POLICY)
    (tmp_path / "a.json").write_text(manifest.dump_json(manifest.encode(_resource(ENDPOINT))))
    (tmp_path / "ignored.txt").write_text("not: [a manifest")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "c.yml").write_text(CONFIGURATION)
    flat = manifest.load_paths([str(tmp_path)])
    assert [document.name for document in flat] == ["master-auto-hep", "ingress-k8s-masters"]
    deep = manifest.load_paths([str(tmp_path)], recursive=True)
    assert [document.name for document in deep] == ["master-auto-hep", "ingress-k8s-masters", "default"]
    assert deep[2].file == str(tmp_path / "below" / "c.yml")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbf" + POLICY.encode())))
    (piped,) = manifest.load_paths(["-"])
    assert (piped.name, piped.file) == ("ingress-k8s-masters", "<stdin>")


def test_files_that_cannot_be_read_are_problems(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: b\nc: \xe9\n")
    missing, latin = manifest.load_paths([str(tmp_path / "none.yaml"), str(tmp_path / "latin.yaml")])
    assert str(missing.problems[0]).endswith("none.yaml: error with field file (No such file or directory)")
    assert "latin.yaml:2: error with field file (cannot be read: not UTF-8)" in str(latin.problems[0])


def test_failsafes_come_from_the_list_the_profile_or_the_default() -> None:
    inbound, outbound = manifest.failsafes_of(FelixConfigurationSpec())
    assert (len(inbound), len(outbound)) == (10, 10)
    assert ProtoPort(protocol="UDP", port=546) in inbound
    assert ProtoPort(protocol="UDP", port=547) in outbound
    inbound, outbound = manifest.failsafes_of(FelixConfigurationSpec(failsafe_profile="v3.14"))
    assert (len(inbound), len(outbound)) == (7, 7)
    assert ProtoPort(protocol="TCP", port=6443) not in inbound
    inbound, outbound = manifest.failsafes_of(FelixConfigurationSpec(failsafe_inbound_host_ports=()))
    assert (inbound, len(outbound)) == ((), 10)
