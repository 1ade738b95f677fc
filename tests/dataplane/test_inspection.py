"""`hepctl bpf`: what the maps of the real program hold, after packets that it judged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyagent import abi
from pyagent.abi import Direction
from pyagent.dataplane import Interface
from pyagent.model.policy import EntityRule, Rule
from tests.support.frames import Wrapping, frame
from tests.support.kernel import Kernel
from tests.support.node import Node
from tests.support.policy_world import allow, deny, packet, policy, tcp
from tests.support.resources import network_set

OFFICE = network_set("office", "192.0.2.0/24", "2001:db8::/32", where="office")
GUESTS = EntityRule(nets=("198.51.100.0/24",))
SSH = allow(
    protocol="TCP", source=EntityRule(selector="where == 'office'"), destination=EntityRule(ports=(2200,))
)
PINGS = Rule(action="Allow", protocol="ICMP", icmp=None)
GATE = policy("gate", SSH, PINGS, deny(source=GUESTS), selector="role == 'db'")
TRIAL = policy("trial", deny(protocol="TCP"), staged="Set", selector="all()", order=1.0)
TO_SSH = frame(tcp("192.0.2.9", port=2200))
GUEST = frame(tcp("198.51.100.7", port=2200))
FROM_SSH = frame(packet("10.0.0.1", "192.0.2.9", 6, source_port=2200, destination_port=40000, tcp_flags=0x12))


@pytest.fixture
def node(kernel: Kernel, tmp_path: Path) -> Iterator[Node]:
    found = Node(kernel, tmp_path / "state")
    found.put(OFFICE, GATE, TRIAL)
    found.shown("bpf", "counters", "flush")
    yield found
    kernel.withdraw()


def test_a_flow_is_told_with_its_ends_its_state_and_the_rule_that_allowed_it(node: Node) -> None:
    assert node.kernel.run(TO_SSH).passed
    (flow,) = node.json("bpf", "conntrack", "dump")
    assert (flow["protocol"], flow["local"], flow["localPort"]) == ("tcp", "10.0.0.1", 2200)
    assert (flow["remote"], flow["remotePort"], flow["opened"]) == ("192.0.2.9", 40000, "ingress")
    assert (flow["state"], flow["packets"], flow["bytes"]) == ("handshake", 1, len(TO_SSH))
    assert (flow["rule"], flow["origin"], flow["limitSeconds"]) == ("gate/ingress[0]", "policy", 60)
    assert flow["idleSeconds"] < 5
    assert node.kernel.run(FROM_SSH, direction=Direction.EGRESS).passed
    (flow,) = node.json("bpf", "conntrack", "dump")
    assert (flow["state"], flow["packets"], flow["limitSeconds"]) == ("established", 2, 432000)
    assert "192.0.2.9:40000   10.0.0.1:2200" in node.shown("bpf", "conntrack", "dump")


def test_a_ping_is_told_by_type_and_identifier(node: Node) -> None:
    assert node.kernel.run(
        frame(packet("192.0.2.9", protocol=1, icmp_type=8), Wrapping(identifier=77))
    ).passed
    (flow,) = node.json("bpf", "conntrack", "dump")
    assert (flow["icmpType"], flow["identifier"], flow["rule"]) == (8, 77, "gate/ingress[1]")
    assert "10.0.0.1 type 8 id 77" in node.shown("bpf", "conntrack", "dump")


def test_flows_are_chosen_counted_and_forgotten(node: Node) -> None:
    node.kernel.run(TO_SSH)
    node.kernel.run(frame(packet("2001:db8::9", "fd00::1", 6, source_port=1, destination_port=2200)))
    node.kernel.run(frame(packet("192.0.2.9", protocol=1, icmp_type=8)))
    stats = node.json("bpf", "conntrack", "stats")
    assert (stats["protocols"], stats["expired"]) == ({"tcp": 2, "icmp": 1}, 0)
    assert [stats["tables"][name]["entries"] for name in ("flows4", "flows6")] == [2, 1]
    assert len(node.json("bpf", "conntrack", "dump", "--protocol", "tcp")) == 2
    assert len(node.json("bpf", "conntrack", "dump", "--address", "2001:DB8::9")) == 1
    assert len(node.json("bpf", "conntrack", "dump", "--port", "40000")) == 1
    assert len(node.json("bpf", "conntrack", "dump", "--by", "ingress[1]")) == 1
    assert len(node.json("bpf", "conntrack", "dump", "--limit", "1")) == 1
    assert node.shown("bpf", "conntrack", "remove", "--protocol", "icmp") == "forgot 1 flows\n"
    assert node.shown("bpf", "conntrack", "clean") == "forgot 0 flows\n"
    assert {flow["protocol"] for flow in node.json("bpf", "conntrack", "dump")} == {"tcp"}
    assert node.shown("bpf", "conntrack", "remove", "--all") == "forgot 2 flows\n"
    assert node.json("bpf", "conntrack", "dump") == []


def test_a_flow_that_is_idle_too_long_is_expired_and_cleaned(node: Node) -> None:
    node.kernel.run(TO_SSH)
    flows = node.kernel.dataplane.map("flows4")
    ((key, value),) = flows.items()
    with node.control() as control:
        then = control.jiffies() - 61 * control.rate
    fields = list(abi.FLOW.unpack(value))
    fields[3] = then & 0xFFFFFFFF
    flows.set(key, abi.FLOW.pack(*fields))
    (flow,) = node.json("bpf", "conntrack", "dump")
    assert flow["expired"]
    assert 60 < flow["idleSeconds"] < 70
    assert node.shown("bpf", "conntrack", "clean") == "forgot 1 flows\n"


def test_what_to_forget_must_be_said(node: Node) -> None:
    node.kernel.run(TO_SSH)
    assert node.hepctl("bpf", "conntrack", "remove").exit_code == 2
    assert node.hepctl("bpf", "conntrack", "remove", "--address", "nowhere").exit_code == 2
    assert node.hepctl("bpf", "conntrack", "remove", "--protocol", "smtp").exit_code == 2
    assert len(node.json("bpf", "conntrack", "dump")) == 1


def test_counters_tell_every_reason_by_interface(node: Node) -> None:
    node.kernel.run(TO_SSH)
    node.kernel.run(GUEST)
    node.kernel.run(GUEST)
    assert node.json("bpf", "counters", "dump", "--iface", "eth0") == [
        {
            "interface": "eth0",
            "direction": "ingress",
            "verdict": "allow",
            "reason": "policy_allow",
            "packets": 1,
        },
        {
            "interface": "eth0",
            "direction": "ingress",
            "verdict": "deny",
            "reason": "policy_deny",
            "packets": 2,
        },
    ]
    assert node.json("bpf", "counters", "dump", "--iface", "eth1") == []
    assert "policy_deny    2" in node.shown("bpf", "counters", "dump")
    node.shown("bpf", "counters", "flush")
    assert node.json("bpf", "counters", "dump") == []


def test_the_policy_at_an_interface_is_told_with_hits_and_addresses(node: Node) -> None:
    for one in (TO_SSH, GUEST, GUEST):
        node.kernel.run(one)
    found = node.json("bpf", "policy", "dump", "eth0", "ingress")
    (table,) = found["tables"]
    (tier,) = table["tiers"]
    trial, gate = tier["policies"]
    ssh, pings, guests = gate["rules"]
    assert (found["endpoint"], table["table"], tier["name"]) == ("h", "local_ingress", "default")
    assert (trial["name"], trial["staged"], trial["stagedHits"]) == ("trial", True, {"Deny": 3})
    assert [rule["packets"] for rule in (ssh, pings, guests)] == [1, 0, 2]
    assert ssh["conditions"] == ['tcp port 2200 from where == "office"']
    (members,) = ssh["sets"]
    assert members["networks"] == ["192.0.2.0/24", "2001:db8::/32"]
    text = node.shown("bpf", "policy", "dump", "eth0")
    assert f'[0] Allow tcp port 2200 from where == "office"  [1 packets, {len(TO_SSH)} bytes]' in text
    assert "end: Deny" in text


def test_the_image_is_told_and_its_budget(node: Node) -> None:
    found = node.json("bpf", "image")
    assert found["generation"] == node.kernel.dataplane.generation
    assert (found["limit"], found["bytes"]) == (
        node.kernel.dataplane.image_bytes, len(node.kernel.dataplane.image_in_force())
    )  # fmt: skip
    (endpoint,) = found["endpoints"]
    assert {table["table"]: table["rules"] for table in endpoint["tables"]}["local_ingress"] == 4
    saved = node.json("bpf", "image", "--image", str(node.state.path))
    assert (saved["hash"], saved["limit"]) == (found["hash"], 0)


def test_an_address_is_looked_up(node: Node) -> None:
    office = node.json("bpf", "lookup", "192.0.2.9")
    assert 'where == "office"' in office["sets"]
    assert {"rule": "gate/ingress[0]", "action": "Allow", "as": "source"} in office["rules"]
    guest = node.json("bpf", "lookup", "198.51.100.1")
    assert [rule["rule"] for rule in guest["rules"]] == ["gate/ingress[2]"]
    assert guest["class"] != office["class"]
    here = node.json("bpf", "lookup", "fd00::1", "--image", str(node.state.path))
    assert (here["thisHost"], office["thisHost"]) == (True, False)
    assert "lies in 198.51.100.0/24" in node.shown("bpf", "lookup", "198.51.100.1")


def test_a_port_is_looked_up(node: Node) -> None:
    found = node.json("bpf", "lookup", "2200/tcp")
    assert [rule["rule"] for rule in found["rules"]] == [
        "trial/ingress[0]",
        "gate/ingress[0]",
        "gate/ingress[2]",
    ]
    assert "tcp port 2200" in found["conditions"]
    assert [rule["rule"] for rule in node.json("bpf", "lookup", "2201/tcp")["rules"]] == [
        "trial/ingress[0]", "gate/ingress[2]",
    ]  # fmt: skip
    assert node.json("bpf", "lookup", "8/icmp")["rules"][0]["rule"] == "gate/ingress[1]"
    assert (
        node.json("bpf", "lookup", "gre" if False else "/47")["class"]
        == node.json("bpf", "lookup", "/50")["class"]
    )
    for wrong in ("nobody", "22/smtp", "70000/tcp", "22/47", "tcp"):
        assert node.hepctl("bpf", "lookup", wrong).exit_code == 2, wrong


def test_what_changed_between_two_images_is_told(node: Node, tmp_path: Path) -> None:
    before = tmp_path / "before"
    shutil.copytree(node.state.path, before)
    more = network_set("annex", "203.0.113.0/24", where="office")
    node.put(OFFICE, more, policy("gate", SSH, deny(source=GUESTS), selector="role == 'db'"))
    found = node.json("bpf", "image", "diff", str(before), "live")
    assert found["policies"] == {"added": [], "removed": ["trial"]}
    assert found["rules"]["removed"] == ["Deny trial/ingress[0]", "Allow gate/ingress[1]"]
    (change,) = (each for each in found["sets"] if each["name"] == 'where == "office"')
    assert (change["change"], change["added"], change["removed"]) == ("changed", ["203.0.113.0/24"], [])
    text = node.shown("bpf", "image", "diff", str(before), str(node.state.path))
    assert "- policy trial" in text
    assert "the policies are the same" in node.shown("bpf", "image", "diff", "live", "live")


def test_interfaces_failsafes_and_maps_are_told(node: Node) -> None:
    eth0 = next(each for each in node.json("bpf", "ifstate", "dump") if each["interface"] == "eth0")
    assert (eth0["index"], eth0["slot"], eth0["counter"], eth0["map"]) == (2, 0, 2, "ifstate")
    failsafes = node.json("bpf", "failsafe", "dump")
    assert {"direction": "ingress", "protocol": "tcp", "port": 22, "peer": "any"} in failsafes or any(
        each["port"] == 22 for each in failsafes
    )
    node.kernel.run(TO_SSH)
    maps = {each["name"]: each for each in node.json("bpf", "maps")}
    assert (maps["flows4"]["used"], maps["flows4"]["type"]) == (1, "lru_hash")
    assert maps["images"]["memoryBytes"] >= 2 * node.kernel.dataplane.image_bytes
    assert maps["control"]["used"] is None
    assert "pinned below" in node.shown("bpf", "maps")


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ([], "interface eth0 is not known to the firewall"),
        ([Interface(2, None)], "no host endpoint applies to interface eth0: everything passes"),
        ([Interface(2, 0, excluded=True)], "interface eth0 is excluded by configuration"),
    ],
    ids=["unknown", "without endpoint", "excluded"],
)
def test_an_interface_where_no_policy_is_in_force_is_told_why(
    node: Node, known: list[Interface], message: str
) -> None:
    node.kernel.dataplane.set_interfaces(known)
    result = node.hepctl("bpf", "policy", "dump", "eth0")
    assert (result.exit_code, message in result.stderr) == (1, True)


def test_names_of_another_generation_are_not_used(node: Node) -> None:
    metadata = node.state.path / "image.json"
    content = json.loads(metadata.read_text())
    metadata.write_text(json.dumps({**content, "generation": content["generation"] - 1}))
    assert "names are not known" in node.hepctl("bpf", "image").stderr
    result = node.hepctl("bpf", "policy", "dump", "eth0")
    assert (result.exit_code, "is in force" in result.stderr) == (1, True)
