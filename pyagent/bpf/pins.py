"""Where things are pinned: one directory of a bpffs per instance and ABI version.

``<base>/<instance>/v<ABI>/{maps,programs,links}``. A new ABI gets a new directory, so two versions of the
agent never meet each other's layouts.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyagent.abi import ABI_VERSION, Direction
from pyagent.errors import KernelError

BPFFS: Final = Path("/sys/fs/bpf")
BASE: Final = BPFFS / "autohep"
DEFAULT_INSTANCE: Final = "node"

#: From here on, "versions" are those of other map sizes.
_ASIDE: Final = 1000
_VERSION = re.compile(r"v(\d+)")
_LINK = re.compile(r"(\d+)-(ingress|egress)")
_XDP = re.compile(r"(\d+)-xdp")
_QDISC = re.compile(r"(\d+)-qdisc")
_INSTANCE = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, order=True)
class LinkPin:
    """A pinned attachment: which interface and direction it is for, and where its pin lies."""

    ifindex: int
    direction: Direction
    path: Path


@dataclass(frozen=True, slots=True)
class Pins:
    """The pin directory of one instance; nothing is created until :meth:`create`.

    ``instance`` tells agents apart that share one bpffs (letters, digits, ``-``, ``_``: bpffs refuses dots).
    """

    instance: str = DEFAULT_INSTANCE
    base: Path = BASE
    abi: int = ABI_VERSION

    def __post_init__(self) -> None:
        if not _INSTANCE.fullmatch(self.instance):
            raise KernelError(
                f"instance {self.instance!r}", errno.EINVAL, "letters, digits, - and _, at most 64"
            )

    @property
    def root(self) -> Path:
        """Directory of this ABI version."""
        return self.base / self.instance / f"v{self.abi}"

    def map(self, name: str) -> Path:
        """Where map ``name`` is pinned."""
        return self.root / "maps" / name

    def program(self, name: str) -> Path:
        """Where program ``name`` is pinned."""
        return self.root / "programs" / name

    def link(self, ifindex: int, direction: Direction) -> Path:
        """Where the link of an interface and direction is pinned."""
        return self.root / "links" / f"{ifindex}-{direction.name.lower()}"

    def xdp(self, ifindex: int) -> Path:
        """Where the XDP link of an interface is pinned."""
        return self.root / "links" / f"{ifindex}-xdp"

    def qdisc(self, ifindex: int) -> Path:
        """Where it is marked that the clsact of an interface was made by us."""
        return self.root / "links" / f"{ifindex}-qdisc"

    def create(self) -> None:
        """Make the directories, readable by root only. Raises KernelError if they are not on a bpffs."""
        for directory in (self.base, self.base / self.instance, self.root):
            _mkdir(directory)
        for name in ("maps", "programs", "links"):
            _mkdir(self.root / name)
        if not is_bpffs(self.root):
            raise KernelError(f"pin below {self.root}", errno.EINVAL, "no bpffs is mounted there")

    def maps(self) -> list[str]:
        """Names of the pinned maps."""
        return _names(self.root / "maps")

    def programs(self) -> list[str]:
        """Names of the pinned programs."""
        return _names(self.root / "programs")

    def links(self) -> list[LinkPin]:
        """Pinned links in order of interface index; what has another kind of name is not ours."""
        found = []
        for name in _names(self.root / "links"):
            if match := _LINK.fullmatch(name):
                direction = Direction[match[2].upper()]
                found.append(LinkPin(int(match[1]), direction, self.root / "links" / name))
        return sorted(found)

    def xdp_links(self) -> list[int]:
        """Indices of the interfaces that have a pinned XDP link."""
        return self._indices(_XDP)

    def qdiscs(self) -> list[int]:
        """Indices of the interfaces whose clsact was made by us."""
        return self._indices(_QDISC)

    def _indices(self, pattern: re.Pattern[str]) -> list[int]:
        names = _names(self.root / "links")
        return sorted(int(match[1]) for name in names if (match := pattern.fullmatch(name)))

    def other_versions(self) -> list[Pins]:
        """Directories that other ABI versions of this instance left behind, oldest first."""
        versions = [
            int(match[1]) for name in _names(self.base / self.instance) if (match := _VERSION.fullmatch(name))
        ]
        return [
            Pins(self.instance, self.base, version) for version in sorted(versions) if version != self.abi
        ]

    def set_aside(self) -> None:
        """Make room for maps of other sizes: what is pinned becomes that of another version.

        Its programs go on until those of this version take over the links, as in an upgrade.
        """
        taken = {each.abi for each in self.other_versions()}
        number = next(number for number in itertools.count(_ASIDE) if number not in taken)
        try:
            self.root.rename(Pins(self.instance, self.base, number).root)
        except OSError as error:
            raise KernelError(f"set {self.root} aside", error.errno or errno.EIO) from error

    def remove(self) -> None:
        """Remove this version's pins and directories: links, then programs, then maps. Absent is fine."""
        for name in ("links", "programs", "maps"):
            directory = self.root / name
            for pin in _names(directory):
                (directory / pin).unlink(missing_ok=True)
            _rmdir(directory)
        for directory in (self.root, self.base / self.instance, self.base):
            _rmdir(directory)


def is_bpffs(path: Path) -> bool:
    """Tell whether ``path`` lies on a mounted bpffs."""
    best, kind = "", ""
    resolved = str(path.resolve())
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, after = line.split(" - ", 1)
        mount = before.split()[4].replace("\\040", " ")
        inside = resolved == mount or resolved.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):  # of mounts on one place the last one counts
            best, kind = mount, after.split()[0]
    return kind == "bpf"


def ensure_bpffs(path: Path = BPFFS) -> bool:
    """Mount a bpffs at ``path`` unless it is one; True if it was mounted now.

    Raises KernelError EPERM without root.
    """
    if is_bpffs(path):
        return False
    if os.geteuid() != 0:
        raise KernelError(f"mount bpffs at {path}", errno.EPERM, f"run as root: mount -t bpf bpf {path}")
    path.mkdir(parents=True, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", os.fsencode(path), b"bpf", ctypes.c_ulong(0), b"mode=0700") != 0:
        raise KernelError(f"mount bpffs at {path}", ctypes.get_errno())
    return True


def _mkdir(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        hint = "is a bpffs mounted at /sys/fs/bpf, and are we root?"
        raise KernelError(f"create {directory}", error.errno or errno.EIO, hint) from error


def _rmdir(directory: Path) -> None:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise KernelError(f"remove {directory}", error.errno or errno.EIO) from error


def _names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []
