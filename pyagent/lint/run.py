"""All checks over all resources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pyagent.abi import Action, TableKind
from pyagent.calc import Calculator, NodeView
from pyagent.calc.labels import endpoint_labels
from pyagent.calc.order import directions
from pyagent.calc.peers import Peers
from pyagent.calc.refs import end_ref
from pyagent.calc.rules import PolicyReader
from pyagent.calc.stages import TABLES, stages_of
from pyagent.calc.view import AddressSet, EndpointView, PodToHost, RuleAction, TableView, TierView
from pyagent.inquiry import Hosts, Sources
from pyagent.lint.failsafes import failsafe_findings
from pyagent.lint.finding import Finding
from pyagent.lint.peers import PeerFindings
from pyagent.lint.rules import RuleFindings
from pyagent.model import GlobalNetworkPolicy, Profile, Resource, StagedGlobalNetworkPolicy
from pyagent.selector import parse


def lint(sources: Sources, resources: Iterable[Resource]) -> list[Finding]:
    """What is not as it seems in ``sources``; ``resources`` are those and the automatic endpoints.

    Sorted by place. A policy that applies nowhere is looked at by itself.
    """
    hosts = Hosts(resources)
    peers = PeerFindings(sources, hosts.world)
    rules = RuleFindings(sources)
    found = dict.fromkeys(peers.findings())
    for view in _views(hosts):
        rules.add(view)
        found |= dict.fromkeys(failsafe_findings(view, sources))
    seen = rules.policies()
    for view in _alone(hosts, seen):
        rules.add(view)
        found |= dict.fromkeys(failsafe_findings(view, sources))
    found |= dict.fromkeys(rules.findings())
    return sorted(found, key=lambda each: (each.file, each.line, each.place, each.check, each.message))


def _views(hosts: Hosts) -> Iterator[NodeView]:
    """The views of so many nodes that every combination of policies is among them."""
    calculator = Calculator()
    known: set[tuple[object, ...]] = set()
    policies = _policies(hosts)
    profiles = hosts.world.of(Profile)
    applied = {name: profile.spec.labels_to_apply for name, profile in profiles.items()}
    selectors = {policy.spec.selector: parse(policy.spec.selector) for policy in policies}
    for node in sorted(hosts.names):
        kind: tuple[object, ...] = (
            str(hosts.settings(node).spec),
            *(
                (
                    each.spec.interface_name,
                    each.spec.profiles,
                    frozenset(
                        text
                        for text, parsed in selectors.items()
                        if parsed.matches(endpoint_labels(each, applied))
                    ),
                )
                for each in hosts.endpoints(node)
            ),
        )
        if kind not in known:
            known.add(kind)
            yield calculator.view(hosts.world, hosts.facts(node))


def _policies(hosts: Hosts) -> list[GlobalNetworkPolicy | StagedGlobalNetworkPolicy]:
    found: list[GlobalNetworkPolicy | StagedGlobalNetworkPolicy] = []
    found += hosts.world.of(GlobalNetworkPolicy).values()
    found += hosts.world.of(StagedGlobalNetworkPolicy).values()
    return found


def _alone(hosts: Hosts, seen: set[tuple[str, str, str]]) -> Iterator[NodeView]:
    """A view with nothing but one policy, for each that no node has."""
    peers = Peers()
    peers.update(hosts.world)
    reader = PolicyReader(peers)
    calm = Calculator().view(hosts.world, hosts.facts(""))
    nobody = AddressSet("nobody")
    for policy in sorted(_policies(hosts), key=lambda each: (each.name, each.KIND)):
        for direction in sorted(directions(policy)):
            if (policy.KIND, policy.name, direction) in seen:
                continue
            table = _table(reader, policy, direction)
            endpoint = EndpointView(f"{policy.KIND} {policy.name}", 0, {table.kind: table})
            yield NodeView(
                node="",
                endpoints=(endpoint,),
                interfaces={},
                wildcard=None,
                excluded={},
                host=nobody,
                nodes=nobody,
                failsafes=calm.failsafes,
                tunnels=(),
                node_ports=frozenset(),
                pod_to_host=PodToHost.RETURN,
            )


def _table(
    reader: PolicyReader, policy: GlobalNetworkPolicy | StagedGlobalNetworkPolicy, direction: str
) -> TableView:
    """The policy as the only one of its first table."""
    kind = next(
        kind for kind, (stage, side) in TABLES.items() if stage in stages_of(policy) and side == direction
    )
    tier = TierView(
        policy.spec.tier,
        (reader.policy(policy, direction),),
        RuleAction.PASS,
        end_ref("Tier", policy.spec.tier, direction, kind),
    )
    return TableView(kind, (tier,), (), Action.NONE, end_ref("HostEndpoint", "", direction, TableKind(kind)))
