"""``make test-resilience``: the tables of faults; fails if any did harm, or the control did none."""

from __future__ import annotations

import sys

from tests.resilience.faults import CONTROL, FAULTS
from tests.resilience.life import LIFE
from tests.resilience.many import ACTIVE, IDLE, MANY
from tests.resilience.site import site
from tests.resilience.table import suffer


def main() -> int:
    """Print the tables; the exit status."""
    with site() as made:
        *rows, control = suffer(made, [*FAULTS, *LIFE, CONTROL], _say)
    _say(f"\n{IDLE} idle and {ACTIVE} active TCP connections; of packets only theirs are counted")
    with site(connections=ACTIVE, idle=IDLE) as made:
        rows += suffer(made, MANY, _say, active=ACTIVE)
    unclean = [row.fault.name for row in rows if not row.counted.clean]
    counted = control.counted
    seen = counted.wrongly_passed and counted.wrongly_dropped and counted.connections_lost
    if not seen:
        unclean.append("the control's damage was not seen")
    for name in unclean:
        print(f"NOT CLEAN: {name}", file=sys.stderr)
    return 1 if unclean else 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
