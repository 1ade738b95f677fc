"""What a kernel starts with: busybox, the few modules that reach the machine's files, and an init."""

from __future__ import annotations

import lzma
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.vm.packages import Kernel

#: To reach the host's files, to write above them, and for the guest to have random numbers at once.
MODULES: Final = ("virtio_pci", "virtiofs", "overlay", "virtio_rng")
BUSYBOX: Final = Path("/bin/busybox")
INIT: Final = Path(__file__).with_name("init.sh")


def build(kernel: Kernel, out: Path, files: dict[str, str]) -> Path:
    """Write the initramfs of a kernel to ``out``, with ``files`` (name to text) in its folder /vm."""
    tree = out.with_suffix(".tree")
    shutil.rmtree(tree, ignore_errors=True)
    for folder in ("bin", "dev", "proc", "sys", "modules", "vm", "lower", "upper", "root"):
        (tree / folder).mkdir(parents=True)
    shutil.copy(BUSYBOX, tree / "bin/busybox")
    shutil.copy(INIT, tree / "init")
    (tree / "init").chmod(0o755)
    order = []
    for number, module in enumerate(_modules(kernel)):
        name = f"{number:02}.ko"
        (tree / "modules" / name).write_bytes(_plain(module))
        order.append(name)
    for name, text in files.items():
        (tree / "vm" / name).write_text(text)
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    packed = subprocess.run(
        ["cpio", "--quiet", "--create", "--format=newc"], input=names.encode(), cwd=tree, capture_output=True,
        check=True,
    )  # fmt: skip
    out.write_bytes(packed.stdout)
    shutil.rmtree(tree)
    return out


def _modules(kernel: Kernel) -> list[Path]:
    """The modules' files in the order in which they load, each after what it depends on."""
    found: list[Path] = []
    base = ["modprobe", "--dirname", str(kernel.modules.parent.parent), "--set-version", kernel.release]
    for module in MODULES:
        done = subprocess.run(
            [*base, "--show-depends", module], capture_output=True, text=True, check=False,
            env={**os.environ, "MODPROBE_OPTIONS": ""},
        )  # fmt: skip
        for line in done.stdout.splitlines():
            kind, _, path = line.partition(" ")
            if kind == "insmod" and Path(path.strip()) not in found:
                found.append(Path(path.strip()))
    return found


def _plain(module: Path) -> bytes:
    """A module's bytes, unpacked: busybox's insmod does not do it on every kernel."""
    if module.suffix == ".xz":
        return lzma.decompress(module.read_bytes())
    if module.suffix == ".zst":
        return subprocess.run(["zstd", "-dcq", str(module)], capture_output=True, check=True).stdout
    return module.read_bytes()
