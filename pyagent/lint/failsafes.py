"""Rules that open a failsafe port to everybody."""

from __future__ import annotations

from collections.abc import Iterator

from pyagent.calc.view import Failsafe, Match, NodeView, RuleAction, RuleRef, RuleView, Side
from pyagent.compiler.plan import policies
from pyagent.inquiry import Sources
from pyagent.lint.finding import Check, Finding
from pyagent.model.packet import PROTOCOL_NUMBERS

_NAMES = {number: name for name, number in PROTOCOL_NUMBERS.items()}
_FIELDS = {"ingress": "failsafeInboundHostPorts", "egress": "failsafeOutboundHostPorts"}


def failsafe_findings(view: NodeView, sources: Sources) -> Iterator[Finding]:
    """The rules of a node's policies that name a failsafe port and no peer; those of profiles are let be."""
    seen: set[RuleRef] = set()
    for endpoint in view.endpoints:
        for table in endpoint.tables.values():
            for policy in policies(table):
                for rule in policy.rules:
                    if rule.ref not in seen and rule.ref.kind != "Profile":
                        seen.add(rule.ref)
                        yield from _rule(rule, view.failsafes, sources)


def _rule(rule: RuleView, failsafes: tuple[Failsafe, ...], sources: Sources) -> Iterator[Finding]:
    ref = rule.ref
    if rule.action is not RuleAction.ALLOW:
        return
    for failsafe in failsafes:
        if failsafe.direction != ref.direction or not any(_opens(each, failsafe) for each in rule.matches):
            continue
        what = f"{_NAMES[failsafe.protocol]}/{failsafe.port}"
        field = f"FelixConfiguration's {_FIELDS[failsafe.direction]}"
        if failsafe.net is None:
            message = f"opens {what} to everybody, which as a failsafe port is open with and without the rule"
            suggestion = f"drop it, or give the failsafe a net in {field} and the rule the same peers"
        else:
            message = f"opens failsafe port {what} to everybody, not only to {failsafe.net}"
            suggestion = f"name the peers in the rule; {field} keeps the port open for {failsafe.net} anyway"
        place = sources.place(ref.kind, ref.owner, f"spec.{ref.direction}[{ref.index}]")
        yield Finding(Check.FAILSAFE, ref.kind, str(ref), message, suggestion, *place)


def _opens(match: Match, failsafe: Failsafe) -> bool:
    """The match names the port, and anybody may be the other side."""
    ports = match.l4.ports
    if ports is None or not any(low <= failsafe.port <= high for low, high in ports):
        return False
    protocols = match.l4.protocols
    if protocols is not None and failsafe.protocol not in protocols:
        return False
    if failsafe.protocol in match.l4.not_protocols:
        return False
    return _is_anybody(match.source if failsafe.direction == "ingress" else match.destination)


def _is_anybody(side: Side) -> bool:
    everything = (0, 0)
    return not side.none_of and all(everything in each.v4 or everything in each.v6 for each in side.all_of)
