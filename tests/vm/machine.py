"""One virtual machine: the host's files below a layer in memory, a kernel of its own, and a job."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.vm import initramfs
from tests.vm.packages import Kernel

PROJECT: Final = Path(__file__).parent.parent.parent
VIRTIOFSD: Final = Path("/usr/lib/qemu/virtiofsd")
MEMORY: Final = "3G"
CPUS: Final = "2"
#: The checkout may be another user's.
_SAFE: Final = ("-c", f"safe.directory={PROJECT}")


class MachineError(Exception):
    """The machine did not do its job to the end; carries the end of its console."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a job. Times in seconds: ``boot`` and ``job`` by the guest's clock, ``wall`` by ours."""

    status: int
    boot: float
    job: float
    wall: float
    results: bytes


def snapshot(folder: Path, *, committed: bool = False) -> Path:
    """A copy of the checkout's files, or of what is committed: nobody changes it under the tests."""
    place = folder / "checkout"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    if committed:
        _pipe(["git", *_SAFE, "archive", "HEAD"], ["tar", "-x", "-C", str(place)])
    else:
        listed = [
            "git",
            *_SAFE,
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            "--deduplicate",
        ]
        names = subprocess.run(listed, cwd=PROJECT, capture_output=True, check=True).stdout.decode()
        for name in filter(None, names.split("\0")):
            if (PROJECT / name).is_symlink() or (PROJECT / name).exists():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(PROJECT / name, place / name, follow_symlinks=False)
    for known in PROJECT.glob("*.egg-info"):  # the commands of .venv find the checkout by it
        shutil.copytree(known, place / known.name)
    (place / ".venv").mkdir()
    return place


def _pipe(first: list[str], second: list[str]) -> None:
    packed = subprocess.run(first, cwd=PROJECT, capture_output=True, check=True)
    subprocess.run(second, input=packed.stdout, check=True)


@contextmanager
def _shared_root(folder: Path) -> Iterator[Path]:
    """The machine's root file system, without what is mounted below it, at a socket for QEMU."""
    socket = folder / "fs.sock"
    bound = folder / "root"
    bound.mkdir()
    root, at = shlex.quote(str(bound)), shlex.quote(str(socket))
    share = (
        f"mount --bind / {root} && exec {VIRTIOFSD} --socket-path={at} -o source={root}"
        " -o cache=always -o sandbox=chroot -o no_posix_lock"
    )
    with (folder / "virtiofsd.log").open("wb") as log:
        serving = subprocess.Popen(
            ["unshare", "--mount", *_propagation(), "sh", "-c", share],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while not socket.exists():
            if serving.poll() is not None or time.monotonic() > deadline:
                raise MachineError((folder / "virtiofsd.log").read_text())
            time.sleep(0.05)
        yield socket
    finally:
        serving.terminate()
        serving.wait()


def _propagation() -> list[str]:
    """In a chroot / is no mount point, and the mounts that unshare would make private are not to be seen."""
    return [] if os.path.ismount("/") else ["--propagation", "unchanged"]


def run(
    kernel: Kernel, job: str, folder: Path, *, seconds: float, say: bool = True, committed: bool = False
) -> Run:
    """Boot a kernel, run the shell script ``job`` in the checkout, and say what came of it.

    The console goes to ``folder``/console, and to standard output with ``say``. MachineError if the machine
    did not end its job within ``seconds``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "CHECKOUT": PROJECT,
        "SNAPSHOT": snapshot(folder, committed=committed),
        "MODULES": kernel.modules,
    }
    files = {
        "guest.sh": (Path(__file__).with_name("guest.sh")).read_text(),
        "settings": "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in settings.items()),
        "job": job,
    }
    ramdisk = initramfs.build(kernel, folder / "initramfs", files)
    console, results = folder / "console", folder / "results"
    console.unlink(missing_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="autohep-vm-") as scratch, _shared_root(Path(scratch)) as socket:
        command = _qemu(kernel, ramdisk, socket, console, results)
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as machine:
            try:
                _follow(machine, console, started + seconds, say=say)
            finally:
                machine.kill()
    return _report(console.read_text(errors="replace"), results, time.monotonic() - started)


def _qemu(kernel: Kernel, ramdisk: Path, socket: Path, console: Path, results: Path) -> list[str]:
    return [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", CPUS, "-m", MEMORY,
        "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-kernel", str(kernel.image), "-initrd", str(ramdisk),
        "-append", "console=ttyS0 panic=-1 quiet loglevel=4 mitigations=off random.trust_cpu=on",
        "-object", f"memory-backend-memfd,id=memory,size={MEMORY},share=on", "-numa", "node,memdev=memory",
        "-chardev", f"socket,id=files,path={socket}",
        "-device", "vhost-user-fs-pci,chardev=files,tag=rootfs",
        "-device", "virtio-rng-pci",
        "-chardev", f"file,id=console,path={console}", "-serial", "chardev:console",
        "-chardev", f"file,id=results,path={results}", "-serial", "chardev:results",
    ]  # fmt: skip


def _follow(machine: subprocess.Popen[bytes], console: Path, deadline: float, *, say: bool) -> None:
    """Wait until the machine is off, repeating what it says."""
    said = 0
    ended = False
    while not ended:
        try:
            machine.wait(0.2)
            ended = True
        except subprocess.TimeoutExpired:
            ended = time.monotonic() > deadline
        text = console.read_bytes()[said:] if console.exists() else b""
        said += len(text)
        if say and text:
            os.write(1, text.replace(b"\r\n", b"\n"))


def _report(console: str, results: Path, wall: float) -> Run:
    up = re.search(r"^@@UP ([\d.]+)", console, re.MULTILINE)
    done = re.search(r"^@@RC (\d+) ([\d.]+)", console, re.MULTILINE)
    if up is None or done is None:
        raise MachineError("\n".join(console.splitlines()[-40:]))
    boot, ended = float(up[1]), float(done[2])
    return Run(int(done[1]), boot, ended - boot, wall, results.read_bytes())
