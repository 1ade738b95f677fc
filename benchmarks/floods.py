"""``make bench-floods``: what a flood leaves of an established connection's rate, filtered and not.

Measured alternately on the same flood; rates in MB/s, their ratio from medians and from minima.
"""

from __future__ import annotations

import argparse
import json
import platform
import socket
import statistics
import sys
import threading
import time
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, Final

from pyagent.bpf.maps import Map
from tests.netns.two_hosts import NODE_ADDRESS
from tests.resilience.load import DENIED, FLOODED
from tests.resilience.many import flood, switch_off
from tests.resilience.site import Site, site

_RESULTS: Final = Path(__file__).parent / "results" / "floods.json"
_AIM: Final = 0.9
#: Name, kind and port of each flood; none is the rate of the wire itself.
FLOODS: Final = (
    ("no flood", "", 0),
    ("SYN flood, allowed port", "syn", FLOODED),
    ("SYN flood, denied port", "syn", DENIED),
    ("UDP flood, denied port", "udp", DENIED),
    ("fragment flood", "fragments", DENIED),
)


class Bulk:
    """An established connection from the peer that carries as much as it can."""

    def __init__(self, made: Site) -> None:
        # Opened before the first enforcement, from the peer; no rule allows it.
        self._sender, receiver = made.connections.pairs[0]
        assert receiver is not None
        self._receiver = receiver
        self._sender.settimeout(0.2)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        content = bytes(1 << 18)
        while not self._stop.is_set():
            try:
                self._sender.send(content)
            except TimeoutError:
                continue

    def rate(self, seconds: float) -> float:
        """MB/s that arrive during so many seconds."""
        self._receiver.settimeout(seconds)
        buffer, arrived, begun = bytearray(1 << 20), 0, time.monotonic()
        while time.monotonic() - begun < seconds:
            try:
                arrived += self._receiver.recv_into(buffer)
            except TimeoutError:
                break
        return arrived / (time.monotonic() - begun) / 1e6

    def close(self) -> None:
        """Send no more."""
        self._stop.set()
        self._thread.join()


def measure(made: Site, rounds: int, seconds: float, rate: int) -> list[dict[str, Any]]:
    """Every flood in turn, ``rounds`` times with the firewall and as often without."""
    found: dict[str, dict[bool, list[float]]] = {name: {True: [], False: []} for name, _, _ in FLOODS}
    flows = 0
    with closing(socket.create_server((NODE_ADDRESS, FLOODED))), closing(Bulk(made)) as bulk:
        for number in range(2 * rounds):
            filtered = number % 2 == 0
            if filtered:
                made.start_and_wait_anew()
            else:
                switch_off(made)
            for name, kind, port in FLOODS:
                with flood(made, kind, port, rate) if kind else nullcontext():
                    time.sleep(0.3)
                    found[name][filtered].append(bulk.rate(seconds))
            if filtered:
                with Map.open(made.pins.map("flows4")) as table:
                    flows = max(flows, len(table))
    return [{"flood": name, **_compared(rates)} for name, rates in found.items()] + [{"flows at most": flows}]


def _compared(rates: dict[bool, list[float]]) -> dict[str, Any]:
    return {
        "filtered": [round(rate, 1) for rate in rates[True]],
        "unfiltered": [round(rate, 1) for rate in rates[False]],
        "ratio_median": round(statistics.median(rates[True]) / statistics.median(rates[False]), 3),
        "ratio_best": round(max(rates[True]) / max(rates[False]), 3),
    }


def main() -> int:
    """Measure, print a table, keep the figures; the exit status says whether the aim was met."""
    parser = argparse.ArgumentParser(prog="bench-floods", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--rate", type=int, default=0, help="frames a second; 0: as many as one CPU can")
    chosen = parser.parse_args()
    with site(connections=2) as made:
        rows = measure(made, chosen.rounds, chosen.seconds, chosen.rate)
    document = {"kernel": platform.release(), "rate": chosen.rate, "rounds": chosen.rounds, "rows": rows}
    _RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    print(f"{'FLOOD':<28}{'FILTERED MB/s':>15}{'UNFILTERED':>12}{'RATIO (median)':>16}{'(best)':>9}")
    measured = rows[:-1]
    for row in measured:
        medians = [statistics.median(row[which]) for which in ("filtered", "unfiltered")]
        print(f"{row['flood']:<28}{medians[0]:>15.0f}{medians[1]:>12.0f}", end="")
        print(f"{row['ratio_median']:>16.2f}{row['ratio_best']:>9.2f}")
    print(rows[-1])
    return 0 if all(row["ratio_median"] >= _AIM for row in measured) else 1


if __name__ == "__main__":
    sys.exit(main())
