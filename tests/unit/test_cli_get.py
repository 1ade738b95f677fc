"""``hepctl get``: tables to the blank, objects, lists, columns of one's own, labels."""

from __future__ import annotations

import json

import pytest

NODES = """
apiVersion: v1
kind: Node
metadata:
  name: master
  labels: {node-role.kubernetes.io/master: "", kubernetes.io/os: linux}
  annotations: {projectcalico.org/IPv4Address: 192.168.2.10/24}
---
apiVersion: v1
kind: Node
metadata:
  name: node1
  labels: {kubernetes.io/os: linux, rack: "1"}
  annotations:
    projectcalico.org/IPv4Address: 192.168.2.11/24
    projectcalico.org/IPv6Address: fd00::11/64
    projectcalico.org/ASNumber: "64999"
"""
V3 = "apiVersion: projectcalico.org/v3\n"
OTHERS = f"""
{V3}
kind: HostEndpoint
metadata: {{name: master-auto-hep}}
spec: {{node: master, interfaceName: "*", expectedIPs: [10.0.0.1, 10.0.0.2], profiles: [p, q]}}
---
{V3}
kind: GlobalNetworkPolicy
metadata: {{name: first}}
spec: {{order: 12.5, selector: all()}}
---
{V3}
kind: GlobalNetworkPolicy
metadata: {{name: second}}
---
{V3}
kind: StagedGlobalNetworkPolicy
metadata: {{name: staged}}
---
{V3}
kind: GlobalNetworkSet
metadata: {{name: set}}
spec: {{nets: [{", ".join(f"10.0.{i}.0/24" for i in range(9))}]}}
---
{V3}
kind: Tier
metadata: {{name: default}}
---
{V3}
kind: Profile
metadata: {{name: pro}}
spec: {{labelsToApply: {{b: "2", a: "1"}}}}
---
{V3}
kind: KubeControllersConfiguration
metadata: {{name: default}}
---
{V3}
kind: FelixConfiguration
metadata: {{name: default}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop}}
spec: {{type: NodePort, clusterIP: 10.96.0.7, ports: [{{port: 80, protocol: TCP}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, namespace: shop}}
addressType: IPv4
endpoints: [{{addresses: [10.1.0.5]}}]
ports: [{{port: 8080, protocol: TCP}}]
---
apiVersion: autohep.io/v1
kind: ClusterServices
metadata: {{name: default}}
spec:
  nodePorts: [{{protocol: TCP, ports: [30080, 30081]}}, {{protocol: UDP, ports: [30053]}}]
  addresses: [{{address: 192.0.2.9, ports: [{{protocol: TCP, ports: [80]}}]}}]
  services: [{{namespace: shop, name: web}}]
"""


@pytest.fixture(scope="module")
def filled(hepctl_at, tmp_path_factory):
    """A datastore with one resource or more of every kind, which no test changes."""
    hepctl = hepctl_at(tmp_path_factory.mktemp("filled"))
    hepctl.prepare(f"{NODES}---{OTHERS}")
    return hepctl


def test_wide_table_of_nodes_is_the_walkthroughs(filled):
    assert filled("get", "nodes", "-owide").stdout == (
        "NAME     ASN       IPV4              IPV6          \n"
        "master   (64512)   192.168.2.10/24                 \n"
        "node1    64999     192.168.2.11/24   fd00::11/64   \n"
        "\n"
    )


def test_empty_table_is_its_headings_and_a_blank_line(hepctl):
    assert hepctl("get", "hostendpoints").stdout == "NAME   NODE   \n\n"


TABLES = [
    ("nodes", "ps", "NAME"),
    ("hep", "ps", "NAME NODE"),
    ("hep", "wide", "NAME NODE INTERFACE IPS PROFILES PROTECTED GENERATION"),
    ("gnp", "ps", "NAME TIER"),
    ("gnp", "wide", "NAME TIER ORDER SELECTOR SELECTED REALIZED"),
    ("sgnp", "wide", "NAME TIER ORDER SELECTOR SELECTED REALIZED"),
    ("gnetset", "ps", "NAME"),
    ("gnetset", "wide", "NAME NETS"),
    ("tier", "ps", "NAME ORDER"),
    ("tier", "wide", "NAME ORDER"),
    ("profile", "ps", "NAME"),
    ("profile", "wide", "NAME LABELS"),
    ("kubecontrollersconfig", "wide", "NAME"),
    ("felixconfig", "wide", "NAME"),
    ("services", "ps", "NAMESPACE NAME TYPE"),
    ("services", "wide", "NAMESPACE NAME TYPE CLUSTER-IP PORTS"),
    ("endpointslices", "wide", "NAMESPACE NAME ADDRESSTYPE PORTS ENDPOINTS"),
]


@pytest.mark.parametrize(("kind", "form", "headings"), TABLES)
def test_table_has_the_kinds_columns(filled, kind, form, headings):
    lines = filled("get", kind, "-o", form).stdout.split("\n")
    assert lines[0].split() == headings.split()
    assert len(lines) > 2


ROWS = [
    (
        "hep",
        "master-auto-hep   master   *           10.0.0.1,10.0.0.2   p,q                                 ",
    ),
    ("gnp", "first    default   12.5    all()                            "),
    ("gnp", "second   default   <nil>                                    "),
    ("tier", "default   1000000   "),
    ("profile", "pro    a=1,b=2   "),
    ("services", "shop        web    NodePort   10.96.0.7    80/TCP   "),
    ("endpointslices", "shop        web-1   IPv4          8080/TCP   10.1.0.5    "),
    (
        "clusterservices",
        "default   3           1           1          30080/TCP,30081/TCP,30053/UDP   shop/web   ",
    ),
]


@pytest.mark.parametrize(("kind", "row"), ROWS)
def test_row_of_the_wide_table(filled, kind, row):
    assert row in filled("get", kind, "-o", "wide").stdout.split("\n")


def test_long_list_of_networks_is_cut_at_eighty(filled):
    cell = filled("get", "gnetsets", "-o", "wide").stdout.split("\n")[1].split()[1]
    assert len(cell) == 83
    assert cell.endswith("...")


ALIASES = {
    "Node": "node nodes no nos NODES Node",
    "HostEndpoint": "hostendpoint hostendpoints hep heps HostEndpoint hostendpoint.projectcalico.org",
    "GlobalNetworkPolicy": "globalnetworkpolicy globalnetworkpolicies gnp gnps",
    "StagedGlobalNetworkPolicy": "stagedglobalnetworkpolicy stagedglobalnetworkpolicies sgnp",
    "GlobalNetworkSet": "globalnetworkset globalnetworksets gnetset gnetsets",
    "Tier": "tier tiers",
    "Profile": "profile profiles",
    "KubeControllersConfiguration": "kubecontrollersconfiguration kubecontrollersconfigurations "
    "kubecontrollersconfig kubecontrollersconfigs",
    "FelixConfiguration": "felixconfiguration felixconfigurations felixconfig felixconfigs",
    "Service": "service services svc",
    "EndpointSlice": "endpointslice endpointslices",
    "ClusterServices": "clusterservices clustersvc",
}


@pytest.mark.parametrize(("kind", "alias"), [(k, a) for k, words in ALIASES.items() for a in words.split()])
def test_alias_means_its_kind(filled, kind, alias):
    assert json.loads(filled("get", alias, "-o", "json").stdout)["kind"] == f"{kind}List"


def test_kind_prints_its_list_and_one_name_the_object_and_several_an_array(filled):
    listed = json.loads(filled("get", "nodes", "-o", "json").stdout)
    assert (listed["apiVersion"], listed["kind"], len(listed["items"])) == ("v1", "NodeList", 2)
    assert listed["metadata"]["resourceVersion"]
    one = json.loads(filled("get", "node", "master", "-o", "json").stdout)
    assert (one["kind"], one["metadata"]["name"]) == ("Node", "master")
    both = json.loads(filled("get", "node", "node1", "master", "-o", "json").stdout)
    assert [item["metadata"]["name"] for item in both] == ["node1", "master"]


def test_yaml_of_a_host_endpoint_has_the_walkthroughs_shape(filled):
    text = filled("get", "hostendpoint", "master-auto-hep", "-o", "yaml").stdout
    lines = [
        line.split(":")[0] if "creation" in line or "uid" in line or "Version:" in line else line
        for line in text.splitlines()
    ]
    assert lines == [
        "apiVersion",
        "kind: HostEndpoint",
        "metadata:",
        "  creationTimestamp",
        "  name: master-auto-hep",
        "  resourceVersion",
        "  uid",
        "spec:",
        "  expectedIPs:",
        "  - 10.0.0.1",
        "  - 10.0.0.2",
        "  interfaceName: '*'",
        "  node: master",
        "  profiles:",
        "  - p",
        "  - q",
    ]
    assert filled("get", "hostendpoint", "master-auto-hep", "-o", "yml").stdout == text


def test_export_can_be_applied_elsewhere(filled, hepctl):
    text = filled("get", "hep", "master-auto-hep", "--export", "-o", "yaml").stdout
    for word in ("uid", "resourceVersion", "creationTimestamp", "generation"):
        assert word not in text
    assert hepctl("create", "-f", "-", text=text).exit_code == 0
    assert hepctl("get", "hep", "master-auto-hep", "--export", "-o", "yaml").stdout == text


def test_what_get_prints_can_be_applied_again_and_changes_nothing(filled):
    before = filled.stored()
    for form in ("yaml", "json"):
        text = filled("get", "gnp", "-o", form).stdout
        assert (
            filled("apply", "-f", "-", text=text).stdout
            == "Successfully applied 2 'GlobalNetworkPolicy' resource(s)\n"
        )
    assert filled.stored() == before


def test_one_missing_name_prints_the_others_and_fails(filled):
    result = filled("get", "nodes", "master", "gone", "node1")
    assert [line.strip() for line in result.stdout.splitlines()] == ["NAME", "master", "node1", ""]
    assert result.stderr == 'resource does not exist: Node(gone) with error: nodes "gone" not found\n'
    assert result.exit_code == 1


def test_names_can_be_typed_back_as_they_are_printed(filled):
    assert filled("get", "hep", "-o", "name").stdout == "hostendpoint.projectcalico.org/master-auto-hep\n"
    assert filled("get", "hostendpoint.projectcalico.org/master-auto-hep", "-o", "name").exit_code == 0
    both = filled("get", "node/master", "hep/master-auto-hep")
    assert (
        both.stdout == "NAME     \nmaster   \n\nNAME              NODE     \nmaster-auto-hep   master   \n\n"
    )


def test_kubectls_custom_columns_are_as_kubectl_prints_them(filled):
    result = filled(
        "get", "node", "-l", "!node-role.kubernetes.io/master", "-o", "custom-columns=NAME:.metadata.name"
    )
    assert result.stdout == "NAME\nnode1\n"
    columns = "custom-columns=NAME:.metadata.name,RACK:.metadata.labels.rack"
    assert filled("get", "nodes", "-o", columns).stdout == "NAME     RACK\nmaster   <none>\nnode1    1\n"


PATHS = [
    ("metadata.name", "master-auto-hep"),
    ("{.metadata.name}", "master-auto-hep"),
    (".spec.expectedIPs[0]", "10.0.0.1"),
    (".spec.expectedIPs[-1]", "10.0.0.2"),
    (".spec.expectedIPs[7]", "<none>"),
    (".spec.expectedIPs[*]", "10.0.0.1,10.0.0.2"),
    (".spec.expectedIPs", '["10.0.0.1","10.0.0.2"]'),
    (".spec.none.such", "<none>"),
]


@pytest.mark.parametrize(("path", "cell"), PATHS)
def test_field_path_finds_its_value(filled, path, cell):
    assert filled("get", "hep", "-o", f"custom-columns=X:{path}").stdout.split("\n")[1] == cell


@pytest.mark.parametrize(
    "path", [r".metadata.labels.kubernetes\.io/os", ".metadata.labels['kubernetes.io/os']"]
)
def test_field_path_takes_keys_with_dots(filled, path):
    assert filled("get", "node", "master", "-o", f"custom-columns=OS:{path}").stdout == "OS\nlinux\n"


def test_calicoctls_custom_columns_name_known_headings(filled):
    result = filled("get", "hep", "-o", "custom-columns=NODE,name")
    assert result.stdout == "NODE     NAME              \nmaster   master-auto-hep   \n\n"


def test_manifest_names_what_to_get(filled):
    file = filled.file("nodes.yaml", NODES)
    assert filled("get", "-f", file, "-o", "name").stdout == "node/master\nnode/node1\n"


def test_namespaces_narrow_what_has_them(filled):
    assert "web" in filled("get", "services").stdout
    assert "web" in filled("get", "services", "-n", "shop").stdout
    assert "web" not in filled("get", "services", "-n", "other").stdout
    assert "web" in filled("get", "services", "-A", "-n", "other").stdout
    assert filled("get", "service", "web").exit_code == 1
    assert filled("get", "service", "web", "-n", "shop").exit_code == 0
    assert "master" in filled("get", "nodes", env={"HEPCTL_NAMESPACE": "other"}).stdout


SELECTORS = [
    ("", "master node1"),
    ("rack", "node1"),
    ("!rack", "master"),
    ("rack=1", "node1"),
    ("rack==1", "node1"),
    ("rack!=1", "master"),
    ("rack in (1, 2)", "node1"),
    ("rack notin (1,2)", "master"),
    ("kubernetes.io/os=linux,!rack", "master"),
    ("node-role.kubernetes.io/master=", "master"),
    ("has(rack)", "node1"),
    ("!has(rack)", "master"),
    ("rack == '1'", "node1"),
    ("rack in {'1'} || has(node-role.kubernetes.io/master)", "master node1"),
    ("all()", "master node1"),
]


@pytest.mark.parametrize(("selector", "names"), SELECTORS)
def test_labels_are_selected_in_either_language(filled, selector, names):
    found = filled("get", "nodes", "-l", selector, "-o", "name").stdout.split()
    assert found == [f"node/{name}" for name in names.split()]


@pytest.mark.parametrize("selector", ["a,", ",a", "a=b=c", "a in ()b", "a b", "a=='b' && "])
def test_text_in_neither_language_is_refused(hepctl, selector):
    result = hepctl("get", "nodes", "-l", selector)
    assert result.exit_code == 2
    assert f"bad label selector '{selector}'" in result.stderr
