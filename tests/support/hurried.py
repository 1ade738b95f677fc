"""hepctl in a hurry: ``python -m tests.support.hurried FACTOR ARGUMENT...``.

Every pause between attempts at the API server is divided by FACTOR, so that seconds of an outage are to the
back-off what an hour is.

Time-outs of connections and answers stay as they are: those depend on the machine and not on the outage.
"""

from __future__ import annotations

import sys

from pyagent.cli.main import main
from pyagent.datastore.kubernetes import connection
from pyagent.datastore.kubernetes.pace import Pace

if __name__ == "__main__":
    factor = float(sys.argv[1])
    usual = Pace()
    hurried = Pace(
        first_pause=usual.first_pause / factor,
        longest_pause=usual.longest_pause / factor,
        healthy=usual.healthy / factor,
    )
    connection.Pace = lambda: hurried  # type: ignore[misc, assignment]
    sys.argv = ["hepctl", *sys.argv[2:]]
    main()
