"""XDP drops early what the untracked stage would deny, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from pyagent import abi, manifest
from pyagent.abi import Direction, Reason
from pyagent.model import GlobalNetworkPolicy
from tests.property.test_engines_agree import world_of
from tests.support.frames import Part, Wrapping, frame
from tests.support.garbage import broken_frames
from tests.support.generate import RandomWorld
from tests.support.kernel import Kernel
from tests.support.kernel_agreement import Trio, sent_cases
from tests.support.small_world import POD, endpoint, felix, packet, policy, rule

WORLDS = 16
PACKETS = 100
PARTS = 2
DENYING = policy(
    "u",
    rule("Allow", protocol="TCP", destination={"ports": [80]}),
    rule("Deny", protocol="TCP"),
    doNotTrack=True,
    applyOnForward=True,
)


def untracked_world(seed: int) -> RandomWorld:
    """A random world in which every policy is doNotTrack."""
    world = world_of(seed)
    resources = [
        msgspec.structs.replace(
            each,
            spec=msgspec.structs.replace(
                each.spec, do_not_track=True, pre_dnat=False, apply_on_forward=True, types=(), order=None
            ),
        )
        if isinstance(each, GlobalNetworkPolicy)
        else each
        for each in world.resources
    ]
    return replace(world, resources=tuple(manifest.default(each) for each in resources))


@pytest.mark.parametrize("part", range(PARTS))
def test_xdp_drops_exactly_what_the_untracked_stage_denies(kernel: Kernel, part: int) -> None:
    dropped = 0
    for seed in range(3000 + part, 3000 + WORLDS, PARTS):
        world = untracked_world(seed)
        trio = Trio(kernel, world)
        for sent in sent_cases(world, seed, PACKETS):
            if sent.direction is Direction.EGRESS:
                continue
            judged = trio.engines.pipeline.judge(sent.case.interface, sent.direction, sent.case.packet)
            drops = kernel.drops_early(sent.frame, sent.case.interface)
            assert drops is (judged.reason is Reason.UNTRACKED_DENY), f"world {seed}: {sent.case}"
            dropped += drops
    assert dropped, "the positive control: some packets were dropped"


def test_xdp_leaves_everything_it_does_not_understand_to_tc(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), policy("u", rule("Deny"), doNotTrack=True, applyOnForward=True))
    assert kernel.drops_early(frame(packet(80)))
    seen: set[Reason] = set()
    for data in broken_frames(world_of(1), 5, 2000):
        drops = kernel.drops_early(data)
        reason = kernel.run(data).reason
        assert drops is (reason is Reason.UNTRACKED_DENY), data.hex()
        seen.add(reason)
    assert seen >= {Reason.SHORT, Reason.MALFORMED, Reason.NON_IP, Reason.UNTRACKED_DENY}


def test_xdp_judges_packets_to_pods_behind_tags_and_in_fragments(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), DENYING)
    for destination in ("10.0.0.1", POD):
        for wrapping in (Wrapping(), Wrapping(tags=(0x8100,), options=8), Wrapping(part=Part.FIRST)):
            denied = packet(81, destination=destination)
            assert kernel.drops_early(frame(denied, wrapping))
            assert not kernel.drops_early(frame(replace(denied, destination_port=80), wrapping))
    assert not kernel.drops_early(frame(packet(22)))  # a failsafe
    assert not kernel.drops_early(frame(packet(40000, source_port=6443, tcp_flags=18)))  # one's reply


def test_xdp_leaves_pods_excluded_and_unknown_interfaces_alone(kernel: Kernel) -> None:
    kernel.enforce(endpoint("own", interfaceName="eth0"), DENYING, felix(interfaceExclude=["wg0"]))
    refused = frame(packet(81))
    assert kernel.drops_early(refused, "eth0")
    for interface in ("eth1", "wg0"):
        assert not kernel.drops_early(refused, interface)
    kernel.enforce(endpoint(), DENYING)
    assert kernel.drops_early(refused, "eth1")
    assert not kernel.drops_early(refused, "cali1")


def test_a_drop_by_xdp_is_counted_as_tc_would(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), DENYING)
    place = Direction.INGRESS * abi.REASON_MAX + Reason.UNTRACKED_DENY
    counters = kernel.dataplane.map("counters")
    before = counters.sum_value(kernel.counters("eth0"))
    assert kernel.drops_early(frame(packet(81)))
    assert not kernel.drops_early(frame(packet(80)))
    after = counters.sum_value(kernel.counters("eth0"))
    changed = {at: new - old for at, (old, new) in enumerate(zip(before, after, strict=True)) if new != old}
    assert changed == {place: 1}
