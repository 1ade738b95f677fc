"""Says what this machine lacks for the lab, the demo and the tests that need root; mounts bpffs if need be.

Prints nothing and exits 0 when all is well; otherwise one line for each thing that is missing, and exits 1.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

BPFFS = Path("/sys/fs/bpf")
BPFFS_MAGIC = 0xCAFE4A11
BPF_MAP_CREATE = 0
BPF_PROG_LOAD = 5
BPF_MAP_TYPE_ARRAY = 2
BPF_F_MMAPABLE = 1 << 10
BPF_PROG_TYPE_SCHED_CLS = 3
# asm/unistd.h of the architectures that bcc supports on Debian.
BPF_SYSCALLS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
COMMANDS = ("ip", "nft", "nsenter", "curl", "ping", "clang", "bpftool")

MASQUERADE = """
add table inet t
add chain inet t c { type nat hook postrouting priority 100; }
add rule inet t c masquerade
"""

libc = ctypes.CDLL(None, use_errno=True)


def missing() -> Iterator[str]:
    """One sentence for each thing that is not as it must be."""
    if os.geteuid() != 0:
        yield "not root: network namespaces and BPF programs need it; run the same command with sudo"
        return
    for command in COMMANDS:
        if shutil.which(command) is None:
            yield f"command {command} not found; run: make setup"
    yield from bpf_lacks()
    yield from bpffs_lacks()
    yield from network_lacks()


def bpf(command: int, attributes: bytes) -> int:
    """The bpf(2) system call: a file descriptor, or OSError."""
    buffer = ctypes.create_string_buffer(attributes, 128)
    result = int(libc.syscall(BPF_SYSCALLS[platform.machine()], command, buffer, len(buffer)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def bpf_lacks() -> Iterator[str]:
    """Whether the kernel makes the maps and loads the kind of program we need."""
    if platform.machine() not in BPF_SYSCALLS:
        yield f"architecture {platform.machine()} is not supported"
        return
    probes = {
        "maps that can be mapped into memory (Linux 5.5)": (
            BPF_MAP_CREATE,
            struct.pack("=IIIII", BPF_MAP_TYPE_ARRAY, 4, 8, 1, BPF_F_MMAPABLE),
        ),
        "traffic-control programs (CONFIG_NET_CLS_BPF, CONFIG_BPF_SYSCALL)": (
            BPF_PROG_LOAD,
            smallest_program(),
        ),
    }
    for what, (command, attributes) in probes.items():
        try:
            os.close(bpf(command, attributes))
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "?")
            yield f"the kernel ({platform.release()}) refuses BPF {what}: {name} {error.strerror}"


INSTRUCTIONS = ctypes.create_string_buffer(
    struct.pack("=BBhi", 0xB7, 0, 0, 0) + struct.pack("=BBhi", 0x95, 0, 0, 0)
)
LICENSE = ctypes.create_string_buffer(b"GPL")


def smallest_program() -> bytes:
    """BPF_PROG_LOAD's attributes for ``return 0``."""
    instructions, license_name = ctypes.addressof(INSTRUCTIONS), ctypes.addressof(LICENSE)
    return struct.pack("=IIQQ", BPF_PROG_TYPE_SCHED_CLS, 2, instructions, license_name)


def bpffs_lacks() -> Iterator[str]:
    """bpffs is where maps and links outlive their process; mount it if nobody has."""
    if not is_bpffs():
        BPFFS.mkdir(parents=True, exist_ok=True)
        mounted = run("mount", "-t", "bpf", "bpf", str(BPFFS))
        if mounted is not None:
            yield f"no bpffs at {BPFFS} and mounting it failed: {mounted}"


def is_bpffs() -> bool:
    """Whether a bpffs is mounted at its usual place."""
    buffer = ctypes.create_string_buffer(256)
    if libc.statfs(os.fsencode(BPFFS), buffer) != 0:
        return False
    magic: int = struct.unpack_from("=Q", buffer)[0]
    return magic == BPFFS_MAGIC


def network_lacks() -> Iterator[str]:
    """Namespaces, veth pairs, bridges, masquerading: tried in a namespace that is removed again."""
    name = f"autohep-preflight-{os.getpid()}"
    failed = run("ip", "netns", "add", name)
    if failed is not None:
        yield f"cannot make a network namespace (CONFIG_NET_NS; in a container: privileges): {failed}"
        return
    try:
        attempts = {
            "veth pairs (CONFIG_VETH)": (
                "ip",
                "link",
                "add",
                "veth0",
                "type",
                "veth",
                "peer",
                "name",
                "veth1",
            ),
            "bridges (CONFIG_BRIDGE)": ("ip", "link", "add", "br0", "type", "bridge"),
            "clsact (CONFIG_NET_SCH_INGRESS)": ("tc", "qdisc", "add", "dev", "lo", "clsact"),
            "nftables masquerading (CONFIG_NF_TABLES, CONFIG_NFT_MASQ)": (
                "nft",
                MASQUERADE,
            ),
        }
        for what, command in attempts.items():
            failed = run("nsenter", f"--net=/run/netns/{name}", *command)
            if failed is not None:
                yield f"the kernel ({platform.release()}) has no {what}: {failed}"
    finally:
        run("ip", "netns", "delete", name)


def run(*command: str) -> str | None:
    """None if the command succeeded, else what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return None if done.returncode == 0 else (done.stderr.strip() or f"exit status {done.returncode}")


def main() -> int:
    """Report on standard error."""
    lacks = list(missing())
    for lack in lacks:
        print(f"preflight: {lack}", file=sys.stderr)
    return 1 if lacks else 0


if __name__ == "__main__":
    sys.exit(main())
