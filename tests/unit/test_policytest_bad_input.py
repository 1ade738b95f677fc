"""A test file that cannot be meant is refused whole, with file and line."""

from __future__ import annotations

import pytest

from pyagent.errors import ManifestError
from pyagent.policytest import load_suites

WORLD = """resources:
- apiVersion: v1
  kind: Node
  metadata: {name: n1}
  status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}
- apiVersion: projectcalico.org/v3
  kind: GlobalNetworkPolicy
  metadata: {name: web}
  spec: {ingress: [{action: Allow, protocol: TCP}]}
cases:
"""
CASE = """- name: a
  node: n1
  direction: ingress
  packet:
    protocol: TCP
    source: 10.0.0.2
    destination: n1
    destinationPort: 80
  expect: Allow
"""


@pytest.fixture
def refusal(tmp_path):
    """Loads a test file that must be refused; gives the message, the file called FILE."""

    def load(text: str) -> str:
        path = tmp_path / "t.yaml"
        path.write_text(text)
        with pytest.raises(ManifestError) as caught:
            load_suites(str(path))
        return str(caught.value).replace(str(path), "FILE")

    return load


def test_the_file_that_these_tests_spoil_is_good(tmp_path):
    (tmp_path / "t.yaml").write_text(WORLD + CASE)
    (suite,) = load_suites(str(tmp_path / "t.yaml"))
    assert [case.line for case in suite.cases] == [11]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("node: n1", "node: n9", "FILE:12: error with field cases[0].node = 'n9' (there is no such node"),
        ("name: a", "name: ''", "FILE:11: error with field cases[0].name (name is required"),
        ("  node", "  nod", "FILE:12: error with field cases[0].nod (field in document is not recognized"),
        ("ingress", "inwards", "FILE:13: error with field cases[0].direction = 'inwards' (must be one of"),
        ("expect: Allow", "expect: allow", "FILE:19: error with field cases[0].expect = 'allow' (must be"),
        ("expect: Allow", "by: web", "cases[0].expect (must be one of Allow, Deny"),
        (
            "expect: Allow",
            "expect: Allow\n  by: wen",
            "FILE:20: error with field cases[0].by = 'wen' (there is no such policy or profile",
        ),
        ("expect: Allow", "expect: Allow\n  by: web/1", "cases[0].by = 'web/1' (web has 1 ingress rules"),
        ("expect: Allow", "expect: Allow\n  by: web/egress[0]", "an ingress packet meets no egress rule"),
        ("expect: Allow", "expect: Allow\n  flow: Old", "cases[0].flow = 'Old' (must be one of New, "),
        ("expect: Allow", "expect: Allow\n  toInterface: eth1", "only what is forwarded leaves by another"),
        ("expect: Allow", "expect: Allow\n  flow: Related", "only an ICMP error is related to another flow"),
        ("ingress", "forward", "10.0.0.1 is an address of n1 itself: that is ingress"),
        (
            "destinationPort: 80",
            "destinationPort: a",
            "FILE:18: error with field cases[0].packet.destinationP",
        ),
        ("destinationPort: 80", "destinationPort: 65536", "65536 is not from 0 to 65535"),
        ("destinationPort: 80", "port: 80", "FILE:18: error with field cases[0].packet.port (field in doc"),
        ("    destinationPort: 80\n", "", "a packet of protocol TCP has a destinationPort"),
        (
            "protocol: TCP",
            "protocol: tcp",
            "FILE:15: error with field cases[0].packet.protocol ('tcp' is none",
        ),
        ("protocol: TCP", "protocol: 0", "0 is not from 1 to 255"),
        ("    protocol: TCP\n", "", "a packet has a protocol"),
        (
            "protocol: TCP",
            "protocol: ICMP",
            "FILE:18: error with field cases[0].packet.destinationPort (a pa",
        ),
        ("protocol: TCP", "protocol: 47", "a packet of protocol 47 has no ports"),
        ("destinationPort: 80", "icmpType: 8", "a packet of protocol TCP is no ICMP message"),
        ("protocol: TCP", "protocol: UDP\n    tcpFlags: SYN", "only a TCP packet that is no later fragment"),
        ("protocol: TCP", "protocol: TCP\n    tcpFlags: HELLO", "'HELLO' is none of FIN, SYN"),
        ("protocol: TCP", "protocol: TCP\n    fragment: true", "a later fragment carries no ports"),
        ("source: 10.0.0.2", "source: fd00::2", "n1 has no IPv6 address"),
        ("destination: n1", "destination: fd00::1", "one packet has one IP version: source says IPv4"),
        ("protocol: TCP", "protocol: TCP\n    ipVersion: 5", "5 is neither 4 nor 6"),
        ("protocol: TCP", "protocol: TCP\n    ipVersion: 6", "one packet has one IP version"),
        ("source: 10.0.0.2", "source: n3", "FILE:16: error with field cases[0].packet.source (there is no"),
        ("source: 10.0.0.2", "source: 10.0.0.256", "there is no node '10.0.0.256' among the resources"),
        ("    source: 10.0.0.2\n", "", "a packet has a source"),
    ],
)
def test_a_case_that_cannot_be_meant_is_refused_with_its_line(refusal, old, new, message):
    assert message in refusal(WORLD + CASE.replace(old, new, 1))


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        (
            "{protocol: ICMP, source: 10.0.0.2, destination: n1, icmpType: 5}, flow: Established",
            "belongs to no",
        ),
        (
            "{protocol: TCP, source: 10.0.0.2, destination: n1, fragment: true}, flow: Established",
            "a later fra",
        ),
        ("{protocol: 43, source: 'fd00::2', destination: 'fd00::1'}", "43 is an IPv6 extension header"),
        (
            "{protocol: ICMP, source: 10.0.0.2, destination: n1, icmpCode: 1}",
            "means something only with icmpT",
        ),
        ("{protocol: ICMP, source: 10.0.0.2, destination: n1, icmpType: 256}", "256 is not from 0 to 255"),
        ("{protocol: ICMPv6, source: 10.0.0.2, destination: n1}", "protocol says IPv6"),
        ("{protocol: ICMP, source: 'fd00::2', destination: n1}", "protocol says IPv4"),
    ],
)
def test_a_packet_that_cannot_exist_is_refused(refusal, packet, message):
    case = f"- {{name: a, node: n1, direction: ingress, expect: Deny, packet: {packet}}}\n"
    assert message in refusal(WORLD + case)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no test in this file"),
        ("[]", "is not an object with resources and cases"),
        ("case: []", "FILE:1: error with field case (field in document is not recognized"),
        ("resources: []", "there are no cases"),
        ("resources: [nothing.yaml]\ncases: []", "nothing.yaml: error with field file (No such file"),
        ('resources: ["-"]\ncases: []', "FILE:1: error with field resources[0] = '-' (standard input is no"),
        ("resources: [{kind: Node}]\ncases: []", "FILE:1: error with field apiVersion"),
        ("a: b: c", "FILE:1: error with field document (cannot be read"),
        (
            WORLD.replace("action: Allow", "action: Perhaps") + CASE,
            "FILE:9: error with field spec.ingress[0].action = 'Perhaps'",
        ),
        (WORLD.replace("cases", "labels: {n2: {a: b}}\ncases") + CASE, "FILE:10: error with field labels"),
        (WORLD.replace("cases", "facts: {n2: {}}\ncases") + CASE, "there is no node 'n2' among"),
        (
            WORLD.replace("cases", "facts: {n1: {pods: [{addresses: [pod]}]}}\ncases") + CASE,
            "error with field facts.n1.pods[0].addresses = 'pod' (is not an IP address)",
        ),
        (
            WORLD.replace("cases", "facts: {n1: {interfaces: [{name: eth0}]}}\ncases")
            + CASE.replace("direction", "interface: eth5\n  direction"),
            "cases[0].interface = 'eth5' (n1 has no such interface by its facts)",
        ),
        (
            WORLD + CASE.replace("  node: n1\n", "").replace("destination: n1", "destination: 10.0.0.9"),
            "node is required: neither end tells which node it is",
        ),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(refusal, text, message):
    assert message in refusal(text)


def test_a_resource_that_is_given_twice_is_refused_with_both_places(refusal):
    node = WORLD.partition("resources:\n")[2].partition("- apiVersion: projectcalico")[0]
    message = refusal(WORLD.replace("cases", node + "cases") + CASE)
    assert "FILE:12: error with field metadata.name = 'n1' (Node is given twice, first at FILE:2)" in message


def test_all_defects_of_a_file_are_told_at_once(refusal):
    message = refusal(WORLD + CASE.replace("node: n1", "node: n9").replace("Allow", "allow"))
    assert "cases[0].node" in message
    assert "cases[0].expect" in message


def test_a_file_that_is_not_there_is_told_by_its_name(hepctl):
    result = hepctl("test", "/nonexistent/tests.yaml")
    assert result.exit_code == 1
    assert result.stderr == "/nonexistent/tests.yaml: error with field file (No such file or directory)\n"


def test_a_path_longer_than_any_file_name_is_refused_like_one_that_is_not_there(refusal):
    """Found by the fuzzer; kept in its corpus."""
    path = "n" * 300 + ".yaml"
    message = refusal(f"resources: [{path}]\ncases: []\n")
    assert path in message
    assert "File name too long" in message
