"""The same policy by different means, in the node's namespace: N rules, the last of which lets traffic in.

Every rule allows one address to one port, for TCP and for UDP, and everything else is denied. What is
compared with is set up as its own users do it best; ``nft linear`` is what a rule for each line costs.
"""

from __future__ import annotations

import ipaddress
import os
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from pyagent import manifest
from pyagent.agent.enforce import Enforcer
from pyagent.agent.state import StateDirectory
from pyagent.bpf import syscall
from pyagent.bpf.numbers import AttachType, ProgramType
from pyagent.calc import World
from pyagent.model import Resource
from tests.netns.guarded import PEER, Guarded, endpoint

#: The port of the traffic, and one that every filter denies.
PORT, DENIED = 5201, 9
#: Ports that the rules name, one after the other.
PORTS: Final = 100
#: Rules of one policy.
POLICY_RULES: Final = 500
#: ``r0 = TCX_NEXT; exit``
_PASS: Final = struct.pack("=BBhiBBhi", 0xB7, 0, 0, -1, 0x95, 0, 0, 0)
_BASE: Final = int(ipaddress.ip_address("10.0.0.1"))
Rules = Sequence[dict[str, Any]]


def peers(rules: int) -> list[tuple[str, int]]:
    """Address and port of each rule; the traffic's own comes last."""
    others = [(str(ipaddress.ip_address(_BASE + each)), 1024 + each % PORTS) for each in range(rules - 1)]
    return [*others, (PEER[4], PORT)]


@contextmanager
def none(_host: Guarded, _rules: int) -> Iterator[None]:
    """Nothing at all."""
    yield


@contextmanager
def nothing(host: Guarded, _rules: int) -> Iterator[None]:
    """A program at both hooks that lets everything pass: what any costs before it does anything."""
    program = syscall.prog_load(ProgramType.SCHED_CLS, _PASS, "bench_nothing")
    with ExitStack() as stack:
        stack.callback(os.close, program)
        for hook in (AttachType.TCX_INGRESS, AttachType.TCX_EGRESS):
            stack.callback(os.close, syscall.link_create(program, host.hosts.ifindex, hook))
        yield


@contextmanager
def autohep(host: Guarded, rules: int) -> Iterator[None]:
    """Ingress and egress of the wire, as an agent does it."""
    host.enforce(endpoint(), *_allowed(rules))
    try:
        yield
    finally:
        host.lift()


@contextmanager
def autohep_xdp(host: Guarded, rules: int) -> Iterator[None]:
    """With a doNotTrack policy besides, whose denials XDP carries out."""
    denied = {"action": "Deny", "protocol": "UDP", "destination": {"ports": [DENIED]}}
    early = _policy("early", [denied], order=1, doNotTrack=True, applyOnForward=True)
    with TemporaryDirectory() as folder, StateDirectory(Path(folder)) as state:
        enforcer = Enforcer("guarded", host.pins, host.dataplane, state, ("wire",))
        enforced = enforcer.enforce(World.from_resources([endpoint(), *_allowed(rules), early]))
        assert [each.mode for each in enforced.xdp] == ["native"], enforced.xdp
        try:
            yield
        finally:
            enforcer.enforce(World.from_resources([]))
            host.lift()


def _allowed(rules: int) -> list[Resource]:
    """As many rules for each protocol, in policies of a size that people can read."""
    found = [
        {
            "action": "Allow",
            "protocol": protocol,
            "source": {"nets": [f"{address}/32"]},
            "destination": {"ports": [port]},
        }
        for address, port in peers(rules)
        for protocol in ("TCP", "UDP")
    ]
    pieces = [found[at : at + POLICY_RULES] for at in range(0, len(found), POLICY_RULES)]
    out = [{"action": "Allow"}]
    return [_policy(f"p{number}", piece, out, order=10 + number) for number, piece in enumerate(pieces)]


def _policy(name: str, ingress: Rules, egress: Rules = (), **spec: object) -> Resource:
    everything = {"selector": "all()", "ingress": list(ingress), **spec}
    if egress:
        everything["egress"] = list(egress)
    return manifest.decode(
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": "GlobalNetworkPolicy",
            "metadata": {"name": name},
            "spec": everything,
        }
    )


@contextmanager
def nft_linear(_host: Guarded, rules: int) -> Iterator[None]:
    """What is established passes; then a rule for each line."""
    lines = [
        f"ip saddr {address} {protocol} dport {port} accept"
        for address, port in peers(rules)
        for protocol in ("tcp", "udp")
    ]
    with _nft(["ct state established,related accept", *lines]):
        yield


@contextmanager
def nft_best(_host: Guarded, rules: int) -> Iterator[None]:
    """One verdict map for connection states, and one of address, protocol and port."""
    elements = ", ".join(
        f"{address} . {protocol} . {port} : accept"
        for address, port in peers(rules)
        for protocol in ("tcp", "udp")
    )
    kind = "type ipv4_addr . inet_proto . inet_service : verdict;"
    declared = f"map allowed {{ {kind} elements = {{ {elements} }} }}"
    lines = [
        "ct state vmap { established : accept, related : accept, invalid : drop }",
        "ip saddr . meta l4proto . th dport vmap @allowed",
    ]
    with _nft(lines, declared):
        yield


@contextmanager
def nft_stateless(_host: Guarded, _rules: int) -> Iterator[None]:
    """The quickest input chain that drops: no connection tracking."""
    with _nft([f"udp dport {DENIED} drop", "accept"]):
        yield


@contextmanager
def nft_raw(_host: Guarded, _rules: int) -> Iterator[None]:
    """The same before connection tracking and routing."""
    chain = "type filter hook prerouting priority raw; policy accept;"
    with _nft([f"udp dport {DENIED} drop"], chain=chain):
        yield


@contextmanager
def iptables_ipset(_host: Guarded, rules: int) -> Iterator[None]:
    """Connection states, then one set of address, protocol and port."""
    lines = [f"create allowed hash:ip,port maxelem {max(65536, 4 * rules)}"]
    lines += [
        f"add allowed {address},{protocol}:{port}"
        for address, port in peers(rules)
        for protocol in ("tcp", "udp")
    ]
    _run(["ipset", "restore"], "\n".join(lines) + "\n")
    table = (
        "*filter\n:INPUT DROP\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\n"
        "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n"
        "-A INPUT -m set --match-set allowed src,dst -j ACCEPT\nCOMMIT\n"
    )
    _run(["iptables-legacy-restore"], table)
    try:
        yield
    finally:
        _run(["iptables-legacy-restore"], "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n")
        _run(["ipset", "destroy", "allowed"])


@contextmanager
def _nft(
    lines: list[str],
    declared: str = "",
    chain: str = "type filter hook input priority filter; policy drop;",
) -> Iterator[None]:
    rules = "\n".join(lines)
    _run(
        ["nft", "-f", "-"], f"table inet bench {{\n{declared}\nchain filtered {{\n{chain}\n{rules}\n}}\n}}\n"
    )
    try:
        yield
    finally:
        _run(["nft", "delete", "table", "inet", "bench"])


def _run(command: list[str], text: str = "") -> None:
    """This thread is in the node's namespace, and so is what it starts."""
    subprocess.run(command, input=text, text=True, check=True, capture_output=True)


#: Name in reports -> how it is set up.
FILTERS = {
    "none": none,
    "empty program": nothing,
    "autohep": autohep,
    "nft best": nft_best,
    "iptables + ipset": iptables_ipset,
    "nft linear": nft_linear,
}
DROPPERS = {
    "autohep (tc)": autohep,
    "autohep (XDP)": autohep_xdp,
    "nft input": nft_stateless,
    "nft input, conntrack": nft_best,
    "nft raw prerouting": nft_raw,
}
