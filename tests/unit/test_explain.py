"""``hepctl explain``: the way of a packet, and why each rule on it did not match."""

from __future__ import annotations

import json

import pytest

from pyagent import manifest
from pyagent.errors import UsageError
from pyagent.explain import Question, explain, lines, parse_end
from pyagent.explain.question import End
from pyagent.inquiry import Hosts, Sources, automatic, from_documents
from pyagent.reference import FlowState

WORLD = """
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {role: web}}
status: {addresses: [{type: InternalIP, address: 10.0.0.1}, {type: InternalIP, address: "fd00::1"}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2, labels: {role: db}}
status: {addresses: [{type: InternalIP, address: 10.0.0.2}, {type: InternalIP, address: "fd00::2"}]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: web}
spec:
  selector: role == 'web'
  ingress:
  - {action: Allow, protocol: UDP}
  - {action: Allow, protocol: TCP, source: {selector: role == 'db'}, destination: {ports: [80]}}
"""
STAGED = """
---
apiVersion: projectcalico.org/v3
kind: StagedGlobalNetworkPolicy
metadata: {name: %s}
spec:
  selector: role == 'web'
  %s
"""


def sources_of(text: str) -> Sources:
    return from_documents(manifest.load(text, "w.yaml"))


def ask(source: str, destination: str, text: str = WORLD, **more: object):
    sources = sources_of(text)
    question = Question(
        parse_end(source, "--from", protocol=False),
        parse_end(destination, "--to", protocol=True),
        **more,  # type: ignore[arg-type]
    )
    return explain(Hosts(automatic(sources.resources)), question)


def hooks(found) -> list[str]:
    return [str(hook.crossing) for hook in found.hooks] + [f"({crossing})" for crossing in found.after]


# -- questions


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("external", End("external")),
        ("n1:80/tcp", End("n1", 80, "tcp")),
        ("n1/icmp:3:4", End("n1", None, "icmp:3:4")),
        ("10.0.0.1:53/udp", End("10.0.0.1", 53, "udp")),
        ("10.0.0.1", End("10.0.0.1")),
        ("fd00::1", End("fd00::1")),
        ("fd00::1/58", End("fd00::1", None, "58")),
        ("[fd00::1]:80/tcp", End("fd00::1", 80, "tcp")),
        ("[fd00::1]", End("fd00::1")),
    ],
)
def test_an_end_is_a_host_with_a_port_and_a_protocol(text, end):
    assert parse_end(text, "--to", protocol=True) == end


@pytest.mark.parametrize(
    "text", ["", ":80", "n1:", "n1:http", "n1:65536", "n1/", "[fd00::1", "a b:c:d", "/tcp"]
)
def test_what_is_no_end_is_refused(text):
    with pytest.raises(UsageError, match="--to"):
        parse_end(text, "--to", protocol=True)


def test_the_source_has_no_protocol_of_its_own():
    assert parse_end("n1:80", "--from", protocol=False) == End("n1", 80)
    with pytest.raises(UsageError, match="not of the form HOST or HOST:PORT"):
        parse_end("n1:80/tcp", "--from", protocol=False)


@pytest.mark.parametrize(
    ("destination", "packet"),
    [
        ("n1:80/tcp", "TCP 203.0.113.7 -> 10.0.0.1 40000 -> 80"),
        ("n1:80", "TCP 203.0.113.7 -> 10.0.0.1 40000 -> 80"),
        ("n1:53/UDP", "UDP 203.0.113.7 -> 10.0.0.1 40000 -> 53"),
        ("n1", "ICMP 203.0.113.7 -> 10.0.0.1 type 8 code 0"),
        ("n1/icmp:3:4", "ICMP 203.0.113.7 -> 10.0.0.1 type 3 code 4"),
        ("n1/47", "47 203.0.113.7 -> 10.0.0.1"),
        ("fd00::1/icmp", "ICMPv6 2001:db8:ffff::7 -> fd00::1 type 128 code 0"),
        ("[fd00::1]:22/tcp", "TCP 2001:db8:ffff::7 -> fd00::1 40000 -> 22"),
    ],
)
def test_the_packet_is_what_the_ends_say(destination, packet):
    assert str(ask("external", destination).packet) == packet


def test_ipv6_takes_the_nodes_other_addresses():
    assert str(ask("n2", "n1:80/tcp", version=6).packet) == "TCP fd00::2 -> fd00::1 40000 -> 80"
    assert str(ask("n2", "n1/icmp", version=6).packet) == "ICMPv6 fd00::2 -> fd00::1 type 128 code 0"


@pytest.mark.parametrize(
    ("source", "destination", "message"),
    [
        ("external", "n1/tcp", "no such packet: destinationPort"),
        ("external", "n1:80/icmp", "no such packet: destinationPort: a packet of protocol ICMP has no ports"),
        ("external", "n1:80/tcp:1", "only icmp and icmpv6 go on"),
        ("external", "n1:80/quic", "'quic' is neither a number nor one of"),
        ("external", "n9:80/tcp", "there is no node 'n9'"),
        ("fd00::2", "10.0.0.1:80", "one packet has one IP version"),
        ("external", "10.9.9.9:80", "neither end is a node of these resources"),
    ],
)
def test_a_question_that_cannot_be_meant_is_refused(source, destination, message):
    with pytest.raises(UsageError, match=message):
        ask(source, destination)


# -- the way


def test_a_packet_between_nodes_crosses_a_hook_of_each():
    assert hooks(ask("n2", "n1:80/tcp")) == ["egress at n2 eth0", "ingress at n1 eth0"]
    assert hooks(ask("external", "n1:80/tcp")) == ["ingress at n1 eth0"]
    assert hooks(ask("n1", "external:443/tcp")) == ["egress at n1 eth0"]


def test_a_packet_to_oneself_goes_by_loopback():
    assert hooks(ask("n2", "n2:80/tcp")) == ["egress at n2 lo", "ingress at n2 lo"]
    assert hooks(ask("127.0.0.1", "127.0.0.1:80/tcp", node="n2")) == ["egress at n2 lo", "ingress at n2 lo"]


def test_node_and_direction_and_interface_narrow_the_way():
    assert hooks(ask("n2", "n1:80/tcp", node="n1")) == ["ingress at n1 eth0"]
    assert hooks(ask("n2", "n1:80/tcp", direction="egress")) == ["egress at n2 eth0"]
    assert hooks(ask("n2", "n1:80/tcp", node="n1", interface="eth7")) == ["ingress at n1 eth7"]
    assert hooks(ask("n2", "n1:80/tcp", interface="eth7")) == ["egress at n2 eth0", "ingress at n1 eth7"]
    assert hooks(ask("n2", "external:80/tcp", interface="eth7")) == ["egress at n2 eth7"]
    with pytest.raises(UsageError, match="crosses no egress hook of n1"):
        ask("n2", "n1:80/tcp", node="n1", direction="egress")


def test_a_router_on_the_way_forwards_the_packet():
    found = ask("10.8.0.1", "10.9.0.1:80/tcp", node="n1")
    assert hooks(found) == ["ingress at n1 eth0", "egress at n1 eth0"]
    assert [hook.decision.reason.name for hook in found.hooks] == ["FORWARD_NONE", "FORWARD_NONE"]


def test_what_is_dropped_reaches_no_further_hook():
    text = WORLD + (
        "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: out}\n"
        "spec: {selector: role == 'db', types: [Egress], egress: [{action: Deny}]}\n"
    )
    found = ask("n2", "n1:80/tcp", text)
    assert hooks(found) == ["egress at n2 eth0", "(ingress at n1 eth0)"]
    assert not found.allowed


def test_the_state_of_the_flow_counts():
    assert not ask("external", "n1:80/tcp").allowed
    assert ask("external", "n1:80/tcp", flow=FlowState.ESTABLISHED).allowed


def test_a_flow_that_the_packet_cannot_have_is_refused():
    with pytest.raises(UsageError, match="--flow related: only an ICMP error is related"):
        ask("external", "n1:80/tcp", flow=FlowState.RELATED)
    assert ask("external", "n1/icmp:3:4", flow=FlowState.RELATED).allowed


# -- the answer


def test_each_rule_passed_on_the_way_says_which_condition_failed():
    text = "\n".join(lines(ask("external", "n1:80/tcp"), sources_of(WORLD)))
    assert "rule web/ingress[0]: no match (it is TCP, not UDP)" in text
    assert (
        "rule web/ingress[1]: no match (source 203.0.113.7 is none of the endpoints and network sets with "
        "role == 'db')" in text
    )
    assert text.endswith("Deny: dropped on ingress at n1 eth0 (end of tier default)")


def test_the_deciding_rule_is_told_with_its_place_and_by_both_engines():
    text = "\n".join(lines(ask("n2", "n1:80/tcp"), sources_of(WORLD)))
    assert "=> Allow: web/ingress[1]  (w.yaml:19)" in text
    assert "reference: Allow by web/ingress[1] [POLICY_ALLOW]" in text
    assert "image: Allow by web/ingress[1] [POLICY_ALLOW]" in text


def test_policies_that_have_no_say_are_listed_with_the_reason():
    more = (
        "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: %s}\nspec: {%s}\n"
    )
    text = WORLD + "".join(
        more % each
        for each in (
            ("db", "selector: role == 'db', ingress: [{action: Allow}]"),
            ("out", "types: [Egress], egress: [{action: Allow}]"),
            ("pods", "namespaceSelector: all(), ingress: [{action: Allow}]"),
            ("dnat", "preDNAT: true, applyOnForward: true, ingress: [{action: Allow, protocol: SCTP}]"),
        )
    )
    found = ask("external", "n1:80/tcp", text)
    assert {each.policy: each.why for each in found.hooks[0].aside} == {
        "db": "its selector role == 'db' does not pick n1-auto-hep",
        "out": "its types do not have Ingress",
        "pods": "it selects by namespace or service account, which a host endpoint does not have",
    }


def test_a_forwarded_packet_tells_of_policies_without_applyonforward():
    found = ask("10.8.0.1", "10.9.0.1:80/tcp", node="n1")
    (aside,) = found.hooks[0].aside
    assert (aside.policy, aside.why) == (
        "web",
        "the packet is forwarded, and it does not have applyOnForward",
    )


def test_what_staged_policies_would_change_is_told_each_and_together():
    text = WORLD + STAGED % ("early", "order: 1\n  ingress: [{action: Deny}]")
    text += STAGED % ("zlate", "ingress: [{action: Deny}]")
    (hook,) = ask("n2", "n1:80/tcp", text, direction="ingress").hooks
    assert [(each.policy, str(each.decision.verdict)) for each in hook.changes] == [
        ("early", "Deny"),
        ("all staged policies", "Deny"),
    ]


def test_a_staged_deletion_tells_what_would_be_without_the_policy():
    text = WORLD + STAGED % ("web", "stagedAction: Delete")
    (hook,) = ask("external", "n1:80/tcp", text).hooks
    assert not hook.decision.allowed
    (change,) = hook.changes
    assert (change.policy, change.decision.profile) == ("web", "projectcalico-default-allow")


# -- the command


def test_the_command_explains_manifests(hepctl):
    file = hepctl.file("w.yaml", WORLD)
    result = hepctl("explain", "--from", "n2", "--to", "n1:80/tcp", "-f", file)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("TCP 10.0.0.2 -> 10.0.0.1 40000 -> 80\n\negress at n2 eth0\n")
    assert f"({file}:19)" in result.stdout


def test_the_command_explains_what_is_in_the_datastore_and_adds_nothing_to_it(hepctl):
    hepctl.prepare(WORLD)
    question = ("explain", "--from", "external", "--to", "n1:80/tcp", "-o", "json")
    before = json.loads(hepctl(*question).stdout)
    assert before["hooks"][0]["decision"]["reason"] == "NO_ENDPOINT"
    hepctl.prepare(
        "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {name: h, labels: {role: web}}\n"
        "spec: {node: n1, interfaceName: '*', expectedIPs: [10.0.0.1]}\n"
    )
    after = json.loads(hepctl(*question).stdout)
    assert (after["verdict"], after["agreed"]) == ("Deny", True)
    assert after["hooks"][0]["decision"]["because"] == "end of tier default"
    assert [answer["verdict"] for answer in after["hooks"][0]["engines"]] == ["Deny", "Deny"]


def test_the_command_refuses_a_node_that_there_is_not(hepctl):
    file = hepctl.file("w.yaml", WORLD)
    result = hepctl("explain", "--from", "external", "--to", "n1:1/tcp", "--node", "n7", "-f", file)
    assert result.exit_code == 1
    assert result.stderr == "there is no node 'n7' among the resources (known: n1, n2)\n"


def test_what_is_in_force_cannot_be_asked_where_no_agent_has_been(hepctl, tmp_path):
    file = hepctl.file("w.yaml", WORLD)
    question = ("explain", "--from", "external", "--to", "n1:1/tcp", "-f", file)
    assert hepctl(*question).exit_code == 0
    result = hepctl(*question, "--running", "--state-dir", str(tmp_path / "none"))
    assert result.exit_code == 1
    assert "no agent has saved an image there" in result.stderr
