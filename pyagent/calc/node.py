"""From all resources and one host's facts to the NodeView that its dataplane enforces."""

from __future__ import annotations

from collections.abc import Mapping

from pyagent.calc.active import Active, active_endpoints
from pyagent.calc.configuration import node_ports, settings, tunnels
from pyagent.calc.labels import Labels, endpoint_labels
from pyagent.calc.moves import Move, Mover
from pyagent.calc.nets import parse_net
from pyagent.calc.order import OrderedTier, Policy, ordered_tiers
from pyagent.calc.peers import Peers
from pyagent.calc.rules import PolicyReader
from pyagent.calc.services import Triples, outside_ports
from pyagent.calc.stages import Applicable, tables
from pyagent.calc.view import AddressSet, EndpointView, L4Match, Match, NodeView, Side
from pyagent.calc.world import World
from pyagent.errors import SelectorError
from pyagent.model import HostEndpoint, Profile
from pyagent.model.facts import HostFacts
from pyagent.selector import parse

#: Local on every host: loopback, unspecified, limited broadcast, multicast.
ALWAYS_LOCAL = ("127.0.0.0/8", "0.0.0.0", "255.255.255.255", "224.0.0.0/4", "::1", "::", "ff00::/8")  # noqa: S104


class Calculator:
    """Calculates one node's view again and again; what did not change is not calculated twice.

    Parts of two views that are equal are the same objects: address sets always, policies where nothing they
    look at has changed. Not for use from several threads.
    """

    def __init__(self) -> None:
        self._peers = Peers()
        self._reader = PolicyReader(self._peers)
        self._host: AddressSet | None = None
        self._last: tuple[World, HostFacts, NodeView] | None = None
        self._mover: Mover | None = None

    def view(self, world: World, facts: HostFacts) -> NodeView:
        """What ``world`` means for the host that ``facts`` describe.

        The same object as the last time if both are the same, also where :meth:`moves` told of all that
        changed; its address sets then are as they were before.
        """
        if self._last is not None and self._last[0] is world and self._last[1] == facts:
            return self._last[2]
        self._last = self._mover = None
        view = self._calculate(world, facts)
        self._last = world, facts, view
        return view

    def prepare(self) -> None:
        """Do now what the first :meth:`moves` after a calculation would have to do."""
        if self._mover is None and self._last is not None:
            self._mover = Mover(self._peers, self._last[2].nodes)

    def moves(self, world: World) -> list[Move] | None:
        """Which addresses came into which sets of the last view, or left them, if that is all that ``world``
        changes of it; else None."""
        if self._last is None:
            return None
        self.prepare()
        before, facts, view = self._last
        found = None if self._mover is None else self._mover.move(facts.node, before, world)
        if found is None:
            self._last = self._mover = None
        else:
            self._last = world, facts, view
        return found

    def forget(self) -> None:
        """Calculate anew the next time, whatever changed."""
        self._last = self._mover = None

    def sizes(self) -> dict[AddressSet, tuple[int, int]]:
        """How many networks of each family the sets of the last view hold by now, where that changed."""
        return {} if self._mover is None else self._mover.sizes()

    def _calculate(self, world: World, facts: HostFacts) -> NodeView:
        configured = settings(world, facts.node)
        self._peers.update(world)
        active = active_endpoints(world.of(HostEndpoint), facts, configured)
        tiers, order_remarks = ordered_tiers(world)
        ports, port_remarks = node_ports(world, configured.spec, facts)
        warnings = {
            *configured.warnings,
            *active.warnings,
            *order_remarks,
            *port_remarks,
            *self._peers.warnings,
        }
        endpoints = self._endpoints(world, active, tiers, warnings)
        self._host = self._local_addresses(facts, warnings)
        nodes = self._peers.nodes()
        warnings |= self._reader.finish()
        self._peers.sweep()
        slots = {endpoint.name: endpoint.slot for endpoint in endpoints}
        return NodeView(
            node=facts.node,
            endpoints=endpoints,
            interfaces={interface: slots[name] for interface, name in active.interfaces.items()},
            wildcard=None if active.wildcard is None else slots[active.wildcard],
            excluded=active.excluded,
            host=self._host,
            nodes=nodes,
            failsafes=configured.failsafes,
            tunnels=tunnels(configured.spec, facts),
            node_ports=ports,
            pod_to_host=configured.pod_to_host,
            redirected=self._redirected(world, self._host),
            warnings=tuple(sorted(warnings)),
        )

    def _endpoints(
        self, world: World, active: Active, tiers: list[OrderedTier], warnings: set[str]
    ) -> tuple[EndpointView, ...]:
        profiles = world.of(Profile)
        labels_of = {name: profile.spec.labels_to_apply for name, profile in profiles.items()}
        views = []
        for slot, endpoint in enumerate(active.endpoints):
            labels = endpoint_labels(endpoint, labels_of)
            names = dict.fromkeys(endpoint.spec.profiles)
            missing = [name for name in names if name not in profiles]
            warnings.update(
                f"HostEndpoint {endpoint.name}: Profile {name} does not exist" for name in missing
            )
            own = [profiles[name] for name in names if name in profiles]
            applicable = Applicable(endpoint, _selecting(tiers, labels, warnings), own)
            views.append(EndpointView(endpoint.name, slot, tables(applicable, self._reader)))
        return tuple(views)

    def _redirected(self, world: World, host: AddressSet) -> tuple[Match, ...]:
        """What Services have at this host's own addresses; at others it is forwarded anyway."""
        triples: Triples = {}
        for address, ports in outside_ports(world).items():
            version, net = parse_net(address)
            if net in (host.v4 if version == 4 else host.v6):
                for port in ports:
                    triples.setdefault(port, set()).add((version, net))
        return tuple(
            Match(
                Side(),
                Side((group.addresses,)),
                L4Match(protocols=frozenset({group.protocol}), ports=group.ports),
            )
            for group in self._peers.groups("addresses of services", triples)
        )

    def _local_addresses(self, facts: HostFacts, warnings: set[str]) -> AddressSet:
        nets = {parse_net(text) for text in ALWAYS_LOCAL}
        for text in (*facts.addresses, *facts.broadcasts):
            try:
                nets.add(parse_net(text))
            except ValueError as error:
                warnings.add(f"the host's own address {error}")
        return self._peers.intern("this host", nets)


def node_view(world: World, facts: HostFacts) -> NodeView:
    """What ``world`` means for the host that ``facts`` describe, calculated from nothing."""
    return Calculator().view(world, facts)


def _selecting(tiers: list[OrderedTier], labels: Labels, warnings: set[str]) -> list[OrderedTier]:
    """The tiers with only the policies that select an endpoint with ``labels``."""
    return [
        OrderedTier(tier.name, tier.passes, tuple(p for p in tier.policies if _selects(p, labels, warnings)))
        for tier in tiers
    ]


def _selects(policy: Policy, labels: Mapping[str, str], warnings: set[str]) -> bool:
    spec = policy.spec
    if spec.namespace_selector or spec.service_account_selector:
        return False  # host endpoints have neither namespace nor service account
    try:
        return parse(spec.selector).matches(labels)
    except SelectorError as error:
        warnings.add(f"{policy.KIND} {policy.name} selects nothing: {error}")
        return False
