"""Processes under measurement: what they have used of CPU and hold of memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
_TICKS = os.sysconf("SC_CLK_TCK")


class Measured:
    """A process whose costs are read from /proc."""

    def __init__(self, command: list[str], log: Path, **options: Any) -> None:
        with log.open("ab") as output:
            self.child = subprocess.Popen(command, cwd=PROJECT, stderr=output, **options)

    @property
    def cpu(self) -> float:
        """Seconds of CPU, user and system."""
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self, name: str = "VmRSS") -> float:
        """Megabytes resident; ``VmHWM``: at most so far."""
        for line in Path(f"/proc/{self.child.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return round(int(line.split()[1]) / 1024, 1)
        raise ProcessLookupError(self.child.pid)

    def end(self) -> None:
        """Ask it to end, and wait."""
        self.child.terminate()
        self.child.wait(20)


class Server(Measured):
    """The stand-in."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.scale.server", str(folder)]
        super().__init__(
            command, folder / "server.log", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.child.stdout is not None
        self.child.stdout.readline()

    def order(self, do: str, **what: Any) -> Any:
        """Have it do something; see benchmarks.scale.server."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(json.dumps({"do": do, **what}) + "\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())


def wait_until(holds: Any, patience: float) -> float:
    """Seconds until something holds; TimeoutError after ``patience``."""
    begun = time.monotonic()
    while not holds():
        if time.monotonic() - begun > patience:
            raise TimeoutError(f"not within {patience} s")
        time.sleep(0.002)
    return time.monotonic() - begun
