"""Failsafes as bits and networks, read back by hand."""

from __future__ import annotations

import pytest

from pyagent import abi
from pyagent.calc.view import Failsafe
from pyagent.dataplane.failsafes import BITMAP_BYTES, bitmaps, networks

INBOUND_TCP, OUTBOUND_UDP = 0, 4


def bits(which: bytearray, index: int, start: int = 0) -> set[int]:
    part = which[start + index * 8192 : start + (index + 1) * 8192]
    return {at * 8 + bit for at, byte in enumerate(part) if byte for bit in range(8) if byte >> bit & 1}


def test_an_open_port_is_one_bit_of_its_direction_and_protocol() -> None:
    found = bitmaps([Failsafe("ingress", 6, 22), Failsafe("egress", 17, 53)])
    assert bits(found, INBOUND_TCP) == {22}
    assert bits(found, OUTBOUND_UDP) == {53}
    assert sum(byte.bit_count() for byte in found) == 2


@pytest.mark.parametrize("port", [0, 7, 8, 65535])
def test_the_ends_of_the_range_are_where_they_should_be(port: int) -> None:
    assert bits(bitmaps([Failsafe("ingress", 6, port)]), INBOUND_TCP) == {port}


def test_a_port_limited_to_networks_is_in_the_second_bitmap_only() -> None:
    found = bitmaps([Failsafe("ingress", 6, 22, "10.0.0.0/8")])
    assert bits(found, INBOUND_TCP) == set()
    assert bits(found, INBOUND_TCP, BITMAP_BYTES) == {22}


def test_a_network_becomes_a_key_whose_length_counts_the_fixed_part() -> None:
    (key,) = networks([Failsafe("egress", 17, 53, "10.1.0.0/16"), Failsafe("ingress", 6, 22)])
    assert abi.FAILSAFE_KEY.unpack(key) == (48, b"\x00\x35", OUTBOUND_UDP, 4, bytes([10, 1]) + bytes(14))


def test_an_ipv6_network_has_its_own_version() -> None:
    (key,) = networks([Failsafe("ingress", 6, 22, "fd00::/8")])
    assert abi.FAILSAFE_KEY.unpack(key) == (40, b"\x00\x16", INBOUND_TCP, 6, b"\xfd" + bytes(15))
