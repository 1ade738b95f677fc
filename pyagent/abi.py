"""Python's mirror of bpf/abi.h: numbers, names and struct formats; a test compares both through BTF.

Formats are for :mod:`struct`, native little-endian byte order of the hosts supported (x86-64, arm64).
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

ABI_VERSION: Final = 3
#: Of flows and their keys alone: equal ones are taken over from another version.
FLOW_LAYOUT: Final = 1

FLOWS_MAX: Final = 262144
IMAGE_BYTES: Final = 8388608
#: What kernels before 5.16 accept as the value of an array.
IMAGE_BYTES_OLD: Final = 4194304
IFSTATE_MAX: Final = 1024
IFSTATE_MORE_MAX: Final = 4096
VERDICTS_MAX: Final = 32768
FRAGMENTS_MAX: Final = 8192
EVENTS_BYTES: Final = 262144
ENDPOINTS_MAX: Final = 64


class Direction(IntEnum):
    """Of the packet at the hook, seen from the host."""

    INGRESS = 0
    EGRESS = 1


class Action(IntEnum):
    """What a policy table says of a packet; NONE: no rule matched, go on to the next stage."""

    NONE = 0
    ALLOW = 1
    DENY = 2


class TableKind(IntEnum):
    """A slot's policy tables, by stage and direction."""

    UNTRACKED_INGRESS = 0
    UNTRACKED_EGRESS = 1
    PREDNAT = 2
    FORWARD_INGRESS = 3
    FORWARD_EGRESS = 4
    LOCAL_INGRESS = 5
    LOCAL_EGRESS = 6


TABLE_KINDS: Final = 7


class Reason(IntEnum):
    """Why a packet got its verdict; below 32 it passed, from 32 on it was dropped."""

    NONE = 0
    FLOW = 1
    SOCKET = 2
    SYNCOOKIE = 3
    RELATED = 4
    FAILSAFE = 5
    POLICY_ALLOW = 6
    UNTRACKED_ALLOW = 7
    PREDNAT_ALLOW = 8
    FORWARD_ALLOW = 9
    FORWARD_NONE = 10
    OWN_POD = 11
    POD_ACCEPT = 12
    NON_IP = 13
    NEIGHBOUR = 14
    TUNNEL = 15
    FRAGMENT = 16
    NO_ENDPOINT = 17
    NO_IMAGE = 18
    RESCUE = 19
    EXCLUDED = 20
    POLICY_DENY = 32
    UNTRACKED_DENY = 33
    PREDNAT_DENY = 34
    FORWARD_DENY = 35
    POD_DROP = 36
    SHORT = 37
    MALFORMED = 38
    EXTENSIONS = 39
    FRAGMENT_DENY = 40
    VLAN = 41


REASON_MAX: Final = 64
#: The first reason that means a drop.
REASON_DROPPED: Final = 32


class FlowOrigin(IntEnum):
    """Who allowed a flow."""

    POLICY = 0
    FAILSAFE = 1
    SOCKET = 2
    FORWARDED = 3
    SEEDED = 4
    OWN_POD = 5
    PREDNAT = 6


class EventKind(IntEnum):
    """What an event of the ring reports."""

    LOG = 1
    DENY = 2


CONTROL_UNTRACKED: Final = 1

IF_WORKLOAD: Final = 1
IF_EXCLUDED: Final = 2
IF_LAYER3: Final = 4

FLOW_REPLIED: Final = 1
FLOW_FIN_OPENER: Final = 2
FLOW_FIN_REPLIER: Final = 4
FLOW_RST: Final = 8

IDLE_TCP: Final = 432000
IDLE_TCP_HANDSHAKE: Final = 60
IDLE_TCP_CLOSING: Final = 120
IDLE_UDP: Final = 60
IDLE_UDP_REPLIED: Final = 180
IDLE_ICMP: Final = 30
IDLE_OTHER: Final = 600
IDLE_FRAGMENT: Final = 30

FAILSAFE_TCP: Final = 0
FAILSAFE_UDP: Final = 1
FAILSAFE_SCTP: Final = 2
FAILSAFE_OUTBOUND: Final = 3
FAILSAFE_FIXED_BITS: Final = 32
FAILSAFE_NETS_MAX: Final = 4096

IMAGE_MAGIC: Final = 0x48455031
IMAGE_UNTRACKED: Final = 1
IMAGE_POD_TO_HOST_ACCEPT: Final = 2
IMAGE_POD_TO_HOST_DROP: Final = 4

VERDICT_LOG: Final = 1
TUNNELS_MAX: Final = 8

ADDRESS_HOST: Final = 1
ADDRESS_NODE: Final = 2

TRIE4_BLOCK: Final = 0x8000
TRIE4_ROOT: Final = 65536
#: Cells of a run in a table with pages, as a power of two.
PAGE_SHIFT: Final = 6
PAGE_CELLS: Final = 1 << PAGE_SHIFT
TRIE6_CLASS: Final = 0x00000000
TRIE6_BRANCH: Final = 0x40000000
TRIE6_SKIP: Final = 0x80000000
TRIE6_KIND: Final = 0xC0000000
TRIE6_STEPS: Final = 20

L4_TCP: Final = 0
L4_UDP: Final = 65536
L4_SCTP: Final = 131072
L4_ICMP: Final = 196608
L4_ICMPV6: Final = 262144
L4_PROTOCOL: Final = 327680
L4_FRAGMENT: Final = 327936
L4_ENTRIES: Final = 328192

EVENTS_PER_SECOND: Final = 500

#: Struct name in abi.h -> format and field names in order (an array is one field of several items).
CONTROL: Final = struct.Struct("=IIQQ")
IFSTATE: Final = struct.Struct("=IHHBBHHxx")
COUNTERS: Final = struct.Struct(f"={2 * REASON_MAX}Q")
HITS: Final = struct.Struct("=QQ")
FLOW4_KEY: Final = struct.Struct("=4s4s2s2sB3x")
FLOW6_KEY: Final = struct.Struct("=16s16s2s2sB3x")
FLOW: Final = struct.Struct("=QQQIIIIBBH4x")
FRAGMENT_KEY: Final = struct.Struct("=16s16s4sIBBBx")
FRAGMENT: Final = struct.Struct("=II")
FAILSAFE_KEY: Final = struct.Struct("=I2sBB16s")
IMAGE_HEADER: Final = struct.Struct("=22IQQ")
IMAGE_SLOT: Final = struct.Struct("=7II")
IMAGE_TABLE: Final = struct.Struct("=13I4x")
VERDICT: Final = struct.Struct("=BBxxI")
IMAGE_TUNNEL: Final = struct.Struct("=BxH")
TRIE6_SKIP_NODE: Final = struct.Struct("=QQQQIII4x")
EVENT: Final = struct.Struct("=QIIIHBBBBBB2s2sI16s16s4x")

#: Field names of image_header, in order.
IMAGE_HEADER_FIELDS: Final = (
    "magic", "abi", "generation", "size", "flags", "slots", "slots_at", "trie4_at", "trie6_at", "trie6_root",
    "l4_at", "sport_at", "address_flags_at", "verdicts_at", "verdicts", "address_classes", "l4_classes",
    "sport_classes", "node_ports_at", "tunnels_at", "tunnels", "edits", "compiled", "hash",
)  # fmt: skip
#: Field names of image_table, in order.
IMAGE_TABLE_FIELDS: Final = (
    "by_source_at", "by_destination_at", "combine_addresses_at", "by_l4_at", "by_source_port_at",
    "combine_l4_at", "cells_at", "columns", "rows", "combine_addresses", "combine_l4", "pages_at", "runs",
)  # fmt: skip
