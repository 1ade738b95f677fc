"""What a node needs for the firewall, checked one by one, each with what to do about it."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from pyagent.bpf import syscall
from pyagent.bpf.numbers import AttachType
from pyagent.bpf.pins import BPFFS, Pins, is_bpffs
from pyagent.errors import AutohepError, KernelError
from pyagent.inspection.held import Held
from pyagent.inspection.pinned import Pinned
from pyagent.inspection.standing import standing
from pyagent.inspection.tables import failsafes, maps

#: linux/capability.h: what an agent works with.
CAPABILITIES: Final = {"NET_ADMIN": 12, "PERFMON": 38, "BPF": 39}
_OLDEST: Final = (5, 10)
_PRESSURE: Final = 0.8
_ROOM: Final = 256 << 20
_UNSYNCHRONISED: Final = 5  # adjtimex(2): TIME_ERROR


class Result(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; ``fix``: what to do, where something is to be done."""

    check: str
    result: Result
    what: str
    fix: str = ""


def ok(check: str, what: str) -> Finding:
    """Nothing to do."""
    return Finding(check, Result.OK, what)


def warning(check: str, what: str, fix: str) -> Finding:
    """It works, but somebody should look."""
    return Finding(check, Result.WARNING, what, fix)


def problem(check: str, what: str, fix: str) -> Finding:
    """It does not work, or not as it should."""
    return Finding(check, Result.PROBLEM, what, fix)


def examine(pins: Pins, state_directory: Path) -> Iterator[Finding]:
    """Check this machine, then the firewall that is loaded on it. Changes nothing."""
    for check in (_privilege, _kernel, _btf, _jit, _tcx, _bpffs, _compiler, _clock):
        yield check()
    yield _disk(state_directory)
    yield from _firewall(pins, state_directory)


# ---- the machine ----


def _privilege() -> Finding:
    fields = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    held = int(fields["CapEff"], 16)
    lacking = [name for name, bit in CAPABILITIES.items() if not held >> bit & 1]
    if lacking:
        return problem("capabilities", f"lacks {', '.join(lacking)}", "run as root, or add the capabilities")
    return ok("capabilities", f"has {', '.join(CAPABILITIES)}")


def _kernel() -> Finding:
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    if numbers < _OLDEST:
        return problem("kernel", f"Linux {release}", "needs Linux 5.10 or newer; see docs/kernels.md")
    return ok("kernel", f"Linux {release}")


def _btf() -> Finding:
    if Path("/sys/kernel/btf/vmlinux").exists():
        return ok("kernel types", "BTF is there; kernel headers are not needed")
    return warning("kernel types", "no BTF", "nothing to do: only bpftool's output gets poorer")


def _jit() -> Finding:
    try:
        enabled = Path("/proc/sys/net/core/bpf_jit_enable").read_text(encoding="ascii").strip()
    except OSError:
        return ok("JIT", "always on in this kernel, or not to be seen from this network namespace")
    if enabled == "0":
        return warning("JIT", "programs are interpreted", "sysctl net.core.bpf_jit_enable=1")
    return ok("JIT", "programs are compiled")


def _tcx() -> Finding:
    try:
        syscall.prog_query(socket.if_nametoindex("lo"), AttachType.TCX_INGRESS)
    except KernelError as error:
        return ok("attachment", f"no tcx here: clsact is used instead ({error})")
    except OSError:
        return warning("attachment", "there is no loopback interface to ask about", "ip link set lo up")
    return ok("attachment", "tcx")


def _bpffs() -> Finding:
    if BPFFS.is_dir() and is_bpffs(BPFFS):
        return ok("bpffs", f"mounted at {BPFFS}")
    return problem("bpffs", f"no bpffs at {BPFFS}", f"mount -t bpf bpf {BPFFS}, and add it to /etc/fstab")


def _compiler() -> Finding:
    if find_spec("bcc") is None:
        fix = "apt install python3-bpfcc (the package bcc of PyPI is something else)"
        return problem("compiler", "bcc is not there: an agent cannot load the program", fix)
    return ok("compiler", "bcc is there")


def _clock() -> Finding:
    """Leases and certificates rest on it; the firewall's own timers do not."""
    buffer = ctypes.create_string_buffer(256)
    state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    if state == _UNSYNCHRONISED:
        return warning("clock", "not synchronised", "run chrony or systemd-timesyncd")
    return ok("clock", "synchronised") if state >= 0 else ok("clock", "not to be asked here")


def _disk(directory: Path) -> Finding:
    place = next(each for each in (directory, *directory.parents) if each.is_dir())
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        return problem(
            "disk", f"{place} cannot be written", "mount it writable: the last policy is kept there"
        )
    if free < _ROOM:
        fix = f"make room: an image takes up to {_ROOM >> 20} MiB"
        return warning("disk", f"{free >> 20} MiB free at {place}", fix)
    return ok("disk", f"{free >> 20} MiB free at {place}")


# ---- the firewall ----


def _firewall(pins: Pins, state_directory: Path) -> Iterator[Finding]:
    try:
        pinned = Pinned(pins)
    except AutohepError as error:
        yield problem("firewall", str(error), "start the agent")
        return
    for check, look in (
        ("agent", lambda: _standing(pins, state_directory)),
        ("image", lambda: _image(pins, state_directory)),
        ("maps", lambda: _maps(pinned)),
        ("failsafe ports", lambda: _failsafes(pinned)),
    ):
        yield from _looked(check, look)


def _looked(check: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A check that cannot be made is a finding too."""
    try:
        yield from look()
    except AutohepError as error:
        yield problem(check, str(error), "start the agent again: it makes what is missing or damaged")


def _standing(pins: Pins, state_directory: Path) -> Iterator[Finding]:
    found = standing(pins, state_directory)
    for each in found["problems"]:
        yield problem("agent", each, "see the agent's log, and hepctl node status")
    if not found["problems"]:
        yield ok("agent", f"version {found['version']}, generation {found['generationInKernel']} in force")
    for each in _overtaken(found):
        fix = "have that program attach after ours, or let it pass what policy is to judge"
        yield warning("other programs", each, fix)
    if found.get("drifts"):
        fix = "find out who changes maps or filters that are not theirs"
        yield warning("self-check", f"repaired {found['drifts']} times, last: {found['lastDrift']}", fix)


def _overtaken(found: dict[str, Any]) -> Iterator[str]:
    for each in found.get("interfaces", ()):
        if each["overtakenBy"]:
            others = ", ".join(each["overtakenBy"])
            yield f"{others} sees the packets of {each['name']} {each['direction']} before us"


def _image(pins: Pins, state_directory: Path) -> Iterator[Finding]:
    held = Held.live(pins, state_directory)  # compares the bytes with their hash
    if held.problem:
        yield warning("image", held.problem, "rules are shown as numbers until the agent saves again")
    else:
        yield ok("image", f"generation {held.generation} is whole, its names are known")


def _maps(pinned: Pinned) -> Iterator[Finding]:
    full = [each for each in maps(pinned) if (each["pressure"] or 0) >= _PRESSURE]
    for each in full:
        fix = f"raise {each['knob']}; see docs/tuning.md" if each["knob"] else "see docs/tuning.md"
        yield warning("maps", f"{each['name']} is {each['pressure']:.0%} full", fix)
    if not full:
        yield ok("maps", "all are there, none is nearly full")


def _failsafes(pinned: Pinned) -> Iterator[Finding]:
    found = failsafes(pinned)
    inbound = [each for each in found if (each["direction"], each["protocol"]) == ("ingress", "tcp")]
    if inbound:
        ports = ", ".join(str(each["port"]) for each in inbound[:8])
        yield ok("failsafe ports", f"inbound TCP {ports}")
    else:
        fix = "FelixConfiguration's failsafeInboundHostPorts: keep SSH and the API server's port"
        yield warning("failsafe ports", "no inbound TCP port stays open whatever policy says", fix)
