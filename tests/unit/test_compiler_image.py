"""The image's bytes: header, slots, sections; what is shared, what is recorded beside, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pyagent import abi
from pyagent.abi import Action, TableKind
from pyagent.calc.view import (
    AddressSet,
    EndpointView,
    L4Match,
    Match,
    NodeView,
    PodToHost,
    PolicyView,
    RuleAction,
    RuleRef,
    RuleView,
    Side,
    TableView,
    TierView,
)
from pyagent.compiler import Walker, compile_image, walk
from pyagent.compiler import table as table_module
from pyagent.compiler.edit import BLOCK_BYTES, SPARE_BLOCKS, SPARE_BYTES6
from pyagent.compiler.image import EDITS_AT, PAGE, image_hash
from pyagent.errors import CapacityError, DriftError
from pyagent.model.packet import Packet

ANY = Side()
HOST = AddressSet("host", ((0x0A000001, 32),), ((1, 128),))
NODES = AddressSet("nodes", ((0x0A000000, 24),))
CLIENT = Side((AddressSet("client", ((0x0A000005, 32),)),))
END = RuleRef("Tier", "default", "ingress", 0, 900)
SYN = Packet(4, 0x0A000005, 0x0A000001, 6, 40000, 22)


def rule(action: RuleAction, key: int, side: Side = ANY, l4: L4Match | None = None) -> RuleView:
    ref = RuleRef("GlobalNetworkPolicy", "ssh", "ingress", key, key)
    return RuleView(ref, action, (Match(side, ANY, l4 or L4Match()),))


def tcp(*ports: int) -> L4Match:
    return L4Match(protocols=frozenset({6}), ports=tuple((port, port) for port in ports))


def table(*policies: PolicyView, kind: TableKind = TableKind.LOCAL_INGRESS, **changes) -> TableView:
    tier = TierView("default", policies, changes.pop("tier_end", RuleAction.DENY), END)
    return TableView(kind, (tier,) if policies else (), (), changes.pop("end", Action.DENY), END)


def view_of(*tables: TableView, **changes) -> NodeView:
    endpoint = EndpointView("node-a", 0, {each.kind: each for each in tables})
    base = NodeView(
        "node", (endpoint,), {}, None, {}, HOST, NODES, (), (), frozenset(), PodToHost.RETURN
    )  # fmt: skip
    return replace(base, **changes)


SSH = PolicyView("ssh", (rule(RuleAction.ALLOW, 1, CLIENT, tcp(22)), rule(RuleAction.DENY, 2)))


def test_the_header_tells_the_generation_and_where_everything_is() -> None:
    image = compile_image(view_of(table(SSH)), 7)
    header = Walker(image).header
    assert (header["magic"], header["abi"], header["generation"]) == (abi.IMAGE_MAGIC, abi.ABI_VERSION, 7)
    assert header["size"] == len(image.data)
    places = [value for name, value in header.items() if name.endswith("_at")]
    assert all(place % 8 == 0 and place < header["size"] for place in places)
    assert header["trie4_at"]
    assert header["sport_at"] == header["tunnels_at"] == header["node_ports_at"] == 0


def test_the_hash_covers_every_byte_but_what_edits_change_of_the_header() -> None:
    image = compile_image(view_of(table(SSH)), 7)
    header = Walker(image).header
    assert image.hash == header["hash"] == header["compiled"] == image_hash(image.data)
    assert header["edits"] == 0
    outside = range(EDITS_AT, abi.IMAGE_HEADER.size)
    for at in (*range(0, len(image.data), 997), *outside, len(image.data) - 1):
        changed = bytearray(image.data)
        changed[at] ^= 1
        assert (image_hash(changed) == image.hash) is (at in outside), at


def test_two_pages_that_change_places_change_the_hash() -> None:
    data = bytes(PAGE) + b"a" * PAGE + b"b" * PAGE
    assert image_hash(data) != image_hash(bytes(PAGE) + b"b" * PAGE + b"a" * PAGE)
    assert image_hash(data) == image_hash(bytearray(data))


def test_a_table_that_the_endpoint_lacks_is_absent() -> None:
    image = compile_image(view_of(table(SSH)), 1)
    assert walk(image, 0, TableKind.LOCAL_INGRESS, SYN) is not None
    assert walk(image, 0, TableKind.LOCAL_EGRESS, SYN) is None
    assert walk(image, 1, TableKind.LOCAL_INGRESS, SYN) is None


def test_the_deciding_rule_is_named_and_the_end_of_the_tier_too() -> None:
    image = compile_image(view_of(table(PolicyView("ssh", SSH.rules[:1]))), 1)
    allowed = walk(image, 0, TableKind.LOCAL_INGRESS, SYN)
    denied = walk(image, 0, TableKind.LOCAL_INGRESS, replace(SYN, destination_port=23))
    assert allowed is not None
    assert denied is not None
    assert (allowed.action, allowed.rule) == (Action.ALLOW, 1)
    assert (denied.action, denied.rule) == (Action.DENY, END.key)
    assert image.metadata["rules"]["1"] == "ssh/ingress[1]"
    assert image.metadata["rules"][str(END.key)] == "default/ingress[0]"


def test_no_match_is_verdict_zero() -> None:
    kind = TableKind.PREDNAT
    only = PolicyView("ssh", SSH.rules[:1])
    image = compile_image(view_of(table(only, kind=kind, tier_end=RuleAction.PASS, end=Action.NONE)), 1)
    walked = walk(image, 0, kind, replace(SYN, destination_port=23))
    assert walked is not None
    assert (walked.action, walked.verdict_id, walked.rule) == (Action.NONE, 0, 0)
    assert walk(image, 0, kind, SYN) != walked


def test_a_log_rule_sets_the_flag_and_leaves_the_verdict_to_later_rules() -> None:
    policy = PolicyView("ssh", (rule(RuleAction.LOG, 5, CLIENT), *SSH.rules))
    image = compile_image(view_of(table(policy)), 1)
    logged = walk(image, 0, TableKind.LOCAL_INGRESS, SYN)
    silent = walk(image, 0, TableKind.LOCAL_INGRESS, replace(SYN, source=0x0A000006))
    assert logged is not None
    assert silent is not None
    assert (logged.action, logged.rule, logged.log) == (Action.ALLOW, 1, True)
    assert (silent.action, silent.rule, silent.log) == (Action.DENY, 2, False)
    assert image.metadata["verdicts"][logged.verdict_id]["logs"] == [5]


def test_a_staged_policy_is_recorded_and_decides_nothing() -> None:
    staged = PolicyView("strict", (rule(RuleAction.DENY, 8, CLIENT),), staged=True)
    image = compile_image(view_of(table(SSH, staged)), 1)
    hit = walk(image, 0, TableKind.LOCAL_INGRESS, SYN)
    other = walk(image, 0, TableKind.LOCAL_INGRESS, replace(SYN, source=0x0A000006))
    assert hit is not None
    assert other is not None
    assert hit.action is Action.ALLOW
    assert image.metadata["verdicts"][hit.verdict_id]["staged"] == {"strict": "Deny"}
    assert image.metadata["verdicts"][other.verdict_id]["staged"] == {}


def test_a_later_fragment_passes_if_any_port_would() -> None:
    image = compile_image(view_of(table(SSH)), 1)
    fragment = replace(SYN, source_port=0, destination_port=0, fragment=True)
    for packet, expected in ((fragment, Action.ALLOW), (replace(fragment, protocol=17), Action.DENY)):
        walked = walk(image, 0, TableKind.LOCAL_INGRESS, packet)
        assert walked is not None
        assert walked.action is expected


def test_a_later_fragment_passes_if_any_source_port_would() -> None:
    l4 = L4Match(protocols=frozenset({6}), source_ports=((1000, 1999),))
    image = compile_image(view_of(table(PolicyView("p", (rule(RuleAction.ALLOW, 1, ANY, l4),)))), 1)
    assert Walker(image).header["sport_at"]
    whole = walk(image, 0, TableKind.LOCAL_INGRESS, SYN)
    fragment = walk(image, 0, TableKind.LOCAL_INGRESS, replace(SYN, source_port=0, fragment=True))
    assert whole is not None
    assert fragment is not None
    assert (whole.action, fragment.action) == (Action.DENY, Action.ALLOW)


def test_endpoints_with_the_same_policies_share_one_table() -> None:
    one = view_of(table(SSH))
    shared = EndpointView("node-b", 1, {TableKind.LOCAL_INGRESS: table(SSH)})
    other = EndpointView("node-b", 1, {TableKind.LOCAL_INGRESS: table(PolicyView("x", SSH.rules))})
    sizes = [
        len(compile_image(replace(one, endpoints=(*one.endpoints, second)), 1).data)
        for second in (shared, other)
    ]
    assert sizes[0] < sizes[1]


def test_flags_and_address_flags_come_from_the_view() -> None:
    untracked = table(SSH, kind=TableKind.UNTRACKED_INGRESS, tier_end=RuleAction.PASS, end=Action.NONE)
    walker = Walker(compile_image(view_of(untracked, pod_to_host=PodToHost.DROP), 1))
    assert walker.header["flags"] == abi.IMAGE_UNTRACKED | abi.IMAGE_POD_TO_HOST_DROP
    assert walker.address_flags(4, 0x0A000001) == abi.ADDRESS_HOST | abi.ADDRESS_NODE
    assert walker.address_flags(4, 0x0A000002) == abi.ADDRESS_NODE
    assert walker.address_flags(4, 0x0B000001) == 0
    assert walker.address_flags(6, 1) == abi.ADDRESS_HOST
    assert Walker(compile_image(view_of(table(SSH)), 1)).header["flags"] == 0


def test_node_ports_are_bits_and_tunnels_are_rows() -> None:
    ports = frozenset({(6, 30001), (17, 30008)})
    image = compile_image(view_of(table(SSH), node_ports=ports, tunnels=((17, 4789), (4, 0))), 1)
    header = Walker(image).header
    tcp_at, udp_at = header["node_ports_at"], header["node_ports_at"] + 8192
    assert image.data[tcp_at + (30001 >> 3)] == 1 << (30001 & 7)
    assert image.data[udp_at + (30008 >> 3)] == 1 << (30008 & 7)
    assert sum(image.data[tcp_at : tcp_at + 16384]) == (1 << (30001 & 7)) + (1 << (30008 & 7))
    rows = [abi.IMAGE_TUNNEL.unpack_from(image.data, header["tunnels_at"] + 4 * index) for index in range(2)]
    assert (header["tunnels"], rows) == (2, [(17, 4789), (4, 0)])


def test_what_is_known_beside_the_image_can_be_written_as_json() -> None:
    image = compile_image(view_of(table(SSH)), 3)
    known = json.loads(json.dumps(dict(image.metadata)))
    assert known["tables"][0]["table"] == "local_ingress"
    assert {each["action"] for each in known["verdicts"]} == {"None", "Allow", "Deny"}
    assert image.slots == ("node-a",)
    assert "node-a local_ingress: 2 rules" in image.describe()


def test_an_image_over_the_limit_is_refused_with_the_policy_that_costs_most() -> None:
    small = PolicyView("small", (rule(RuleAction.ALLOW, 50),))
    roomy = len(compile_image(view_of(table(small, SSH)), 1).data)
    needs = roomy - (SPARE_BLOCKS + 1) * BLOCK_BYTES - SPARE_BYTES6
    assert len(compile_image(view_of(table(small, SSH)), 1, needs).data) == needs
    assert len(compile_image(view_of(table(small, SSH)), 1, needs + 80).data) == needs + 80
    with pytest.raises(CapacityError, match=f"image bytes: needs {needs}, have {needs - 8}; ssh costs most"):
        compile_image(view_of(table(small, SSH)), 1, needs - 8)


def test_where_room_is_short_the_policy_with_the_most_networks_costs_most() -> None:
    peers = Side((AddressSet("many", tuple((index * 0x40301, 32) for index in range(2000))),))
    many = PolicyView("many", (rule(RuleAction.ALLOW, 50, peers),))
    limit = len(compile_image(view_of(table(SSH)), 1).data)
    with pytest.raises(CapacityError, match=r"image bytes: .*; many costs most"):
        compile_image(view_of(table(many, SSH)), 1, limit)


def test_tunnels_and_endpoints_beyond_their_limits_are_refused() -> None:
    tunnels = tuple((17, port) for port in range(1, abi.TUNNELS_MAX + 2))
    assert compile_image(view_of(table(SSH), tunnels=tunnels[:-1]), 1)
    with pytest.raises(CapacityError, match="tunnels: needs 9, have 8"):
        compile_image(view_of(table(SSH), tunnels=tunnels), 1)
    many = tuple(EndpointView(f"e{slot}", slot, {}) for slot in range(abi.ENDPOINTS_MAX + 1))
    with pytest.raises(CapacityError, match="host endpoints: needs 65, have 64"):
        compile_image(view_of(endpoints=many), 1)


def test_a_table_too_big_to_paint_is_refused_before_it_is_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "PAINT_CELLS", 3)
    with pytest.raises(CapacityError, match="cells of a table: needs 4, have 3; ssh costs most"):
        compile_image(view_of(table(SSH)), 1)


@pytest.mark.parametrize("damage", ["magic", "short", "cut"])
def test_bytes_that_are_no_image_are_recognised(damage: str) -> None:
    good = bytes(compile_image(view_of(table(SSH)), 1).data)
    assert walk(good, 0, TableKind.LOCAL_INGRESS, SYN) is not None
    bad = {"magic": b"\0" + good[1:], "short": good[:50], "cut": good[:-8]}[damage]
    with pytest.raises(DriftError):
        walk(bad, 0, TableKind.LOCAL_INGRESS, SYN)
