"""The maps and programs of the firewall as the loader makes them; bpf/maps.h declares the same ones."""

from __future__ import annotations

import errno
import functools
import os
from typing import Final

from pyagent import abi
from pyagent.bpf import syscall
from pyagent.bpf.maps import MapSpec
from pyagent.bpf.numbers import F_MMAPABLE, F_NO_PREALLOC, MapType, ProgramType
from pyagent.errors import KernelError

#: Function in firewall.c -> name under which the kernel lists the program (at most 15 characters).
PROGRAM_NAMES: Final = {
    "tc_ingress": "autohep_ingress",
    "tc_egress": "autohep_egress",
    "tc_ingress_l3": "autohep_in_l3",
    "tc_egress_l3": "autohep_out_l3",
    "xdp_ingress": "autohep_xdp",
}

#: The kernel lists our maps with this before their names.
MAP_PREFIX: Final = "hep_"
#: Room for struct scratch, which only the program knows: one packet's working space, larger does no harm.
SCRATCH_BYTES: Final = 1024


def program_type(function: str) -> ProgramType:
    """Return what kind of program a function is, by its name."""
    return ProgramType.XDP if function.startswith("xdp") else ProgramType.SCHED_CLS


def kernel_name(function: str) -> str:
    """Return the program's name in the kernel."""
    return PROGRAM_NAMES.get(function, f"autohep_{function}")[:15]


@functools.cache
def image_bytes() -> int:
    """Return how large an image may be on this kernel: before 5.11 no element of an array is above 4 MiB."""
    try:
        os.close(syscall.map_create(MapType.ARRAY, 4, abi.IMAGE_BYTES, 1, F_MMAPABLE))
    except KernelError as error:
        if error.errno == errno.E2BIG:
            return abi.IMAGE_BYTES_OLD
    return abi.IMAGE_BYTES


def map_specs(flows_max: int = abi.FLOWS_MAX, image_size: int = 0) -> tuple[MapSpec, ...]:
    """Return every map, in the sizes of this node; ``image_size`` 0: as large as the kernel takes."""
    word, nets = 4, abi.FAILSAFE_NETS_MAX
    sizes = abi.FRAGMENT_KEY.size, abi.FRAGMENT.size

    def array(name: str, value_size: int, entries: int, flags: int = 0) -> MapSpec:
        return MapSpec(name, MapType.ARRAY, word, value_size, entries, flags)

    def per_cpu(name: str, value_size: int, entries: int) -> MapSpec:
        return MapSpec(name, MapType.PERCPU_ARRAY, word, value_size, entries, 0)

    def flows(name: str, key_size: int) -> MapSpec:
        return MapSpec(name, MapType.LRU_HASH, key_size, abi.FLOW.size, flows_max, 0, abi.FLOW_LAYOUT)

    return (
        array("control", abi.CONTROL.size, 1, F_MMAPABLE),
        array("images", image_size or image_bytes(), 2, F_MMAPABLE),
        array("ifstate", abi.IFSTATE.size, abi.IFSTATE_MAX),
        MapSpec("ifstate_more", MapType.HASH, word, abi.IFSTATE.size, abi.IFSTATE_MORE_MAX, 0),
        per_cpu("counters", abi.COUNTERS.size, abi.IFSTATE_MAX),
        per_cpu("hits", abi.HITS.size, 2 * abi.VERDICTS_MAX),
        flows("flows4", abi.FLOW4_KEY.size),
        flows("flows6", abi.FLOW6_KEY.size),
        MapSpec("fragments", MapType.LRU_HASH, *sizes, abi.FRAGMENTS_MAX, 0),
        array("failsafe", 2 * 6 * 8192, 1, F_MMAPABLE),
        MapSpec("failsafe_nets", MapType.LPM_TRIE, abi.FAILSAFE_KEY.size, word, nets, F_NO_PREALLOC),
        MapSpec("events", MapType.RINGBUF, 0, 0, abi.EVENTS_BYTES, 0),
        per_cpu("event_budget", 24, 1),
        per_cpu("scratch", SCRATCH_BYTES, 1),
    )
