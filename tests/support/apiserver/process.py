"""A stand-in in a process of its own, as a test handles it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pyagent.model import KINDS
from tests.support.apiserver.server import ADMIN

PROJECT: Final = Path(__file__).parents[3]
#: Whose requests the faults hit.
AGENT: Final = "agent-token"


class Process:
    """An API server that can be killed and stopped; what it stores outlives it. ``prefix``: what runs it."""

    def __init__(self, folder: Path, address: str, port: int, prefix: Sequence[str] = ()) -> None:
        self._journal = folder / "journal"
        self._command = [
            *prefix,
            *(sys.executable, "-m", "tests.support.apiserver", str(self._journal)),
            *("--address", address, "--port", str(port), "--user", AGENT),
        ]
        self._child: subprocess.Popen[str] | None = None
        self._url = f"http://{address}:{port}"

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self._child = subprocess.Popen(
            self._command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._child.stdout is not None
        assert self._child.stdout.readline(), "it did not start"

    def kill(self) -> None:
        """As kill -9 does; nothing if it does not run."""
        child, self._child = self._child, None
        if child is None:
            return
        # nsenter becomes the process, so that this is the pid of the server itself.
        child.kill()
        child.communicate()

    def stop(self) -> None:
        """Freeze it: the kernel goes on accepting connections for it."""
        self._running().send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Thaw it."""
        self._running().send_signal(signal.SIGCONT)

    def ensure(self) -> None:
        """Have it run, whether it was killed or frozen or neither."""
        if self._child is None:
            self.start()
        else:
            self.go_on()

    def order(self, do: str, **what: Any) -> Any:
        """Have it do something; see __main__."""
        child = self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps({"do": do, **what}) + "\n")
        child.stdin.flush()
        answer = child.stdout.readline()
        assert answer, f"it ended over {do}"
        return json.loads(answer)

    def put(self, document: dict[str, Any]) -> str:
        """Create or change what a document says, as an administrator."""
        return str(self.order("put", path=path(document), body=document))

    def force(self, document: dict[str, Any]) -> str:
        """Give an object a spec that its definition would not allow."""
        return str(self.order("force", path=path(document), spec=document["spec"]))

    def delete(self, document: dict[str, Any]) -> str:
        """Delete what a document names."""
        return str(self.order("delete", path=path(document)))

    def get(self, document: dict[str, Any]) -> dict[str, Any] | None:
        """The object that a document names, or None."""
        found: dict[str, Any] | None = self.order("get", path=path(document))
        return found

    def kubeconfig(self, path: Path, token: str = ADMIN) -> Path:
        """Write a kubeconfig file for a user."""
        path.write_text(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\n"
            f"clusters: [{{name: it, cluster: {{server: '{self._url}'}}}}]\n"
            "contexts: [{name: it, context: {cluster: it, user: it}}]\n"
            f"users: [{{name: it, user: {{token: {token}}}}}]\n"
        )
        return path

    def _running(self) -> subprocess.Popen[str]:
        assert self._child is not None, "the stand-in does not run"
        return self._child


def path(document: dict[str, Any]) -> list[str]:
    """Where the object is that a document names."""
    metadata = document["metadata"]
    plural = KINDS[document["kind"]].PLURAL
    return [document["apiVersion"], plural, metadata.get("namespace", ""), metadata["name"]]
