"""The whole sweep, part of ``make test-resilience``: every step; ends at the first mixture."""

from __future__ import annotations

import logging
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.sweep import sweep
from tests.sweep.scene import scene


def main() -> int:
    """Sweep, print how often the old and how often the new policy was in force."""
    logging.disable()  # the passes tell of each fault
    with tempfile.TemporaryDirectory(prefix="autohep-sweep-") as directory, scene(Path(directory)) as made:
        for title, fatal, go in (("killed", True, sweep.kills), ("an error", False, sweep.errors)):
            names = sweep.steps(made, fatal=fatal)
            found = go(made, range(len(names)))
            kinds = ", ".join(f"{count} {name}" for name, count in Counter(names).most_common())
            print(f"{title} at each of {len(names)} steps of an apply: {found['old']} times the old policy")
            print(f"  in force afterwards, {found['new']} times the new, never a mixture; steps: {kinds}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
