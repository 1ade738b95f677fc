"""Corners of the compiler that random policies seldom visit."""

from __future__ import annotations

from pyagent import abi
from pyagent.abi import Direction, Reason
from pyagent.calc import World, node_view
from pyagent.calc.view import L4Match
from pyagent.compiler import compile_image
from pyagent.compiler.layer4 import EVERY_PORT, conditions
from pyagent.compiler.pipeline import Pipeline
from pyagent.model import Resource
from tests.support.small_world import FACTS, endpoint, packet, resource, rule


def reason(*resources: Resource) -> Reason:
    view = node_view(World.from_resources(resources), FACTS)
    return Pipeline(compile_image(view, 1), view, FACTS).judge("eth0", Direction.INGRESS, packet(80)).reason


def profile(name: str, action: str) -> Resource:
    return resource("Profile", name, {"ingress": [rule(action)]})


def test_pass_in_a_profile_denies_whatever_the_next_profile_allows() -> None:
    both = profile("one", "Pass"), profile("two", "Allow")
    assert reason(endpoint(profiles=["two"]), *both) is Reason.POLICY_ALLOW
    assert reason(endpoint(profiles=["two", "one"]), *both) is Reason.POLICY_ALLOW
    assert reason(endpoint(profiles=["one", "two"]), *both) is Reason.POLICY_DENY


def test_a_packet_without_ports_is_from_none_of_the_excluded_source_ports() -> None:
    found = conditions(L4Match(not_source_ports=((80, 90),)))
    esp, tcp = abi.L4_PROTOCOL + 50, abi.L4_TCP + 443

    def sources(cell: int) -> list[object]:
        return [ports for cells, ports in found if any(low <= cell < high for low, high in cells)]

    assert sources(esp) == [EVERY_PORT]
    assert sources(tcp) == [((0, 80), (91, 65536))]
