"""Numbers of the kernel's BPF interface, from ``linux/bpf.h``; ABI, the same on every architecture."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Command(IntEnum):
    """First argument of bpf(2)."""

    MAP_CREATE = 0
    MAP_LOOKUP = 1
    MAP_UPDATE = 2
    MAP_DELETE = 3
    MAP_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_TEST_RUN = 10
    PROG_GET_FD_BY_ID = 13
    OBJ_GET_INFO_BY_FD = 15
    PROG_QUERY = 16
    MAP_LOOKUP_BATCH = 24
    MAP_LOOKUP_AND_DELETE_BATCH = 25
    MAP_UPDATE_BATCH = 26
    MAP_DELETE_BATCH = 27
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_GET_FD_BY_ID = 30
    ENABLE_STATS = 32
    LINK_DETACH = 34


class MapType(IntEnum):
    """Kinds of map this project uses."""

    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    HASH_OF_MAPS = 13
    RINGBUF = 27


#: Types whose value is one cell per possible CPU.
PER_CPU: Final = frozenset({MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH})
#: Tables that batches read bucket by bucket.
HASHES: Final = frozenset({MapType.HASH, MapType.LRU_HASH})
#: Types whose elements always exist and cannot be deleted.
ARRAYS: Final = frozenset({MapType.ARRAY, MapType.PERCPU_ARRAY})


class ProgramType(IntEnum):
    """Kinds of program this project loads."""

    SCHED_CLS = 3
    XDP = 6


class AttachType(IntEnum):
    """Where a link puts a program."""

    XDP = 37
    TCX_INGRESS = 46
    TCX_EGRESS = 47


class LinkType(IntEnum):
    """What a link's info says it is."""

    XDP = 6
    TCX = 11


UPDATE_ANY: Final = 0
UPDATE_NOEXIST: Final = 1
UPDATE_EXIST: Final = 2

F_NO_PREALLOC: Final = 1
F_MMAPABLE: Final = 1024

#: LINK_CREATE flag: before the relative program, or first of all if none is given.
F_BEFORE: Final = 8

XDP_GENERIC: Final = 2
XDP_NATIVE: Final = 4

STATS_RUN_TIME: Final = 0

#: Return values of a classifier: go on to the next program, pass and end the chain, drop.
TC_UNSPEC: Final = -1
TC_OK: Final = 0
TC_SHOT: Final = 2
XDP_DROP: Final = 1
XDP_PASS: Final = 2
