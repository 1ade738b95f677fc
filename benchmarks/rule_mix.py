"""A node's view with a realistic mix of rules, for benchmarks and for tests of size.

Half of the rules name selectors (at most 200 distinct ones), nearly a third lists of networks, the rest
any peer; three quarters are TCP; ports are single, lists or ranges; one in twenty names source ports, one in
fifty the local network. Two in five lists of networks and ports were in an earlier rule already.
"""

from __future__ import annotations

import random

from pyagent.abi import Action, TableKind
from pyagent.calc.view import (
    AddressSet,
    EndpointView,
    L4Match,
    Match,
    NodeView,
    PodToHost,
    PolicyView,
    PortRange,
    RuleAction,
    RuleRef,
    RuleView,
    Side,
    TableView,
    TierView,
)

ANY = Side()
#: Rules of one policy.
POLICY_RULES = 20
SELECTORS = 200
#: Share of lists that an earlier rule had.
REUSE = 0.4


class RuleMix:
    """Rules against ``nodes`` nodes, always the same for one seed."""

    def __init__(self, nodes: int, seed: int = 1, ipv6: bool = False) -> None:
        self._random = random.Random(seed)
        labels = [
            {
                key: self._random.randrange(size)
                for key, size in (("zone", 3), ("role", 5), ("rack", 4), ("os", 2))
            }
            for _ in range(nodes)
        ]
        self._v4 = [0x0A000000 + 256 * (index // 200) + index % 200 + 10 for index in range(nodes)]
        self._v6 = [
            (0xFD << 120) + (index // 200 << 64) + index % 200 + 10 for index in range(nodes if ipv6 else 0)
        ]
        self._labels = labels
        self.nodes = self._set("all()", range(nodes))
        self._local = Side((AddressSet("local network", ((0x0A000000, 24),)),))
        self._selectors: list[Side] = []
        self._lists: list[Side] = []
        self._l4: list[L4Match] = []

    def _set(self, name: str, members: range | list[int]) -> AddressSet:
        v4 = tuple((self._v4[index], 32) for index in members)
        v6 = tuple((self._v6[index], 128) for index in members) if self._v6 else ()
        return AddressSet(name, v4, v6)

    def _selector(self) -> Side:
        """A side of one selector: one label has a value, or one of two, or two labels have values."""
        if len(self._selectors) == SELECTORS:
            return self._random.choice(self._selectors)
        key, other = self._random.sample(["zone", "role", "rack", "os"], 2)
        pattern = self._random.choice(self._labels)
        kind = self._random.randrange(3)
        chosen = [
            index
            for index, labels in enumerate(self._labels)
            if (
                labels[key] == pattern[key]
                if kind == 0
                else labels[key] in {pattern[key], pattern[key] + 1}
                if kind == 1
                else (labels[key], labels[other]) == (pattern[key], pattern[other])
            )
        ]
        self._selectors.append(Side((self._set(f"{key} == {pattern[key]} ({kind}, {other})", chosen),)))
        return self._selectors[-1]

    def _networks(self) -> Side:
        if self._lists and self._random.random() < REUSE:
            return self._random.choice(self._lists)
        nets = []
        for _ in range(self._random.choice([1, 1, 1, 2, 3])):
            length = self._random.choice([16, 20, 24, 24, 28, 32])
            base = self._random.choice([0x0A000000, 0xAC100000, 0xC0A80000, 0x64400000])
            address = base + self._random.randrange(1 << 16 if base == 0xC0A80000 else 1 << 20)
            nets.append((address >> (32 - length) << (32 - length), length))
        networks = AddressSet("networks", tuple(nets))
        self._lists.append(Side((), (networks,)) if self._random.random() < 0.03 else Side((networks,)))
        return self._lists[-1]

    def _peer(self) -> Side:
        draw = self._random.random()
        if draw < 0.5:
            return self._selector()
        return self._networks() if draw < 0.8 else ANY

    def _ports(self) -> tuple[PortRange, ...]:
        draw = self._random.random()
        if draw < 0.6:
            port = self._random.choice([22, 53, 80, 443, 6443, 10250, self._random.randint(1024, 65535)])
            return ((port, port),)
        if draw < 0.8:
            return tuple(
                (port, port) for port in self._random.sample(range(1, 32768), self._random.randint(2, 5))
            )
        low = self._random.randint(1024, 60000)
        return ((low, low + self._random.choice([9, 99, 999, 4999])),)

    def _layer4(self, peer: Side) -> L4Match:
        """A match; excluded ports only for some peers, or a few rules would decide nearly everything."""
        if self._l4 and self._random.random() < REUSE:
            match = self._random.choice(self._l4)
            if not match.not_ports or peer is not ANY:
                return match
        draw = self._random.random()
        if draw < 0.9:
            excluded = self._ports() if peer is not ANY and self._random.random() < 0.03 else ()
            match = L4Match(
                protocols=frozenset({6 if draw < 0.75 else 17}),
                ports=None if excluded else self._ports(),
                not_ports=excluded,
                source_ports=((1024, 65535),) if self._random.random() < 0.05 else None,
            )
        elif draw < 0.95:
            match = L4Match(protocols=frozenset({1}), icmp=(self._random.choice([0, 3, 8, 11]), None))
        else:
            match = L4Match(protocols=frozenset({self._random.choice([4, 47, 50, 89, 112, 132])}))
        self._l4.append(match)
        return match

    def policies(self, rules: int, direction: str) -> tuple[PolicyView, ...]:
        """``rules`` rules in policies of twenty."""
        found = []
        for number in range(0, rules, POLICY_RULES):
            name = f"policy-{number // POLICY_RULES:04}"
            views = []
            for index in range(min(POLICY_RULES, rules - number)):
                peer = self._peer()
                l4 = self._layer4(peer)
                local = self._local if self._random.random() < 0.02 else ANY
                match = Match(peer, local, l4) if direction == "ingress" else Match(local, peer, l4)
                action = self._random.choice([RuleAction.ALLOW, RuleAction.ALLOW, RuleAction.DENY])
                key = len(direction) * 1_000_000 + number + index + 1
                views.append(
                    RuleView(RuleRef("GlobalNetworkPolicy", name, direction, index, key), action, (match,))
                )
            found.append(PolicyView(name, tuple(views)))
        return tuple(found)

    def view(self, rules: int, directions: tuple[str, ...] = ("ingress",)) -> NodeView:
        """A view with one endpoint, whose tables have ``rules`` rules each."""
        tables = {}
        for direction in directions:
            kind = TableKind.LOCAL_INGRESS if direction == "ingress" else TableKind.LOCAL_EGRESS
            end = RuleRef("Tier", "default", direction, 0, 99_000_000)
            tier = TierView("default", self.policies(rules, direction), RuleAction.DENY, end)
            tables[kind] = TableView(kind, (tier,), (), Action.DENY, end)
        endpoint = EndpointView("node-0-auto-hep", 0, tables)
        host = AddressSet("host", ((self._v4[0], 32), (0x7F000000, 8), (0xE0000000, 4)))
        nothing: frozenset[tuple[int, int]] = frozenset()
        return NodeView(
            "node-0", (endpoint,), {"eth0": 0}, None, {}, host, self.nodes, (), (), nothing, PodToHost.RETURN
        )
