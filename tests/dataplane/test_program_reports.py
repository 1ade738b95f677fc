"""What the program tells: counters by reason, hits by verdict, events; and its switches."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from pyagent import abi
from pyagent.abi import Direction, EventKind, Reason
from pyagent.bpf.ringbuf import RingBuffer
from tests.support.frames import PLAIN, Wrapping, ethernet, frame
from tests.support.kernel import INTERFACES, Kernel
from tests.support.small_world import WORLD, WORLD6, endpoint, felix, outgoing, packet, policy, rule

OUT = Direction.EGRESS
ALLOW, DENY = Reason.POLICY_ALLOW, Reason.POLICY_DENY


def counted(kernel: Kernel, interface: str, direction: Direction, reason: Reason) -> int:
    raw = kernel.counters(interface)
    return kernel.dataplane.map("counters").sum_value(raw)[direction * abi.REASON_MAX + reason]


def set_control(kernel: Kernel, **fields: int) -> None:
    """Change the control cell: generation, flags, rescue_until, events_until."""
    control = kernel.dataplane.map("control")
    names = ("generation", "flags", "rescue_until", "events_until")
    now = dict(zip(names, abi.CONTROL.unpack(control.get(bytes(4)) or b""), strict=True))
    control.set(bytes(4), abi.CONTROL.pack(*(now | fields).values()))


# -- counters


def test_every_packet_is_counted_once_by_interface_direction_and_reason(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), policy("p", rule(protocol="TCP", destination={"ports": [80]})))
    questions = [
        ("eth0", Direction.INGRESS, ALLOW),
        ("eth0", Direction.INGRESS, DENY),
        ("eth0", OUT, DENY),
        ("eth1", Direction.INGRESS, ALLOW),
    ]
    before = [counted(kernel, *question) for question in questions]
    for _ in range(3):
        kernel.judge(packet(80))
    kernel.judge(packet(81))
    kernel.judge(outgoing(81), direction=OUT)
    after = [counted(kernel, *question) for question in questions]
    assert [new - old for new, old in zip(after, before, strict=True)] == [3, 1, 1, 0]


def test_an_interface_without_endpoint_is_counted_by_itself(kernel: Kernel) -> None:
    for ifindex in range(abi.IFSTATE_MAX):  # as on a host that has just started
        kernel.dataplane.map("ifstate").set(struct.pack("=I", ifindex), bytes(abi.IFSTATE.size))
    kernel.enforce(endpoint("own", interfaceName="eth0"))
    before = counted(kernel, "wg0", Direction.INGRESS, Reason.NO_ENDPOINT)
    assert kernel.judge(packet(80), interface="wg0") is Reason.NO_ENDPOINT
    assert counted(kernel, "wg0", Direction.INGRESS, Reason.NO_ENDPOINT) == before + 1


def test_interfaces_beyond_the_direct_ones_share_one_set_of_counters(kernel: Kernel) -> None:
    kernel.enforce(endpoint())
    assert INTERFACES["far0"] % abi.IFSTATE_MAX == INTERFACES["eth0"]
    before = counted(kernel, "eth0", Direction.INGRESS, DENY)
    shared = counted(kernel, "far0", Direction.INGRESS, DENY)
    assert kernel.judge(packet(80), interface="far0") is DENY
    assert counted(kernel, "eth0", Direction.INGRESS, DENY) == before
    assert counted(kernel, "far0", Direction.INGRESS, DENY) == shared + 1


def test_a_verdict_counts_the_packets_and_bytes_it_judged(kernel: Kernel) -> None:
    installed = kernel.enforce(endpoint(), policy("p", rule(protocol="UDP", destination={"ports": [80]})))
    verdicts = range(len(installed.image.metadata["verdicts"]))
    allowing = next(
        number
        for number in verdicts
        if installed.image.metadata["rules"].get(str(installed.image.metadata["verdicts"][number]["rule"]))
        == "p/ingress[0]"
    )
    before = {number: kernel.hits(number) for number in verdicts}
    long = Wrapping(payload=bytes(500))
    sent = [frame(packet(80, protocol="UDP", source_port=port), long) for port in (1, 2, 3)]
    for data in sent:
        assert kernel.run(data).reason is ALLOW
    assert kernel.run(sent[0]).reason is Reason.FLOW  # no table was asked
    refused = frame(packet(81, protocol="UDP"), PLAIN)
    assert kernel.run(refused).reason is DENY
    for number in verdicts:
        packets, size = (new - old for new, old in zip(kernel.hits(number), before[number], strict=True))
        if number == allowing:
            assert (packets, size) == (3, sum(map(len, sent)))
        else:
            assert (packets, size) in {(0, 0), (1, len(refused))}


# -- switches


def test_without_an_image_everything_passes_and_is_counted(kernel: Kernel) -> None:
    kernel.enforce(endpoint())
    assert kernel.judge(packet(80)) is DENY
    kernel.withdraw()
    assert kernel.judge(packet(80)) is Reason.NO_IMAGE
    assert kernel.run(ethernet(0x0800, bytes(60))).reason is Reason.NO_IMAGE
    kernel.enforce(endpoint())
    assert kernel.judge(packet(80)) is DENY


def test_each_generation_has_its_own_tables_and_endpoints(kernel: Kernel) -> None:
    for port in (80, 81, 82):  # both sides, and the first again
        kernel.enforce(endpoint(), policy("p", rule(protocol="TCP", destination={"ports": [port]})))
        assert [kernel.judge(packet(each)) is ALLOW for each in (80, 81, 82)] == [
            each == port for each in (80, 81, 82)
        ]
    kernel.enforce(endpoint("own", interfaceName="eth1"))
    assert kernel.judge(packet(80)) is Reason.NO_ENDPOINT
    generation = kernel.dataplane.generation
    set_control(kernel, generation=generation - 1)
    assert kernel.judge(packet(82)) is ALLOW
    set_control(kernel, generation=generation)
    assert kernel.judge(packet(82)) is Reason.NO_ENDPOINT


def test_rescue_opens_everything_until_its_time_is_over(kernel: Kernel) -> None:
    kernel.enforce(endpoint())
    try:
        set_control(kernel, rescue_until=kernel.jiffies() + 3600 * kernel.rate)
        assert kernel.judge(packet(80)) is Reason.RESCUE
        assert kernel.run(ethernet(0x0800, bytes(60))).reason is Reason.RESCUE
        set_control(kernel, rescue_until=kernel.jiffies() - 1)
        assert kernel.judge(packet(80)) is DENY
    finally:
        set_control(kernel, rescue_until=0)


def test_without_its_flag_in_control_untracked_policy_is_not_looked_for(kernel: Kernel) -> None:
    kernel.enforce(endpoint(), policy("u", rule("Deny"), doNotTrack=True, applyOnForward=True))
    assert kernel.judge(packet(80)) is Reason.UNTRACKED_DENY
    set_control(kernel, flags=0)
    assert kernel.judge(packet(80)) is DENY


# -- events


@pytest.fixture
def ring(kernel: Kernel) -> Iterator[RingBuffer]:
    with RingBuffer(os.dup(kernel.dataplane.map("events").fd)) as opened:
        opened.read()
        yield opened


def events(ring: RingBuffer) -> list[tuple[Any, ...]]:
    return [abi.EVENT.unpack(record) for record in ring.read()]


def test_a_log_rule_sends_an_event_for_each_packet_it_sees(kernel: Kernel, ring: RingBuffer) -> None:
    logging = rule("Log", protocol="TCP", destination={"ports": [80]})
    kernel.enforce(endpoint(), policy("p", logging, rule(protocol="TCP")))
    assert kernel.judge(packet(81)) is ALLOW
    assert events(ring) == []
    assert kernel.judge(packet(80)) is ALLOW
    (event,) = events(ring)
    _, generation, ifindex, rule_key, _, kind, reason, action, direction, version, protocol, *rest = event
    source_port, destination_port, length, source, destination = rest
    assert (generation, ifindex) == (kernel.dataplane.generation, INTERFACES["eth0"])
    assert (kind, reason, action) == (EventKind.LOG, ALLOW, abi.Action.ALLOW)
    assert (direction, version, protocol) == (Direction.INGRESS, 4, 6)
    assert (source_port, destination_port) == (struct.pack(">H", 40000), struct.pack(">H", 80))
    assert length == len(frame(packet(80)))
    ends = packet(80).source.to_bytes(4), packet(80).destination.to_bytes(4)
    assert (source[:4], destination[:4]) == ends
    assert rule_key != 0


@pytest.mark.parametrize("early", [{"doNotTrack": True}, {"preDNAT": True}])
@pytest.mark.parametrize("later", [rule(), rule("Deny")])
def test_a_log_rule_in_an_early_table_that_settles_nothing_is_reported_with_the_verdict(
    kernel: Kernel, ring: RingBuffer, early: dict[str, bool], later: dict[str, Any]
) -> None:
    logging = rule("Log", protocol="TCP", destination={"ports": [80]})
    first = policy("early", logging, applyOnForward=True, **early)
    installed = kernel.enforce(endpoint(), first, policy("p", later))
    expected = ALLOW if later["action"] == "Allow" else DENY
    assert kernel.judge(packet(81)) is expected
    assert events(ring) == []
    assert kernel.judge(packet(80)) is expected
    (event,) = events(ring)
    assert event[5:7] == (EventKind.LOG, expected)
    metadata = installed.image.metadata
    assert metadata["rules"][str(event[3])] == "p/ingress[0]"
    (logged,) = metadata["verdicts"][event[4]]["logs"]
    assert metadata["rules"][str(logged)] == "early/ingress[0]"


def test_of_two_tables_that_log_the_event_names_the_later_ones_rule(kernel: Kernel, ring: RingBuffer) -> None:
    first = policy("early", rule("Log"), applyOnForward=True, preDNAT=True)
    installed = kernel.enforce(endpoint(), first, policy("p", rule("Log"), rule()))
    assert kernel.judge(packet(80)) is ALLOW
    (event,) = events(ring)
    metadata = installed.image.metadata
    places = [metadata["rules"][str(key)] for key in metadata["verdicts"][event[4]]["logs"]]
    assert places == ["p/ingress[0]"]


def test_drops_are_reported_while_somebody_observes(kernel: Kernel, ring: RingBuffer) -> None:
    kernel.enforce(endpoint(), policy("p", rule(protocol="UDP")))
    assert kernel.judge(packet(80)) is DENY
    assert events(ring) == []
    try:
        set_control(kernel, events_until=kernel.jiffies() + 3600 * kernel.rate)
        assert kernel.judge(packet(80, source=WORLD6)) is DENY
        assert kernel.judge(packet(80, protocol="UDP")) is ALLOW
        (event,) = events(ring)
        assert event[5:7] == (EventKind.DENY, DENY)
        assert event[9:11] == (6, 6)
        set_control(kernel, events_until=kernel.jiffies() - 1)
        assert kernel.judge(packet(81)) is DENY
        assert events(ring) == []
    finally:
        set_control(kernel, events_until=0)


def test_an_icmp_event_carries_type_and_code(kernel: Kernel, ring: RingBuffer) -> None:
    kernel.enforce(endpoint(), policy("p", rule("Log"), rule()))
    what = packet(source=WORLD, protocol="ICMP", icmp_type=9, icmp_code=3)
    assert kernel.judge(what) is ALLOW
    (event,) = events(ring)
    assert event[11] == struct.pack("=H", 9 << 8 | 3)


def test_events_are_limited_and_what_is_lost_is_counted(kernel: Kernel, ring: RingBuffer) -> None:
    kernel.enforce(endpoint(), policy("p", rule("Log"), rule("Deny")), felix(failsafeInboundHostPorts=[]))
    budget = kernel.dataplane.map("event_budget")
    (_, _, lost_before), runs = budget.sum_per_cpu(bytes(4)) or (), 4000
    kernel.repeat(frame(packet(80)), runs)  # within some milliseconds
    sent = len(ring.read(runs))
    (_, _, lost) = budget.sum_per_cpu(bytes(4)) or ()
    windows = 2  # a new second may have begun meanwhile
    assert 0 < sent <= abi.EVENTS_PER_SECOND * windows * (os.cpu_count() or 1)
    assert lost - lost_before == runs - sent


def test_what_a_full_ring_has_no_room_for_is_counted_as_lost(kernel: Kernel, ring: RingBuffer) -> None:
    kernel.enforce(endpoint(), policy("p", rule("Log"), rule("Deny")), felix(failsafeInboundHostPorts=[]))
    budget = kernel.dataplane.map("event_budget")
    (_, _, lost_before), rounds, each = budget.sum_per_cpu(bytes(4)) or (), 8, abi.EVENTS_PER_SECOND
    for _ in range(rounds):
        # As if a second had passed: nothing is left out for want of budget.
        value = bytearray(budget.get(bytes(4)) or b"")
        for cell in range(0, len(value), 24):
            value[cell + 8 : cell + 12] = bytes(4)
        budget.set(bytes(4), value)
        kernel.repeat(frame(packet(80)), each)
    sent = len(ring.read(rounds * each))
    (_, _, lost) = budget.sum_per_cpu(bytes(4)) or ()
    assert 0 < sent < rounds * each
    assert lost - lost_before == rounds * each - sent
