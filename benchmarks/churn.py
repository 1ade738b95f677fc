"""``make bench-churn``: interfaces come and go, 500 a minute: when is each filtered, and what stays?

Fails if anything is left of them: programs, maps, links, pins, descriptors.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from pyagent.abi import Direction
from pyagent.attach.tcx import ATTACH_TYPE
from pyagent.bpf import syscall
from pyagent.errors import KernelError
from tests.resilience.site import AGENT, NODE, Site, policy, resource, site
from tests.support.census import census, descriptors, resident_kib

_RESULTS: Final = Path(__file__).parent / "results" / "churn.json"
_LOOK_S: Final = 0.001
_GIVE_UP_S: Final = 10.0
#: How many interfaces are there at a time: the oldest goes when another comes.
_AT_A_TIME: Final = 10


def churn(made: Site, minutes: float, per_minute: int) -> list[float]:
    """Add and remove interfaces for so long; seconds from each one's coming until it is filtered."""
    found: list[float] = []
    there: list[str] = []
    begun = time.monotonic()
    for number in range(int(minutes * per_minute / 2)):
        time.sleep(max(0.0, begun + number * 120 / per_minute - time.monotonic()))
        name = f"churn{number}"
        _ip("link", "add", name, "type", "veth", "peer", "name", name, "netns", str(made.peer))
        found.append(_covered_after(socket.if_nametoindex(name), time.monotonic()))
        there.append(name)
        if len(there) > _AT_A_TIME:
            _ip("link", "delete", there.pop(0))
    for name in there:
        _ip("link", "delete", name)
    return found


def _covered_after(ifindex: int, appeared: float) -> float:
    while (waited := time.monotonic() - appeared) < _GIVE_UP_S:
        try:
            if all(syscall.prog_query(ifindex, ATTACH_TYPE[direction]) for direction in Direction):
                return waited
        except KernelError:
            return waited
        time.sleep(_LOOK_S)
    return _GIVE_UP_S


def _held(made: Site) -> dict[str, int]:
    pid = made.processes.pid(AGENT)
    assert pid is not None
    kernel = census(made.pins)
    return {
        "programs": kernel.programs,
        "maps": kernel.maps,
        "links": kernel.links,
        "pins": sum(len(files) for _, _, files in os.walk(made.pins.root)),
        "descriptors": descriptors(pid),
        "kib": resident_kib(pid),
    }


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def main() -> int:
    """Churn, print the figures, keep them; the exit status says whether anything was left."""
    parser = argparse.ArgumentParser(prog="bench-churn", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--per-minute", type=int, default=500, help="additions and removals together")
    chosen = parser.parse_args()
    everywhere = resource("HostEndpoint", "everywhere", {"node": NODE, "interfaceName": "*"})
    with site(everywhere, policy(0), connections=2) as made:
        time.sleep(2)
        before = _held(made)
        found = sorted(churn(made, chosen.minutes, chosen.per_minute))
        time.sleep(3)
        after = _held(made)
    cuts = statistics.quantiles(found, n=100)
    document: dict[str, Any] = {
        "kernel": platform.release(),
        "minutes": chosen.minutes,
        "per_minute": chosen.per_minute,
        "interfaces": len(found),
        "covered_after_ms": {
            "median": round(statistics.median(found) * 1e3, 1),
            "p99": round(cuts[98] * 1e3, 1),
            "most": round(found[-1] * 1e3, 1),
        },
        "before": before,
        "after": after,
    }
    _RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))
    counted = [name for name in before if name != "kib"]
    return 1 if any(after[name] > before[name] for name in counted) else 0


if __name__ == "__main__":
    sys.exit(main())
