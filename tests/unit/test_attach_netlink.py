"""pyroute2 is loaded in part, and whole for who asks."""

from __future__ import annotations

import json
import subprocess
import sys

CODE = """
import json, sys
from pyagent.attach import clsact, links, xdp
before = [name in sys.modules for name in ("pyroute2.iproute", "pyroute2.ndb", "sqlite3")]
from pyroute2 import NDB, netns
after = ["pyroute2.ndb" in sys.modules, NDB.__module__, netns.__name__]
print(json.dumps([before, after, links.IPRoute is __import__("pyroute2").IPRoute]))
"""


def test_an_agent_does_not_load_all_of_pyroute2_and_its_names_are_there_all_the_same() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    before, after, same = json.loads(done.stdout)
    assert before == [True, False, False]
    assert after == [True, "pyroute2.ndb.main", "pyroute2.netns"]
    assert same
