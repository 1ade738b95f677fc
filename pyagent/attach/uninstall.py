"""Leave no trace: every link, filter, empty clsact and pin of ours."""

from __future__ import annotations

from dataclasses import dataclass

from pyagent.abi import Direction
from pyagent.attach import tcx, xdp
from pyagent.attach.clsact import Clsact
from pyagent.bpf.pins import Pins


@dataclass(frozen=True, slots=True)
class Removed:
    """How much there was."""

    links: int
    filters: int
    qdiscs: int


def uninstall(pins: Pins) -> Removed:
    """Detach and unpin everything of this instance, of all ABI versions. Blocks; may be repeated."""
    links = filters = qdiscs = 0
    for version in (pins, *pins.other_versions()):
        for pin in version.links():
            tcx.detach(pin)
            links += 1
        for ifindex in version.xdp_links():
            xdp.detach(version, ifindex)
            links += 1
        with Clsact(version) as clsact:
            for ifindex in clsact.interfaces():
                filters += sum(clsact.detach(ifindex, direction) for direction in Direction)
                qdiscs += clsact.remove_qdisc(ifindex)
        version.remove()
    return Removed(links, filters, qdiscs)
