"""Many reflectors of ours in one process: ``python -m benchmarks.scale.reflectors KUBECONFIG KIND COUNT``."""

from __future__ import annotations

import sys
import time

from pyagent.datastore.kubernetes.cache import Cache
from pyagent.datastore.kubernetes.connection import Connection
from pyagent.datastore.kubernetes.reflector import Reflector


def main() -> None:
    kubeconfig, kind, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    reflectors = [Reflector(Connection(kubeconfig), Cache(kind, lambda: None)) for _ in range(count)]
    for reflector in reflectors:
        reflector.start()
    while not all(reflector.connected for reflector in reflectors):
        time.sleep(0.05)
    print("ready", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
