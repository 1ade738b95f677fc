"""What any process can say of itself, under the names that dashboards know."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import Final

from pyagent.telemetry.families import Family, Kind

_STARTED: Final = time.time()


def process_families() -> list[Family]:
    """CPU time, memory, descriptors and the start of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (names are enough)
    return [
        Family(
            "process_cpu_seconds_total", Kind.COUNTER, "CPU time of the process, its threads included."
        ).add(used.ru_utime + used.ru_stime),
        Family("process_resident_memory_bytes", Kind.GAUGE, "Memory in use, shared pages included.").add(
            pages * resource.getpagesize()
        ),
        Family("process_open_fds", Kind.GAUGE, "Open file descriptors.").add(descriptors),
        Family("process_start_time_seconds", Kind.GAUGE, "When the process started, since the epoch.").add(
            _STARTED
        ),
    ]
