"""``python -m tests.lab up`` and ``down``: the lab for playing by hand (``make lab``, ``make lab-down``)."""

from __future__ import annotations

import sys

from tests.lab.lab import Lab, LabError
from tests.lab.topology import MACHINES

USAGE = "usage: python -m tests.lab up|down [NAME]"


def main(arguments: list[str]) -> int:
    """Up or down; NAME keeps several labs apart (letters and digits)."""
    if not arguments or arguments[0] not in ("up", "down") or len(arguments) > 2:
        print(USAGE, file=sys.stderr)
        return 2
    lab = Lab(*arguments[1:])
    if arguments[0] == "down":
        lab.down()
        return 0
    try:
        lab.up()
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    print(describe(lab))
    return 0


def describe(lab: Lab) -> str:
    """What is there and how to use it."""
    machines = "\n".join(
        f"  {machine.name:12} {machine.ipv4:14} {machine.ipv6:12} tcp {', '.join(map(str, machine.tcp))}"
        f"  udp {', '.join(map(str, machine.udp))}"
        for machine in MACHINES.values()
    )
    return f"""The lab is up:
{machines}
Try:
  export HEPCTL_DATASTORE={lab.datastore} PATH=$PWD/.venv/bin:$PATH
  hepctl get nodes -o wide
  nsenter --net={lab.network.path("external")} curl telnet://192.168.2.10:22
Logs are in {lab.processes.directory}; examples/seed has the walkthrough's policies.
Remove it: make lab-down"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
