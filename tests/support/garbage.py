"""Frames that are broken, or nearly: real ones after some accident, and bytes out of nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from tests.support.frames import (
    EXTENSIONS,
    IPV4,
    IPV6,
    QINQ,
    QINQ_OLD,
    VLAN,
    Wrapping,
    frame,
    random_wrapping,
)
from tests.support.generate import RandomWorld
from tests.support.generate_packets import random_cases

#: Bytes that mean something in one header or another.
_TELLING = (0, 1, 4, 5, 6, 8, 15, 16, 17, 19, 20, 43, 44, 58, 60, 64, 69, 96, 127, 128, 132, 255)
_HEADERS = 100
_LONGEST = 1400


def broken_frames(world: RandomWorld, seed: int, count: int) -> Iterator[bytes]:
    """``count`` frames, most of which some accident befell."""
    random = Random(seed)
    for case in random_cases(world, seed, count):
        if random.random() < 0.1:
            yield from_nowhere(random)
            continue
        packet = case.packet
        wrapping = Wrapping() if packet.protocol in EXTENSIONS else random_wrapping(random, packet)
        data = frame(packet, wrapping)
        for _ in range(random.choice((0, 1, 1, 2, 5))):
            data = random.choice(_ACCIDENTS)(random, data)
        yield runnable(data[:_LONGEST])


def from_nowhere(random: Random) -> bytes:
    """Random bytes behind an Ethernet header of some known or unknown type."""
    ethertype = random.choice((IPV4, IPV6, IPV4, IPV6, VLAN, QINQ, QINQ_OLD, 0x0806, random.getrandbits(16)))
    data = bytes(12) + ethertype.to_bytes(2) + random.randbytes(random.randint(0, 120))
    if random.random() < 0.5:
        data = data[:12] + VLAN.to_bytes(2) + b"\0\1" + data[12:]
    return runnable(data)


def runnable(data: bytes) -> bytes:
    """The frame, long enough for the kernel to run a program on it: a whole IP header behind its type."""
    ethertype = int.from_bytes(data[12:14])
    return data.ljust({IPV4: 34, IPV6: 54}.get(ethertype, 14), b"\0")


def _flip(random: Random, data: bytes) -> bytes:
    return _with(data, at := random.randrange(min(len(data), _HEADERS)), data[at] ^ 1 << random.randrange(8))


def _tell(random: Random, data: bytes) -> bytes:
    return _with(data, random.randrange(min(len(data), _HEADERS)), random.choice(_TELLING))


def _cut(random: Random, data: bytes) -> bytes:
    return data[: random.randint(14, max(14, len(data)))]


def _grow(random: Random, data: bytes) -> bytes:
    return data + random.randbytes(random.randint(1, 40))


def _lose(random: Random, data: bytes) -> bytes:
    at = random.randrange(12, max(13, min(len(data), _HEADERS)))
    return (data[:at] + data[at + random.randint(1, 8) :]).ljust(14, b"\0")


def _repeat(random: Random, data: bytes) -> bytes:
    at = random.randrange(12, max(13, min(len(data), _HEADERS)))
    piece = data[at : at + random.randint(1, 40)]
    return data[:at] + piece + data[at:]


def _with(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


_ACCIDENTS: tuple[Callable[[Random, bytes], bytes], ...] = (
    _flip,
    _flip,
    _tell,
    _tell,
    _cut,
    _grow,
    _lose,
    _repeat,
)
