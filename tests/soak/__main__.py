"""``make soak MINUTES=60``: hours of churn; writes DIR/soak.json and DIR/soak.svg, fails if anything grew."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path

from tests.soak.plot import svg
from tests.soak.run import soak


def main() -> int:
    """Soak, write both files; the exit status."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=5, metavar="SECONDS")
    parser.add_argument("--into", type=Path, default=Path("build"), metavar="DIR")
    chosen = parser.parse_args()
    soaked = soak(chosen.minutes * 60, chosen.every, lambda line: print(line, flush=True))
    chosen.into.mkdir(parents=True, exist_ok=True)
    document = {"kernel": platform.release(), **soaked.document()}
    (chosen.into / "soak.json").write_text(json.dumps(document) + "\n")
    minutes = document["minutes"]
    title = f"autohep: {minutes:.0f} minutes of churn, {sum(soaked.churned.values())} changes and connections"
    (chosen.into / "soak.svg").write_text(svg(soaked.samples, title))
    for problem in soaked.problems:
        print(f"PROBLEM: {problem}", file=sys.stderr)
    print(f"{minutes:.1f} minutes, {soaked.churned}, {soaked.counted}")
    return 1 if soaked.problems else 0


if __name__ == "__main__":
    sys.exit(main())
