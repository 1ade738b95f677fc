"""Debian's kernels from packages, by an apt configuration of our own: the machine's stays as it is.

Only where the packages come from is taken from the machine: its mirrors, from whatever its own configuration
says. Names of kernel packages change with every security update, so that they are asked for, never written
down. Everything lies below one folder, and what was unpacked once is used again.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: The package that depends on the current kernel of a suite: Debian's smaller flavour for virtual machines.
META: Final = "linux-image-cloud-amd64"
#: Parts of a kernel; newer ones are cut into several packages.
_PARTS: Final = re.compile(r"linux-(image|binary|modules|base)-\d[^ ,]*")

CONFIGURATION: Final = """\
Dir::Etc::SourceList "{root}/sources.list";
Dir::Etc::SourceParts "{root}/none";
Dir::Etc::Preferences "{root}/none";
Dir::Etc::PreferencesParts "{root}/none";
Dir::State "{root}/state";
Dir::State::Lists "{root}/state/lists";
Dir::State::Status "{root}/status";
Dir::Cache "{root}/cache";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
"""


class Absent(Exception):  # noqa: N818 - not an error of ours: the package archive has it no more
    """A kernel that this machine's mirrors do not have; says what was looked for."""


@dataclass(frozen=True, slots=True)
class Suites:
    """Where a kernel is looked for; the highest version of all its suites is taken."""

    kernel: str
    suites: tuple[str, ...]


KERNELS: Final = {
    one.kernel: one
    for one in (
        Suites("5.10", ("bullseye-security",)),
        Suites("6.1", ("bookworm", "bookworm-security")),
        Suites("6.12", ("trixie", "trixie-security")),
        Suites("newest", ("trixie-backports", "sid")),
    )
}


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked kernel. ``modules``: the folder that belongs at /lib/modules."""

    name: str
    release: str
    package: str
    image: Path
    modules: Path


def kernel(name: str, folder: Path) -> Kernel:
    """The kernel of a name, downloaded and unpacked below ``folder``; Absent if no mirror has it."""
    wanted = KERNELS[name]
    apt = _Apt(folder / "apt" / name)
    apt.update(wanted.suites)
    version = apt.newest(META)
    if version is None:
        raise Absent(f"no mirror of this machine has {META} in {' or '.join(wanted.suites)}")
    packages = apt.parts(META, version)
    image = next((one for one in packages if one.startswith("linux-image-")), None)
    if image is None:
        raise Absent(f"{META} {version} depends on no kernel")
    place = folder / "kernels" / image
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        apt.unpack(packages, place)
        (place / "complete").touch()
    return _found(name, image, place)


def _found(name: str, package: str, place: Path) -> Kernel:
    """What lies in an unpacked kernel; its index of modules is made if need be."""
    modules = next(path for path in (place / "usr/lib/modules", place / "lib/modules") if path.is_dir())
    release = next(path.name for path in sorted(modules.iterdir()) if (path / "kernel").is_dir())
    images = (place / f"boot/vmlinuz-{release}", modules / release / "vmlinuz")
    if not (modules / release / "modules.dep").exists():
        above = modules.parent.parent  # depmod wants the folder that has lib/modules
        subprocess.run(["depmod", "-b", str(above), release], check=True)
    return Kernel(name, release, package, next(one for one in images if one.exists()), modules)


@functools.cache
def mirrors() -> dict[bool, str]:
    """The addresses of this machine's Debian archives: the security archive (True) and the other (False)."""
    listed = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"]
    lines = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines()
    found: dict[bool, str] = {}
    for line in lines:
        address, release = line.split()
        if re.fullmatch(r"(bullseye|bookworm|trixie|forky|stable|sid)(-\w+)?", release):
            found.setdefault(release.endswith("-security"), address)
    return found


class _Apt:
    """apt with sources, lists and cache of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def update(self, suites: tuple[str, ...]) -> None:
        """Fetch the lists of some suites; Absent if the machine has no mirror for any of them."""
        root, known = self.root, mirrors()
        for folder in ("none", "state/lists/partial", "cache/archives/partial"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "status").touch()
        options = f"[arch=amd64 signed-by={KEYRING}]" if KEYRING.exists() else "[arch=amd64]"
        lines = [
            f"deb {options} {known[suite.endswith('-security')]} {suite} main"
            for suite in suites
            if suite.endswith("-security") in known
        ]
        if not lines:
            raise Absent(f"the machine's apt configuration names no mirror for {' or '.join(suites)}")
        (root / "sources.list").write_text("\n".join(lines) + "\n")
        (root / "apt.conf").write_text(CONFIGURATION.format(root=root))
        # A suite that left its mirror is a warning and no failure; then there is no version of the package.
        self._run("apt-get", "-qq", "update", check=False)

    def newest(self, package: str) -> str | None:
        """The highest version of a package."""
        rows = self._run("apt-cache", "madison", package).splitlines()
        return max((row.split("|")[1].strip() for row in rows), key=_version_key, default=None)

    def parts(self, meta: str, version: str) -> list[str]:
        """The packages that make up a kernel, from its meta package down."""
        found: list[str] = []
        asked = [f"{meta}={version}"]
        while asked:
            shown = self._run("apt-cache", "show", "--no-all-versions", asked.pop())
            depends = next((line for line in shown.splitlines() if line.startswith("Depends:")), "")
            for match in _PARTS.finditer(depends):
                if match[0] not in found:
                    found.append(match[0])
                    asked.append(match[0])
        return found

    def unpack(self, packages: list[str], place: Path) -> None:
        """Download packages and unpack them into ``place``, without installing them."""
        downloads = place / "debs"
        downloads.mkdir(parents=True)
        self._run("apt-get", "-qq", "download", *packages, cwd=downloads)
        for deb in sorted(downloads.glob("*.deb")):
            subprocess.run(["dpkg", "-x", str(deb), str(place)], check=True)
        shutil.rmtree(downloads)

    def _run(self, *command: str, check: bool = True, cwd: Path | None = None) -> str:
        environment = {**os.environ, "APT_CONFIG": str(self.root / "apt.conf"), "LC_ALL": "C"}
        done = subprocess.run(
            command, env=environment, cwd=cwd, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if check and done.returncode:
            raise Absent(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout


def _version(one: str, other: str) -> int:
    lower = subprocess.run(["dpkg", "--compare-versions", one, "lt", other], check=False).returncode == 0
    return -1 if lower else 1


_version_key = functools.cmp_to_key(_version)
