"""The lab's long-running processes: started apart from this one, remembered by pid, ended by pid."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

GRACE = 5.0  # seconds between asking a process to end and ending it


class Processes:
    """Processes by name. Their pids and logs lie in a directory, so that another process can end them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, argv: list[str], environment: Mapping[str, str] | None = None) -> None:
        """Start ``argv`` under ``name``; what it prints is appended to its log."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.log_file(name).open("ab") as log:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
                start_new_session=True,
            )
        self._children[name] = child
        self._pid_file(name).write_text(f"{child.pid} {started_at(child.pid)}\n")

    def pid(self, name: str) -> int | None:
        """The pid of a running process; None if it has ended (or the number has gone to somebody else)."""
        child = self._children.get(name)
        if child is not None and child.poll() is not None:
            return None
        try:
            pid, started = self._pid_file(name).read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if started_at(int(pid)) == started else None

    def names(self) -> list[str]:
        """Every process ever started here, the youngest first."""
        files = self.directory.glob("*.pid") if self.directory.is_dir() else ()
        return [file.stem for file in sorted(files, key=lambda file: file.stat().st_mtime_ns, reverse=True)]

    def stop(self, name: str) -> None:
        """Ask it to end; end it if it does not."""
        pid = self.pid(name)
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        if not self._gone(name, GRACE):
            self.kill(name)

    def kill(self, name: str) -> None:
        """End it at once, as a crash would."""
        pid = self.pid(name)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self._gone(name, GRACE)

    def stop_all(self) -> None:
        """End everything."""
        for name in self.names():
            self.stop(name)
        for child in self._children.values():
            child.poll()  # those that somebody else has ended
        self._children.clear()

    def log_file(self, name: str) -> Path:
        """What a process printed."""
        return self.directory / f"{name}.log"

    def log(self, name: str, lines: int = 20) -> str:
        """The end of what a process printed."""
        try:
            return "\n".join(self.log_file(name).read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def _gone(self, name: str, patience: float) -> bool:
        deadline = time.monotonic() + patience
        while self.pid(name) is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        child = self._children.pop(name, None)
        if child is not None:
            child.wait()  # it has ended; now it is also forgotten
        return True

    def _pid_file(self, name: str) -> Path:
        return self.directory / f"{name}.pid"


def started_at(pid: int) -> str:
    """When a process started, in the kernel's ticks: with the pid it names one process for good. "": none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    state, start = fields[0], fields[19]
    return "" if state == "Z" else start
