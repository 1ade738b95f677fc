"""What an automatic host endpoint looks like: names, labels, addresses, templates. Nothing is stored here."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re

import pytest

from pyagent import manifest
from pyagent.controller.addresses import expected_ips
from pyagent.controller.desired import Desired, desired_endpoints
from pyagent.controller.naming import endpoint_name
from pyagent.errors import AutohepError
from pyagent.model import HostEndpoint, Node
from pyagent.model.config import AutoHostEndpointConfig, HostEndpointTemplate
from tests.support.resources import node

CREATED_BY = {"projectcalico.org/created-by": "calico-kube-controllers"}
ANNOTATION_ADDRESSES = {
    "projectcalico.org/IPv4Address": "192.168.2.10/24",
    "projectcalico.org/IPv6Address": "fd00::10/64",
    "projectcalico.org/IPv4IPIPTunnelAddr": "10.1.0.1",
    "projectcalico.org/IPv4VXLANTunnelAddr": "10.1.0.2",
    "projectcalico.org/IPv6VXLANTunnelAddr": "fd00:1::2",
    "projectcalico.org/IPv4WireguardInterfaceAddr": "10.1.0.3",
    "projectcalico.org/IPv6WireguardInterfaceAddr": "fd00:1::3",
}


def with_interfaces(
    name: str, *internal_ips: str, labels: dict[str, str] | None = None, **addresses: list[str]
) -> Node:
    """A node with an annotation that lists these interfaces."""
    listed = json.dumps([{"name": interface, "addresses": each} for interface, each in addresses.items()])
    return node(name, *internal_ips, labels=labels, annotations={"projectcalico.org/Interfaces": listed})


def enabled(*templates: HostEndpointTemplate, default: str = "Enabled") -> AutoHostEndpointConfig:
    return AutoHostEndpointConfig(
        auto_create="Enabled", create_default_host_endpoint=default, templates=templates
    )


def only_templates(*templates: HostEndpointTemplate) -> AutoHostEndpointConfig:
    return enabled(*templates, default="Disabled")


def template(name: str = "custom", *cidrs: str, **fields: object) -> HostEndpointTemplate:
    return HostEndpointTemplate(generate_name=name, interface_cidrs=cidrs, **fields)  # type: ignore[arg-type]


def endpoints(nodes: list[Node], config: AutoHostEndpointConfig) -> dict[str, HostEndpoint]:
    return desired_endpoints(nodes, config).endpoints


def addresses_of(each: Node) -> tuple[str, ...]:
    return expected_ips(each, lambda _: None)


class TestNames:
    def test_a_name_is_made_of_node_template_and_interface(self) -> None:
        assert endpoint_name("n1") == "n1-auto-hep"
        assert endpoint_name("n1", "custom") == "n1-custom-auto-hep"
        assert endpoint_name("n1", "custom", "eth0") == "n1-custom-eth0-auto-hep"

    def test_the_longest_name_that_fits_is_kept(self) -> None:
        assert endpoint_name("n" * 244) == "n" * 244 + "-auto-hep"
        assert len(endpoint_name("n" * 244)) == 253

    def test_a_longer_name_is_the_hash_of_it_in_lower_case_without_punctuation(self) -> None:
        long = "n" * 245 + "-auto-hep"
        digest = base64.urlsafe_b64encode(hashlib.sha256(long.encode()).digest()).decode()
        name = endpoint_name("n" * 245)
        assert name == re.sub("[-_.=]", "", digest).lower() + "-auto-hep"
        assert re.fullmatch("[a-z0-9]+-auto-hep", name)

    def test_every_hashed_name_is_a_valid_name_and_its_own(self) -> None:
        names = {endpoint_name("n" * 245, f"t{number}") for number in range(200)}
        assert len(names) == 200
        for name in names:
            (endpoint,) = endpoints([node("n1", "10.0.0.1")], enabled()).values()
            renamed = {**manifest.encode(endpoint), "metadata": {"name": name}}
            assert manifest.decode(renamed).name == name


class TestDefaultEndpoint:
    def test_it_covers_every_interface_of_the_node_under_the_default_profile(self) -> None:
        labels = {"kubernetes.io/hostname": "master", "node-role.kubernetes.io/master": ""}
        wanted = endpoints([node("master", "192.168.2.10", labels=labels)], enabled())
        assert manifest.encode(wanted["master-auto-hep"]) == {
            "apiVersion": "projectcalico.org/v3",
            "kind": "HostEndpoint",
            "metadata": {"name": "master-auto-hep", "labels": labels | CREATED_BY},
            "spec": {
                "node": "master",
                "interfaceName": "*",
                "expectedIPs": ["192.168.2.10"],
                "profiles": ["projectcalico-default-allow"],
            },
        }

    def test_it_is_a_valid_resource_even_for_a_node_without_addresses(self) -> None:
        for each in (node("n1"), node("n1", "10.0.0.1", annotations=ANNOTATION_ADDRESSES)):
            (endpoint,) = endpoints([each], enabled()).values()
            assert manifest.validate(endpoint) == []

    def test_the_mark_of_the_controller_wins_over_a_node_label(self) -> None:
        (endpoint,) = endpoints(
            [node("n1", labels={"projectcalico.org/created-by": "me"})], enabled()
        ).values()
        assert endpoint.metadata.labels == CREATED_BY

    def test_a_nodes_annotations_are_never_copied(self) -> None:
        (endpoint,) = endpoints([node("n1", annotations={"note": "x"})], enabled()).values()
        assert endpoint.metadata.annotations == {}

    @pytest.mark.parametrize("auto_create", ["", "Disabled"])
    def test_nothing_is_wanted_unless_enabled(self, auto_create: str) -> None:
        config = AutoHostEndpointConfig(auto_create=auto_create, templates=(template("t", "10.0.0.0/8"),))
        assert endpoints([node("n1", "10.0.0.1")], config) == {}
        assert endpoints([node("n1", "10.0.0.1")], enabled()) != {}

    def test_no_default_endpoint_is_wanted_when_it_is_disabled(self) -> None:
        nodes = [node("n1", "10.0.0.1")]
        assert endpoints(nodes, only_templates()) == {}
        assert list(endpoints(nodes, only_templates(template("t", "10.0.0.0/8")))) == ["n1-t-auto-hep"]
        assert list(endpoints(nodes, enabled(template("t", "10.0.0.0/8")))) == [
            "n1-auto-hep",
            "n1-t-auto-hep",
        ]


class TestExpectedIPs:
    def test_annotations_come_first_in_their_order_then_internal_addresses_then_interfaces(self) -> None:
        interfaces = json.dumps([{"name": "eth1", "addresses": ["172.16.0.1", "10.1.0.2"]}])
        each = node(
            "n1",
            "192.168.2.10",
            "192.168.3.10",
            annotations=ANNOTATION_ADDRESSES | {"projectcalico.org/Interfaces": interfaces},
        )
        assert addresses_of(each) == (
            "192.168.2.10",
            "fd00::10",
            "10.1.0.1",
            "10.1.0.2",
            "fd00:1::2",
            "10.1.0.3",
            "fd00:1::3",
            "192.168.3.10",
            "172.16.0.1",
        )

    def test_only_internal_addresses_of_the_status_count(self) -> None:
        others = (("ExternalIP", "8.8.8.8"), ("Hostname", "n1"), ("CalicoNodeIP", "10.9.9.9"))
        assert addresses_of(node("n1", "10.0.0.1", addresses=others)) == ("10.0.0.1",)

    def test_no_address_is_listed_twice_however_it_is_written(self) -> None:
        annotations = {
            "projectcalico.org/IPv6Address": "fd00:0:0::10/64",
            "projectcalico.org/IPv6VXLANTunnelAddr": "fd00::10",
        }
        assert addresses_of(node("n1", "FD00::10", "fd00::11", annotations=annotations)) == (
            "fd00::10",
            "fd00::11",
        )

    def test_what_is_no_address_is_left_out_and_told(self) -> None:
        told: list[str] = []
        each = node(
            "n1", "10.0.0.1", "nonsense", annotations={"projectcalico.org/IPv4Address": "10.0.0.256/24"}
        )
        assert expected_ips(each, told.append) == ("10.0.0.1",)
        assert [("10.0.0.256/24" in line, "nonsense" in line) for line in told] == [
            (True, False),
            (False, True),
        ]

    @pytest.mark.parametrize("text", ["{", "[1]", '{"name": "eth0"}', '[{"addresses": []}]'])
    def test_an_unreadable_list_of_interfaces_is_ignored_and_told(self, text: str) -> None:
        told: list[str] = []
        each = node("n1", "10.0.0.1", annotations={"projectcalico.org/Interfaces": text})
        assert expected_ips(each, told.append) == ("10.0.0.1",)
        assert "projectcalico.org/Interfaces" in told[0]


class TestTemplates:
    def test_a_cidr_template_keeps_the_addresses_inside_and_names_no_interface(self) -> None:
        nodes = [node("n1", "10.0.0.1", "192.168.2.10", "fd00::1")]
        wanted = endpoints(nodes, only_templates(template("inside", "192.168.0.0/16", "fd00::/8")))
        endpoint = wanted["n1-inside-auto-hep"]
        assert endpoint.spec.expected_ips == ("192.168.2.10", "fd00::1")
        assert endpoint.spec.interface_name == ""
        assert endpoint.spec.profiles == ("projectcalico-default-allow",)
        assert manifest.validate(endpoint) == []

    def test_a_cidr_template_without_a_matching_address_makes_no_endpoint(self) -> None:
        nodes = [node("n1", "10.0.0.1"), node("n2", "10.9.0.1")]
        assert list(endpoints(nodes, only_templates(template("t", "10.9.0.0/16")))) == ["n2-t-auto-hep"]

    def test_a_pattern_template_makes_one_endpoint_for_each_interface_it_finds(self) -> None:
        nodes = [with_interfaces("n1", eth0=["10.0.0.1"], eth1=["10.0.1.1"], wlan0=["10.0.2.1"])]
        wanted = endpoints(nodes, only_templates(template("t", interface_pattern="th")))
        assert {
            name: (each.spec.interface_name, each.spec.expected_ips) for name, each in wanted.items()
        } == {
            "n1-t-eth0-auto-hep": ("eth0", ("10.0.0.1",)),
            "n1-t-eth1-auto-hep": ("eth1", ("10.0.1.1",)),
        }

    def test_a_pattern_template_without_an_interface_to_match_makes_none(self) -> None:
        config = only_templates(template("t", "10.0.0.0/8", interface_pattern="^eth"))
        assert endpoints([node("n1", "10.0.0.1"), with_interfaces("n2", "10.0.0.2", wlan0=[])], config) == {}
        assert list(endpoints([with_interfaces("n3", eth0=[])], config)) == ["n3-t-eth0-auto-hep"]

    def test_a_pattern_with_cidrs_has_the_addresses_inside_and_the_interfaces_own(self) -> None:
        nodes = [with_interfaces("n1", "10.0.0.1", "192.168.0.1", eth0=["192.168.0.1", "172.16.0.1"])]
        wanted = endpoints(
            nodes, only_templates(template("t", "10.0.0.0/8", "192.168.0.0/16", interface_pattern="eth"))
        )
        assert wanted["n1-t-eth0-auto-hep"].spec.expected_ips == ("10.0.0.1", "192.168.0.1", "172.16.0.1")

    def test_a_node_selector_picks_nodes_by_label_and_an_empty_one_picks_all(self) -> None:
        nodes = [node("n1", "10.0.0.1", labels={"role": "db"}), node("n2", "10.0.0.2")]
        selected = template("some", "10.0.0.0/8", node_selector="role == 'db'")
        assert list(endpoints(nodes, only_templates(selected))) == ["n1-some-auto-hep"]
        assert list(endpoints(nodes, only_templates(template("all", "10.0.0.0/8")))) == [
            "n1-all-auto-hep",
            "n2-all-auto-hep",
        ]

    def test_a_templates_labels_win_over_the_nodes_and_that_is_told(self) -> None:
        given = template(
            "t", "10.0.0.0/8", labels={"role": "mine", "extra": "1"} | {"projectcalico.org/created-by": "me"}
        )
        result = desired_endpoints(
            [node("n1", "10.0.0.1", labels={"role": "db", "zone": "a"})], enabled(given)
        )
        assert (
            result.endpoints["n1-t-auto-hep"].metadata.labels
            == {"role": "mine", "zone": "a", "extra": "1"} | CREATED_BY
        )
        assert result.endpoints["n1-auto-hep"].metadata.labels["role"] == "db"
        assert [line for line in result.remarks if "label=role" in line]
        assert not [line for line in result.remarks if "label=extra" in line]

    def test_a_templates_annotations_are_the_endpoints(self) -> None:
        wanted = endpoints(
            [node("n1", "10.0.0.1", annotations={"a": "node"})],
            only_templates(template("t", "10.0.0.0/8", annotations={"b": "t"})),
        )
        assert wanted["n1-t-auto-hep"].metadata.annotations == {"b": "t"}

    def test_of_two_endpoints_with_one_name_the_default_one_stays_and_it_is_told(self) -> None:
        nodes = [node("n1", "10.0.0.1"), node("n1-t", "10.0.0.2")]
        result: Desired = desired_endpoints(nodes, enabled(template("t", "10.0.0.0/8")))
        assert sorted(result.endpoints) == ["n1-auto-hep", "n1-t-auto-hep", "n1-t-t-auto-hep"]
        assert result.endpoints["n1-t-auto-hep"].spec.node == "n1-t"
        assert [line for line in result.remarks if "n1-t-auto-hep" in line]

    @pytest.mark.parametrize(
        "bad",
        [
            template("t", "10.0.0.0/8", node_selector="role =="),
            template("t", interface_pattern="eth("),
            template("t", "10.0.0.0/33"),
        ],
        ids=["selector", "pattern", "cidr"],
    )
    def test_a_template_that_cannot_be_used_is_an_error(self, bad: HostEndpointTemplate) -> None:
        with pytest.raises(AutohepError):
            desired_endpoints([node("n1", "10.0.0.1")], enabled(bad))

    def test_the_order_of_nodes_makes_no_difference(self) -> None:
        nodes = [node("n1", "10.0.0.1"), node("n1-t", "10.0.0.2"), node("n0", "10.0.0.3")]
        config = enabled(template("t", "10.0.0.0/8"))
        results = [desired_endpoints(order, config) for order in itertools.permutations(nodes)]
        assert all(result == results[0] for result in results)
