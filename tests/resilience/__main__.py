"""``make test-resilience``: the table of faults; fails if any did harm, or the control did none."""

from __future__ import annotations

import sys

from tests.resilience.faults import CONTROL, FAULTS
from tests.resilience.life import LIFE
from tests.resilience.site import site
from tests.resilience.table import suffer


def main() -> int:
    """Print the table; the exit status."""
    with site() as made:
        *rows, control = suffer(made, [*FAULTS, *LIFE, CONTROL], lambda line: print(line, flush=True))
    unclean = [row.fault.name for row in rows if not row.counted.clean]
    counted = control.counted
    seen = counted.wrongly_passed and counted.wrongly_dropped and counted.connections_lost
    if not seen:
        unclean.append("the control's damage was not seen")
    for name in unclean:
        print(f"NOT CLEAN: {name}", file=sys.stderr)
    return 1 if unclean else 0


if __name__ == "__main__":
    sys.exit(main())
