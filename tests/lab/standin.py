"""The repository's own API server as one of the lab's processes: ``python -m tests.lab.standin DIRECTORY``.

Writes DIRECTORY/kubeconfig and prints ``ready``; what it stores goes with it.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from tests.support.apiserver import ApiServer, Storage
from tests.support.apiserver.kinds import BUILT_IN

if __name__ == "__main__":
    # As empty as a real one: the definitions of our kinds are somebody else's to install.
    server = ApiServer(Storage(BUILT_IN))
    server.start()
    server.kubeconfig(Path(sys.argv[1]))
    print("ready", flush=True)
    threading.Event().wait()
