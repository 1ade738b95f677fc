"""What comes and goes during a soak; each kind in a thread of its own, counted."""

from __future__ import annotations

import random
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pyagent import manifest
from pyagent.datastore import Datastore
from pyagent.errors import AutohepError
from pyagent.model import Resource
from tests.lab.namespace import open_socket
from tests.netns.two_hosts import NODE_ADDRESS
from tests.resilience.site import policy, resource

#: TCP port that is opened and closed all the time.
BRIEF: Final = 5404
#: How many of each there are at most.
_POLICIES, _NODES, _INTERFACES = 10, 20, 10


class Churn:
    """Runs while the block does; ``done`` counts what came and went, ``failed`` names what went wrong."""

    def __init__(self, datastore: Datastore, peer: Path, per_second: float = 1.0) -> None:
        self._datastore = datastore
        self._peer = peer
        self._stop = threading.Event()
        self.done: Counter[str] = Counter()
        self.failed: list[str] = []
        self._random = random.Random(6)
        self._there: set[str] = set()
        self._threads = [
            threading.Thread(target=self._repeat, args=(work, seconds / per_second))
            for work, seconds in (
                (self._policies, 2),
                (self._nodes, 3),
                (self._interfaces, 1),
                (self._flows, 0.1),
            )
        ]

    def __enter__(self) -> Self:
        self._listener = socket.create_server((NODE_ADDRESS, BRIEF), backlog=64)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()
        self._remove_all()

    def _repeat(self, work: Callable[[], None], seconds: float) -> None:
        while not self._stop.wait(seconds):
            try:
                work()
            except (OSError, AutohepError, subprocess.CalledProcessError) as error:
                self.failed.append(f"{work.__name__}: {error}")

    def _toggle(self, made: Resource) -> None:
        """Remove it if it is there, else make it."""
        place = f"{made.kind}/{made.name}"
        if place in self._there:
            self._datastore.delete(made.kind, made.name)
            self._there.discard(place)
        else:
            self._datastore.create(made)
            self._there.add(place)
        self.done[made.kind] += 1

    def _policies(self) -> None:
        """The main policy in another size; another policy or set comes or goes."""
        self._datastore.update(policy(self._random.randrange(60), *allow_brief()))
        number = self._random.randrange(_POLICIES)
        kind = self._random.choice(("GlobalNetworkPolicy", "StagedGlobalNetworkPolicy"))
        rule = {"action": "Allow", "source": {"selector": f"set == 'set{number}'"}}
        self._toggle(
            resource(kind, f"policy{number}", {"order": number, "selector": "all()", "ingress": [rule]})
        )
        nets = [
            f"10.{number}.{self._random.randrange(256)}.0/24" for _ in range(self._random.randrange(1, 50))
        ]
        found = manifest.encode(resource("GlobalNetworkSet", f"set{number}", {"nets": nets}))
        found["metadata"]["labels"] = {"set": f"set{number}"}
        self._toggle(manifest.decode(found))

    def _nodes(self) -> None:
        """A node of the cluster comes or goes; the controller makes and removes its endpoint."""
        number = self._random.randrange(_NODES)
        self._toggle(_node(number))

    def _interfaces(self) -> None:
        """A pair of interfaces, with an address of this host, comes or goes."""
        name = f"soak{self._random.randrange(_INTERFACES)}"
        if name in self._there:
            _ip("link", "delete", name)
            self._there.discard(name)
        else:
            _ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p")
            self._there.add(name)
            _ip("address", "add", f"10.99.{name[4:]}.1/24", "dev", name)
            for end in (name, f"{name}p"):
                _ip("link", "set", end, "up")
        self.done["Interface"] += 2

    def _flows(self) -> None:
        """A connection that policy allows: opened, used and closed."""
        with open_socket(self._peer, socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(5)
            client.connect((NODE_ADDRESS, BRIEF))
            with self._listener.accept()[0] as server:
                client.sendall(b"x")
                server.recv(1)
        self.done["Connection"] += 1

    def _remove_all(self) -> None:
        """Leave what was there before."""
        for place in sorted(self._there):
            kind, _, name = place.partition("/")
            if name:
                self._datastore.delete(kind, name)
            else:
                _ip("link", "delete", place)


def allow_brief() -> list[dict[str, Any]]:
    """The rules that the connections which come and go need."""
    return [
        {"action": "Allow", "protocol": "TCP", "destination": {"ports": [BRIEF]}},
        {"action": "Allow", "protocol": "TCP", "source": {"ports": [BRIEF]}},
    ]


def _node(number: int) -> Resource:
    return manifest.decode(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": f"node{number}", "labels": {"rack": str(number % 4)}},
            "status": {"addresses": [{"type": "InternalIP", "address": f"10.98.0.{number + 1}"}]},
        }
    )


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
