"""The tests on Debian's kernels: ``python -m tests.vm 6.1`` (``make test-vm KERNEL=6.1``).

Exit status 0: all passed. 1: some did not, or the machine did not come to the end. 77: no mirror has it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import asdict, dataclass, field
from typing import Final

from tests.vm.machine import PROJECT, VIRTIOFSD, MachineError, Run, run
from tests.vm.packages import KERNELS, Absent, Kernel, kernel

FOLDER: Final = PROJECT / "build" / "vm"
ABSENT: Final = 77
PACKAGES: Final = (
    "qemu-system-x86", "qemu-system-common", "seabios", "ipxe-qemu", "cpio", "busybox-static", "kmod", "zstd",
)  # fmt: skip
#: What is run. "smoke": the programs load, judge, and stay attached; "tiers": both tiers that need a kernel.
SELECTIONS: Final = {
    "smoke": (
        "tests/dataplane/test_program_policy.py",
        "tests/dataplane/test_program_state.py",
        "tests/netns/test_attach.py",
    ),
    "kinds": ("tests/netns/test_interface_kinds.py",),
    "dataplane": ("tests/dataplane",),
    "netns": ("tests/netns",),
    "tiers": ("tests/dataplane", "tests/netns"),
}
#: Everything is some ten times slower under emulation; a test that hangs still names itself.
JOB: Final = """\
export AUTOHEP_VM=1 AUTOHEP_OBJECT_CACHE=/tmp/objects
mkdir /tmp/objects
exec timeout {seconds} .venv/bin/python -m pytest -q --color=no -p no:cacheprovider --timeout 600 \\
	--junitxml=/run/vm/results {what}
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the tests on a kernel; times in seconds by the guest's clock, ``wall`` by the host's."""

    kernel: str
    release: str
    package: str
    selection: str
    boot: float
    tests: float
    wall: float
    passed: int
    failed: list[str] = field(default_factory=list)
    not_applicable: list[str] = field(default_factory=list)

    def table(self) -> str:
        """A few lines for whoever waits."""
        lines = [
            f"kernel     {self.release} ({self.package})",
            f"selection  {self.selection}",
            f"boot       {self.boot:.1f} s, tests {self.tests:.0f} s, in all {self.wall:.0f} s",
            f"passed     {self.passed}",
            f"failed     {len(self.failed)}",
            *(f"             {one}" for one in self.failed),
            f"left out   {len(self.not_applicable)}",
            *(f"             {one}" for one in self.not_applicable),
        ]
        return "\n".join(lines)


def outcome(of: Kernel, selection: str, ran: Run) -> Outcome:
    """Read the results that the guest sent."""
    failed: list[str] = []
    left_out: list[str] = []
    passed = 0
    for case in ET.fromstring(ran.results.decode()).iter("testcase"):
        name = f"{case.get('classname', '').replace('.', '/')}::{case.get('name')}"
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(name)
        elif skipped is not None:
            left_out.append(f"{name}: {skipped.get('message')}")
        else:
            passed += 1
    return Outcome(
        of.name, of.release, of.package, selection, ran.boot, ran.job, ran.wall, passed, failed, left_out
    )


def install() -> None:
    """The packages that a machine needs, if they are not there."""
    needed = ("qemu-system-x86_64", "cpio", "busybox", "depmod", "zstd")
    if VIRTIOFSD.exists() and all(shutil.which(command) for command in needed):
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "-qq", "update"], env=environment, check=True, stdin=subprocess.DEVNULL)
    subprocess.run(
        ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *PACKAGES],
        env=environment, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def test(name: str, selection: str, seconds: float, arguments: list[str], *, committed: bool) -> int:
    """Run a selection on the kernel of a name; the exit status."""
    try:
        found = kernel(name, FOLDER)
    except Absent as absent:
        print(f"SKIPPED  kernel {name}: {absent}")
        return ABSENT
    what = shlex.join([*(arguments or SELECTIONS[selection])])
    job = JOB.format(seconds=int(seconds), what=what)
    try:
        ran = run(found, job, FOLDER / f"run-{name}", seconds=seconds + 120, committed=committed)
        result = outcome(found, shlex.join(arguments) or selection, ran)
    except (MachineError, ET.ParseError) as error:
        print(f"FAILED  kernel {name}: the machine did not come to the end of the tests\n{error}")
        return 1
    (FOLDER / f"{name}-{selection}.json").write_text(json.dumps(asdict(result), indent=1))
    print(f"\n{result.table()}")
    return 0 if ran.status == 0 and not result.failed and result.passed else 1


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    parser.add_argument("kernel", choices=list(KERNELS))
    parser.add_argument("tests", nargs="*", help="what pytest is told, in place of a selection")
    parser.add_argument("--select", choices=list(SELECTIONS), default="tiers")
    parser.add_argument(
        "--seconds", type=float, default=3600, help="for the tests at most (default: an hour)"
    )
    parser.add_argument(
        "--committed", action="store_true", help="test what is committed, not what lies there"
    )
    asked = parser.parse_intermixed_args()
    if os.geteuid() != 0:
        parser.error("needs root: it shares this machine's files with another")
    install()
    return test(asked.kernel, asked.select, asked.seconds, asked.tests, committed=asked.committed)


if __name__ == "__main__":
    sys.exit(main())
