"""The stand-in as a process of its own, to be killed and stopped like one.

It obeys lines of JSON on standard input and answers each with one on standard output; the first line it says
is its port.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tests.support.apiserver.faults import Request
from tests.support.apiserver.journal import JournaledStorage
from tests.support.apiserver.server import ApiServer
from tests.support.apiserver.storage import Storage

#: What a test may leave behind.
_CLEARED = (
    ("v1", "nodes"),
    *(
        ("projectcalico.org/v3", plural)
        for plural in ("globalnetworkpolicies", "hostendpoints", "globalnetworksets")
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("journal", type=Path)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--user", action="append", default=[], help="a token besides the administrator's")
    options = parser.parse_args()
    server = ApiServer(JournaledStorage(options.journal), address=options.address)
    server.port = options.port
    server.users |= dict.fromkeys(options.user)
    server.bookmark = 0.5
    server.start()
    _say(server.port)
    for line in sys.stdin:
        order = json.loads(line)
        _say(_ORDERS[order.pop("do")](server, **order))


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _put(server: ApiServer, path: list[str], body: dict[str, Any]) -> str:
    """Create an object, or replace the fields given; what it says of schemas counts. Returns its version."""
    storage, kind, namespace, name = _place(server, path)
    if (namespace, name) in storage.shelf(kind).objects:
        stored = storage.patch(kind, namespace, name, body)
    else:
        stored = storage.create(kind, namespace, body)
    if kind.keeps_status and "status" in body:
        stored = storage.patch(kind, namespace, name, {"status": body["status"]}, status=True)
    return str(stored["metadata"]["resourceVersion"])


def _force(server: ApiServer, path: list[str], spec: dict[str, Any]) -> str:
    """Store a spec that no schema was asked about, as a newer release's definitions would allow."""
    storage, kind, namespace, name = _place(server, path)
    with storage.changed:
        before = storage.get(kind, namespace, name)
        metadata = {**before["metadata"], "generation": before["metadata"]["generation"] + 1}
        stored = storage._store(kind, "MODIFIED", {**before, "metadata": metadata, "spec": spec})
    return str(stored["metadata"]["resourceVersion"])


def _delete(server: ApiServer, path: list[str]) -> str:
    storage, kind, namespace, name = _place(server, path)
    return str(storage.delete(kind, namespace, name, {})["metadata"]["resourceVersion"])


def _only(server: ApiServer, paths: list[list[str]]) -> int:
    """Delete all objects of these tests' kinds but those; how many there were."""
    kept = {tuple(path) for path in paths}
    found = [
        [api_version, plural, namespace, name]
        for api_version, plural in _CLEARED
        for namespace, name in server.storage.shelf(server.storage.kind(api_version, plural)).objects
        if (api_version, plural, namespace, name) not in kept
    ]
    for each in found:
        _delete(server, each)
    return len(found)


def _get(server: ApiServer, path: list[str]) -> Any:
    """The object, or nothing."""
    storage, kind, namespace, name = _place(server, path)
    return storage.shelf(kind).objects.get((namespace, name))


def _fault(server: ApiServer, user: str, body: str = "", **what: Any) -> None:
    """Answer a user's requests wrongly, and break the connections there are."""

    def is_theirs(request: Request) -> bool:
        return request.user == user

    server.faults.add(when=is_theirs, body=body.encode(), **what)
    server.cut_connections()


def _tell(server: ApiServer, line: str) -> int:
    return server.tell_watches(line.encode(), close=True)


def _clear(server: ApiServer) -> None:
    server.faults.clear()


def _count(server: ApiServer, user: str) -> int:
    return sum(asked.user == user for asked in server.faults.requests)


def _place(server: ApiServer, path: list[str]) -> tuple[Storage, Any, str, str]:
    api_version, plural, namespace, name = path
    return server.storage, server.storage.kind(api_version, plural), namespace, name


_ORDERS = {
    "put": _put,
    "force": _force,
    "delete": _delete,
    "only": _only,
    "get": _get,
    "fault": _fault,
    "clear": _clear,
    "tell": _tell,
    "count": _count,
}

if __name__ == "__main__":
    main()
