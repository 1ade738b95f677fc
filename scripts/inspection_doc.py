"""docs/inspection.md: the commands that look into a node's kernel, with what they really print.

``make docs-inspection`` writes it, as root; tests/dataplane/test_inspection_doc.py fails when the file is not
what the commands print by now.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from pyagent.abi import Direction  # noqa: E402
from pyagent.model.policy import EntityRule, Rule  # noqa: E402
from tests.support.frames import frame  # noqa: E402
from tests.support.kernel import Kernel, Network  # noqa: E402
from tests.support.node import Node  # noqa: E402
from tests.support.policy_world import allow, deny, packet, policy, tcp  # noqa: E402
from tests.support.resources import network_set  # noqa: E402

DOCUMENT: Final = PROJECT / "docs" / "inspection.md"

INTRODUCTION: Final = """\
# Looking into a node

Written by `make docs-inspection` from what the commands really print; a test fails when it is stale.

These commands run on the node, as root. They need neither the datastore nor a running agent: everything
comes from the pinned maps and from the agent's directory, where it keeps the names that belong to the
numbers in the kernel. All take `--instance` (and `--pins`, `--state-dir`) where several agents share a
machine, and `-o json` where they show something. A pin that is missing or damaged, an interface that does
not exist, or pins of another version of the program end in one message and exit code 1.

What to do about what they show is in [tuning.md](tuning.md). Whether the node is in order at all,
`hepctl node status` and `hepctl doctor` say ([operations.md](operations.md#is-it-in-order)).

The examples come from one node with a small flow table. Its policy:

* `gate` allows TCP port 2200 and SNMP from the network set `office`, and pings from anywhere; it logs and
  then denies telnet;
* `trial` is staged: it would deny TCP, and is only counted.
"""

#: A heading, what to know, and the commands to show under it.
CHAPTERS: Final = (
    (
        "What happens",
        """
        Packets that a Log rule matched are always reported, dropped packets only while somebody
        observes. A CPU reports at most 500 packets a second; how many more there were is told on
        standard error. `by` is the rule or end that decided, `log` a Log rule before it. An event of an
        older generation says so: its rules are still named, for their keys outlast generations, its Log
        rules cannot be. `--last` shows what waits in the ring and ends; without it the command follows
        until interrupted. `--verdict`, `--direction`, `--interface`, `--reason`, `--protocol`, `--peer`
        (a network), `--port` and `--by` (part of a rule's place) choose among them. The ring holds some
        3,200 events: what came after that while nobody observed is lost, and counted. `top` shows rates
        instead, again and again; while it runs it is the one observer.
        """,
        (
            "hepctl observe --last 3",
            "hepctl observe --denied --port 23 --peer 198.51.100.0/24 --last 1",
            "hepctl observe --denied --last 1 -o json",
            "hepctl top --count 1 --interval 500ms",
        ),
    ),
    (
        "The policy at an interface",
        """
        Tiers, policies and rules in the order in which packets meet them, and the addresses that
        selectors stand for at this moment. Hits are packets that were judged: those that opened flows.
        What follows in a flow is not judged again. Hits are those of the node, not of the one
        interface. With `--image` a saved image is read instead of the kernel, and a host endpoint is
        named instead of an interface.
        """,
        ("hepctl bpf policy dump eth0 ingress",),
    ),
    (
        "Which rules are used",
        """
        Totals go on over policy updates and restarts: a rule keeps its own as long as its policy, its
        direction and its content stay. The agent writes them to `hits.json` at each change of policy
        and once a minute. What was counted while no agent lived through two changes of policy is left
        out rather than given to the wrong rule. Before removing an unused rule look at `COUNTED SINCE`.
        """,
        (
            "hepctl report hits",
            "hepctl report unused --since 24h",
            "hepctl report shadowed -f /root/policies.yaml",
        ),
    ),
    (
        "What an address or a port means",
        """
        The class that the program turns it into, the address sets or conditions that hold for the
        class, and the rules that ask for them.
        """,
        (
            "hepctl bpf lookup 192.0.2.9",
            "hepctl bpf lookup 2200/tcp",
            "hepctl bpf lookup 8/icmp --image /var/lib/autohep/agent",
        ),
    ),
    (
        "The addresses behind selectors, and where packets belong",
        """
        What selectors, nets and network sets stand for in the image in force. `routes` tells which
        addresses count as this host's own, which as known nodes', what is a tunnel between nodes, and
        which ports the host forwards. `bpf ipsets dump NAME` shows one set with all its networks.
        """,
        (
            "hepctl bpf ipsets dump",
            "hepctl bpf routes dump",
        ),
    ),
    (
        "The image",
        """
        What the compiler made of the policy, and how much of its room it takes. `diff` compares two
        saved directories, or one with what is in force (`live`).
        """,
        (
            "hepctl bpf image",
            "hepctl bpf image diff /root/yesterday live",
        ),
    ),
    (
        "Flows",
        """
        What was allowed once goes on without asking again. `FROM` is who opened. `dump` and `remove`
        choose by `--protocol`, `--address`, `--port` and `--by` (part of a rule's place, or an origin
        such as `failsafe`). A flow that is removed is judged again at its next packet; a TCP connection
        that this host has a socket for goes on all the same.
        """,
        (
            "hepctl bpf conntrack dump",
            "hepctl bpf conntrack stats",
            "hepctl bpf conntrack remove --protocol icmp",
            "hepctl bpf conntrack clean",
        ),
    ),
    (
        "What packets cost",
        """
        The kernel's own statistics of the programs, over a while. The kernel counts only as long as the
        command runs; counting costs some nanoseconds a packet itself.
        """,
        ("hepctl bpf profile --for 500ms",),
    ),
    (
        "Counters",
        """
        Every packet is counted by interface, direction and reason. `(others)` are interfaces that share
        the last counter.
        """,
        (
            "hepctl bpf counters dump --iface eth0",
            "hepctl bpf counters flush",
        ),
    ),
    (
        "Interfaces, failsafe ports, maps",
        """
        `SLOT` is the endpoint's place in the image in force, `ENDPOINT` its lasting number in flows.
        Failsafe ports are open whatever policy says. `PRESSURE` is how full a map is.
        """,
        (
            "hepctl bpf ifstate dump",
            "hepctl bpf failsafe dump",
            "hepctl bpf maps",
        ),
    ),
    (
        "Locked out",
        """
        `rescue open` lets everything pass, on the node itself, without agent and without datastore, and
        ends by itself, at the latest after 24 hours. Each change is written to the system log with the
        name of who did it.
        """,
        (
            "hepctl rescue open --for 10m",
            "hepctl rescue status",
            "hepctl rescue close",
            "hepctl rescue status",
        ),
    ),
)

OFFICE: Final = network_set("office", "192.0.2.0/24", "2001:db8::/32", where="office")
ANNEX: Final = network_set("annex", "203.0.113.0/24", where="office")
SSH: Final = allow(
    protocol="TCP", source=EntityRule(selector="where == 'office'"), destination=EntityRule(ports=(2200,))
)
PINGS: Final = allow(protocol="ICMP")
TELNET: Final = EntityRule(ports=(23,))
LOG: Final = Rule(action="Log", protocol="TCP", destination=TELNET)
NO_TELNET: Final = deny(protocol="TCP", destination=TELNET)
SNMP: Final = allow(
    protocol="UDP", source=EntityRule(selector="where == 'office'"), destination=EntityRule(ports=(161,))
)
GATE: Final = policy("gate", SSH, PINGS, LOG, NO_TELNET, SNMP, selector="role == 'db'")
TRIAL: Final = policy("trial", deny(protocol="TCP"), staged="Set", selector="all()", order=1.0)

#: What somebody is about to apply.
POLICIES: Final = """\
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: web}
spec:
  selector: all()
  ingress:
  - {action: Allow, protocol: TCP, destination: {ports: ["80:90"]}}
  - {action: Allow, protocol: TCP, destination: {ports: [80]}}
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: n1}
spec: {node: n1, interfaceName: "*"}
"""


def render(node: Node) -> str:
    """The whole document, from commands run on ``node``, whose thread is in its network namespace."""
    with tempfile.TemporaryDirectory() as folder:
        yesterday = Path(folder) / "yesterday"
        _prepare(node, yesterday)
        places = {
            "/root/yesterday": str(yesterday),
            "/root/policies.yaml": str(yesterday.parent / "policies.yaml"),
            "/var/lib/autohep/agent": str(node.state.path),
        }
        return "".join(_parts(node, places))


def _prepare(node: Node, yesterday: Path) -> None:
    """A little history: yesterday's policy, today's, and packets."""
    node.put(OFFICE, policy("gate", SSH, PINGS, selector="role == 'db'"))
    shutil.copytree(node.state.path, yesterday)
    node.put(OFFICE, ANNEX, GATE, TRIAL)
    (yesterday.parent / "policies.yaml").write_text(POLICIES)
    node.shown("bpf", "counters", "flush")
    node.shown("observe", "--last", "1000")
    _traffic(node)


def _traffic(node: Node) -> None:
    """Packets that are allowed, answered, logged and denied, while somebody observes."""
    answer = packet("10.0.0.1", "192.0.2.9", 6, source_port=2200, destination_port=40000, tcp_flags=0x12)
    with node.control() as control:
        control.report_drops(60)
    node.kernel.run(frame(tcp("192.0.2.9", port=2200)))
    node.kernel.run(frame(answer), direction=Direction.EGRESS)
    node.kernel.run(frame(packet("198.51.100.7", protocol=1, icmp_type=8)))
    node.kernel.run(frame(packet("2001:db8::7", "fd00::1", 6, source_port=40001, destination_port=2200)))
    for _ in range(2):
        node.kernel.run(frame(tcp("198.51.100.7", port=23)))
        node.kernel.run(frame(tcp("198.51.100.7", port=80)))
    with node.control() as control:
        control.stop_reporting_drops()


def _shown_under_traffic(node: Node, words: list[str]) -> str:
    """What a command prints while this thread, the one in the namespace, sends one packet after the other."""
    with ThreadPoolExecutor(1) as elsewhere:
        shown = elsewhere.submit(node.shown, *words)
        while not shown.done():
            node.kernel.run(frame(tcp("192.0.2.9", port=2200)))
        return shown.result()


def _parts(node: Node, places: dict[str, str]) -> Iterator[str]:
    yield INTRODUCTION
    for heading, prose, commands in CHAPTERS:
        yield f"\n## {heading}\n\n{_wrapped(prose)}\n\n```console\n"
        for number, command in enumerate(commands):
            words = [places.get(word, word) for word in shlex.split(command)[1:]]
            if heading == CHAPTERS[0][0] and number:
                _traffic(node)
            yield "\n" if number else ""
            shown = _shown_under_traffic(node, words) if {"profile", "top"} & {*words} else node.shown(*words)
            yield f"$ {command}\n{_as_at_home(shown, node, places)}"
        yield "```\n"


def _as_at_home(text: str, node: Node, places: dict[str, str]) -> str:
    """The output with the places that a node has, instead of those of this run."""
    pins = node.kernel.pins
    text = text.replace(str(pins.base), "/sys/fs/bpf/autohep").replace(pins.instance, "node")
    for shown, real in places.items():
        text = text.replace(real, shown)
    return text


def _wrapped(prose: str, width: int = 110) -> str:
    lines = [""]
    for word in prose.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)


def comparable(text: str) -> str:
    """The document without what differs from run to run: numbers, and the widths of columns."""
    text = re.sub(r"hash [0-9a-f]{16}", "hash", text)
    text = re.sub(r"\d+(\.\d+)?[KM]?", "N", text)
    return re.sub(r"[ -]+\n", "\n", re.sub(r" +", " ", text))


def main() -> None:
    """Load the program in a namespace of its own and write the document."""
    network = Network()
    with tempfile.TemporaryDirectory() as folder, Kernel("doc") as kernel, network.entered():
        DOCUMENT.write_text(render(Node(kernel, Path(folder) / "agent")))
    network.close()


if __name__ == "__main__":
    main()
