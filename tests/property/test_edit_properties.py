"""An image edited in place judges as one compiled anew, whatever comes, goes or is relabelled."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address
from random import Random

import pytest

from pyagent.abi import TableKind
from pyagent.calc import Calculator, World
from pyagent.calc.moves import Move
from pyagent.compiler import Image, Walker, compile_image
from pyagent.compiler.edit import Editor, Patch
from pyagent.model import Resource
from pyagent.model.facts import HostFacts, InterfaceFacts
from pyagent.model.packet import Packet
from tests.support.small_world import endpoint, policy, resource, rule

SEQUENCES = int(os.environ.get("AUTOHEP_WORLDS", "8"))
CHANGES = 40
FACTS = HostFacts("n1", (InterfaceFacts("eth0", 2, ("10.0.0.1", "fd00::1")),))
#: Addresses that nodes come with: neighbours, other subnets, other prefixes, both ends of everything.
V4 = (
    "10.0.0.2",
    "10.0.0.3",
    "10.0.1.2",
    "10.9.0.2",
    "172.16.0.1",
    "0.0.0.1",
    "255.255.255.254",
    "10.0.0.255",
)
V6 = ("fd00::2", "fd00::3", "fd00:0:0:1::2", "fd00:1::2", "2001:db8::9", "::5", "ffff::1", "fd00::1:2")
LABELS = {"role": ("web", "db", ""), "zone": ("a", "b", ""), "own": ("", "", "x")}
SELECTORS = (
    "role == 'web'",
    "role != 'web'",
    "has(role) && zone == 'a'",
    "zone in {'a','b'}",
    "!has(zone)",
    "all()",
)


def node(random: Random, name: str) -> Resource:
    labels = {key: value for key, values in LABELS.items() if (value := random.choice(values))}
    own = [*random.sample(V4, random.choice((0, 1, 1, 2))), *random.sample(V6, random.choice((0, 1, 1, 2)))]
    spec = {"node": name, "interfaceName": random.choice(("*", "eth0")), "expectedIPs": own}
    return resource("HostEndpoint", name, spec, labels)


def policies(random: Random) -> Iterator[Resource]:
    for number in range(4):
        rules = [
            rule(
                random.choice(("Allow", "Deny", "Log")),
                protocol="TCP",
                source={random.choice(("selector", "notSelector")): random.choice(SELECTORS)},
                destination={"ports": [random.choice((80, 443))]},
            )
            for _ in range(3)
        ]
        rules.append(rule(source={"nets": [random.choice(("10.0.0.0/24", "fd00::/64", "10.0.0.2/32"))]}))
        egress = [rule(destination={"selector": random.choice(SELECTORS)})]
        yield policy(f"p{number}", *rules, egress=egress, selector="all()", order=number)


def probes() -> Iterator[tuple[TableKind, Packet]]:
    for versions, own in ((V4, "10.0.0.1"), (V6, "fd00::1")):
        for text in versions:
            for address in (number_of(text), number_of(text) ^ 1, number_of(text) ^ 256):
                version = 6 if ":" in own else 4
                for port in (80, 443, 99):
                    yield (
                        TableKind.LOCAL_INGRESS,
                        Packet(version, address, number_of(own), 6, 40000, port),
                    )
                yield (
                    TableKind.LOCAL_EGRESS,
                    Packet(version, number_of(own), address, 6, 40000, 80),
                )


def number_of(text: str) -> int:
    return int(ip_address(text))


PROBES = tuple(probes())


def judged(image: Image | bytearray, metadata: Image) -> list[object]:
    walker, found = Walker(image), []
    for kind, packet in PROBES:
        walked = walker.walk(0, kind, packet)
        assert walked is not None
        verdict = metadata.metadata["verdicts"][walked.verdict_id]
        flags = walker.address_flags(packet.version, packet.source)
        found.append((walked.action, walked.rule, tuple(verdict["logs"]), flags))
    return found


def write(data: bytearray, patch: Patch) -> None:
    for at, content in patch.fresh:
        data[at : at + len(content)] = content
    data[patch.at : patch.at + patch.width] = patch.value.to_bytes(patch.width, "little")


class Edited:
    """A node's policy as its agent keeps it: edited where that will do, else compiled anew."""

    def __init__(self, world: World) -> None:
        self.calculator = Calculator()
        self.compiled = self.edited = 0
        self.compile(world)

    def compile(self, world: World) -> None:
        self.image = compile_image(self.calculator.view(world, FACTS), 1)
        self.data = bytearray(self.image.data)
        editor = self.image.editor()
        assert editor is not None
        self.editor: Editor = editor
        self.compiled += 1

    def follow(self, world: World) -> None:
        moves = self.calculator.moves(world)
        if moves is not None and self._edit(moves):
            self.edited += 1
            return
        self.calculator.forget()
        self.compile(world)

    def _edit(self, moves: list[Move]) -> bool:
        resolved = self.editor.resolve(Walker(self.data), moves)
        if resolved is None:
            return False
        for version, address, number in resolved:
            if Walker(self.data).address_class(version, address) == number:
                continue
            patch = self.editor.patch(Walker(self.data), version, address, number)
            if patch is None:
                return False
            assert all(not any(self.data[at : at + len(content)]) for at, content in patch.fresh)
            write(self.data, patch)
            assert Walker(self.data).address_class(version, address) == number
        return True


def change(random: Random, world: World) -> World:
    """One step, or a few at once: nodes come, go, change labels or addresses; now and then policy changes."""
    for _ in range(random.choice((1, 1, 1, 3))):
        name = f"n{random.randrange(2, 9)}"
        draw = random.random()
        if draw < 0.25:
            world = world.remove("HostEndpoint", name)
        elif draw < 0.97:
            world = world.put(node(random, name))
        else:
            world = world.put(random.choice(list(policies(random))))
    return world


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_edits_in_place_equal_a_new_compilation_on_every_packet(seed: int) -> None:
    random = Random(seed)
    others = [node(random, f"n{number}") for number in range(2, 9)]
    nets = {"nets": ["10.9.0.0/16", "fd00:1::/32"]}
    network = resource("GlobalNetworkSet", "s", nets, {"role": "web", "zone": "a"})
    world = World.from_resources([endpoint(), network, *others, *policies(random)])
    agent = Edited(world)
    for _ in range(CHANGES):
        world = change(random, world)
        agent.follow(world)
        fresh = compile_image(Calculator().view(world, FACTS), 1)
        assert judged(agent.data, agent.image) == judged(fresh, fresh)
    assert 1 < agent.compiled < CHANGES
    assert agent.edited > CHANGES // 8


#: Subnets alike, so that their blocks and nodes are shared until one of them is edited.
SUBNETS, HOSTS = 12, 6


def many(random: Random, number: int, *, alike: bool) -> Resource:
    subnet, place = divmod(number, HOSTS)
    labels = {"role": "web" if place % 2 else "db", "zone": "a"} if alike else {}
    if not alike:
        labels = {"role": random.choice(("web", "db")), "zone": random.choice("ab")}
    own = [f"10.{subnet % 3}.{subnet}.{place + 2}", f"fd00:0:{subnet % 3}:{subnet}::{place + 2}"]
    return resource(
        "HostEndpoint", f"m{number}", {"node": f"m{number}", "interfaceName": "*", "expectedIPs": own}, labels
    )


def classes(data: bytearray, image: Image) -> list[tuple[int, object]]:
    """What a TCP packet from each node's address gets."""
    own = {4: number_of("10.0.0.1"), 6: number_of("fd00::1")}
    walker, found = Walker(data), []
    for number in range(SUBNETS * HOSTS):
        for text in many(Random(0), number, alike=True).spec.expected_ips:  # type: ignore[attr-defined]
            address, version = number_of(text), 6 if ":" in text else 4
            for asked in (address, address ^ 64):
                walked = walker.walk(
                    0, TableKind.LOCAL_INGRESS, Packet(version, asked, own[version], 6, 1, 80)
                )
                assert walked is not None
                found.append((walked.action, walked.rule))
    return found


@pytest.mark.parametrize("seed", range(2))
def test_subnets_that_shared_their_tables_part_when_a_node_is_edited(seed: int) -> None:
    random = Random(seed)
    nodes = [many(random, number, alike=True) for number in range(SUBNETS * HOSTS)]
    extremes = [many(Random(each), each, alike=False) for each in range(8)]  # every pair of labels is known
    rules = [rule(source={"selector": text}) for text in ("role == 'web' && zone == 'a'", "zone == 'b'")]
    world = World.from_resources([endpoint(), *nodes, *extremes, policy("p", *rules)])
    agent = Edited(world)
    for step in range(100):
        number = random.randrange(8, SUBNETS * HOSTS)
        leaves = random.random() < 0.2
        world = (
            world.remove("HostEndpoint", f"m{number}")
            if leaves
            else world.put(many(random, number, alike=False))
        )
        agent.follow(world)
        if step % 20 == 19:
            fresh = compile_image(Calculator().view(world, FACTS), 1)
            assert classes(agent.data, agent.image) == classes(fresh.data, fresh)
    assert (agent.edited, agent.compiled) == (100, 1)


def test_an_edit_that_ends_in_the_middle_leaves_each_address_old_or_new() -> None:
    random = Random(5)
    nodes = [many(random, number, alike=True) for number in range(SUBNETS * HOSTS)]
    other = [many(Random(each), each, alike=False) for each in range(8)]
    web = rule(source={"selector": "role == 'web'"})
    world = World.from_resources(
        [endpoint(), *nodes, *other, policy("p", web, rule(source={"selector": "zone == 'b'"}))]
    )
    agent = Edited(world)
    seen = {True: 0, False: 0}
    for _ in range(30):
        number = random.randrange(8, SUBNETS * HOSTS)
        world = world.put(many(random, number, alike=False))
        moves = agent.calculator.moves(world)
        assert moves is not None
        resolved = agent.editor.resolve(Walker(agent.data), moves)
        assert resolved is not None
        for version, address, new in resolved:
            walker = Walker(agent.data)
            if (old := walker.address_class(version, address)) == new:
                continue
            before = classes(agent.data, agent.image)
            patch = agent.editor.patch(walker, version, address, new)
            assert patch is not None
            for at, content in patch.fresh:
                for half in (content[: len(content) // 2], content):
                    agent.data[at : at + len(half)] = half
                    assert classes(agent.data, agent.image) == before
            assert Walker(agent.data).address_class(version, address) == old
            assert patch.at % patch.width == 0, "one aligned store"
            write(agent.data, patch)
            assert Walker(agent.data).address_class(version, address) == new
            seen[bool(patch.fresh)] += 1
    assert min(seen.values()) > 3
