"""bpf(2) itself, by ctypes: one function an operation, file descriptors and bytes in and out.

No library is needed, so a long-lived process stays small. Every refusal is a KernelError with its errno.
File descriptors that are returned belong to the caller, who closes them; the kernel opens them close-on-exec.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyagent.bpf import numbers
from pyagent.bpf.numbers import AttachType, Command, ProgramType
from pyagent.errors import KernelError

_NUMBER = {"x86_64": 321, "aarch64": 280}.get(platform.machine(), 0)
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

#: Large enough for every attribute structure below; the kernel wants what it does not know to be zero.
_ATTR_BYTES = 128
_NAME_BYTES = 15

#: Enough for the verifier's whole walk; it fails with ENOSPC if its log does not fit.
_LOG_BYTES = 1 << 24

_HINTS = {
    errno.EPERM: "needs root, or CAP_BPF and CAP_NET_ADMIN",
    errno.E2BIG: "beyond the map's size or a limit of the kernel",
}


def _buffer(content: bytes | bytearray | memoryview) -> ctypes.Array[ctypes.c_char]:
    return (ctypes.c_char * max(len(content), 1)).from_buffer_copy(bytes(content) or b"\0")


def _space(size: int) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(max(size, 1))


#: Commands whose result counts as locked memory on old kernels.
_LOCKED: Final = frozenset({Command.MAP_CREATE, Command.PROG_LOAD})


def _call(command: Command, attr: ctypes.Array[ctypes.c_char]) -> tuple[int, int]:
    """Return (result, errno); the caller decides which errno is an answer and which a failure."""
    if not _NUMBER:
        raise KernelError("bpf system call", errno.ENOSYS, f"unknown architecture {platform.machine()}")
    result = _libc.syscall(_NUMBER, int(command), attr, len(attr))
    if result < 0 and ctypes.get_errno() == errno.EPERM and command in _LOCKED and _lock_without_limit():
        result = _libc.syscall(_NUMBER, int(command), attr, len(attr))
    return (result, 0) if result >= 0 else (-1, ctypes.get_errno())


def _lock_without_limit() -> bool:
    """Kernels before 5.11 count maps and programs as locked memory; returns whether a limit was lifted."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    if resource.getrlimit(resource.RLIMIT_MEMLOCK) == unlimited:
        return False
    before = ctypes.get_errno()
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
    except (OSError, ValueError):  # not root: the first refusal stands
        ctypes.set_errno(before)
        return False
    return True


def _attr(layout: str, *values: int | bytes) -> ctypes.Array[ctypes.c_char]:
    attr = ctypes.create_string_buffer(_ATTR_BYTES)
    struct.pack_into("=" + layout, attr, 0, *values)
    return attr


def _do(operation: str, command: Command, attr: ctypes.Array[ctypes.c_char], hint: str = "") -> int:
    result, error = _call(command, attr)
    if error:
        raise KernelError(operation, error, hint or _HINTS.get(error, ""))
    return result


# ---- maps ----------


def map_create(  # noqa: PLR0917 - a map has this many dimensions
    map_type: int,
    key_size: int,
    value_size: int,
    max_entries: int,
    flags: int = 0,
    name: str = "",
    inner_fd: int = 0,
) -> int:
    """Create a map and return its descriptor; ``inner_fd`` is the template of a map of maps."""
    short = name.encode()[:_NAME_BYTES]
    attr = _attr("7I16s", int(map_type), key_size, value_size, max_entries, flags, inner_fd, 0, short)
    return _do(f"create map {name}".rstrip(), Command.MAP_CREATE, attr)


def map_lookup(fd: int, key: bytes, value_bytes: int) -> bytes | None:
    """Return the value of ``key`` or None. ``value_bytes`` counts every CPU of a per-CPU map."""
    key_buffer, value = _buffer(key), _space(value_bytes)
    attr = _attr("IIQQQ", fd, 0, ctypes.addressof(key_buffer), ctypes.addressof(value), 0)
    _, error = _call(Command.MAP_LOOKUP, attr)
    if error == errno.ENOENT:
        return None
    if error:
        raise KernelError("map lookup", error)
    return value.raw[:value_bytes]


def map_update(
    fd: int, key: bytes, value: bytes | bytearray | memoryview, flags: int = numbers.UPDATE_ANY
) -> None:
    """Set ``key`` to ``value``; with NOEXIST or EXIST only if it is absent or present."""
    key_buffer, value_buffer = _buffer(key), _buffer(value)
    attr = _attr("IIQQQ", fd, 0, ctypes.addressof(key_buffer), ctypes.addressof(value_buffer), flags)
    _do("map update", Command.MAP_UPDATE, attr)


def map_delete(fd: int, key: bytes) -> bool:
    """Delete ``key``; False if there was none."""
    key_buffer = _buffer(key)
    _, error = _call(Command.MAP_DELETE, _attr("IIQQQ", fd, 0, ctypes.addressof(key_buffer), 0, 0))
    if error and error != errno.ENOENT:
        raise KernelError("map delete", error)
    return not error


def map_next_key(fd: int, key: bytes | None, key_size: int) -> bytes | None:
    """Return the key after ``key`` (None: the first), None at the end; a key that is gone starts anew."""
    before, after = _buffer(key or b""), _space(key_size)
    address = ctypes.addressof(before) if key is not None else 0
    _, error = _call(Command.MAP_NEXT_KEY, _attr("IIQQQ", fd, 0, address, ctypes.addressof(after), 0))
    if error == errno.ENOENT:
        return None
    if error:
        raise KernelError("map next key", error)
    return after.raw[:key_size]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch lookup gave; ``token`` goes into the next call, None: that was all."""

    keys: bytes
    values: bytes
    count: int
    token: bytes | None


def map_lookup_batch(  # noqa: PLR0917
    fd: int, token: bytes | None, key_size: int, value_bytes: int, count: int, delete: bool = False
) -> Batch:
    """Look up to ``count`` elements up at once, and delete them if asked.

    Raises KernelError ENOSPC if one hash bucket holds more than ``count``: ask again with a larger one.
    """
    # Hashes write a four-byte bucket number as token, generic maps (LPM tries, arrays) a whole key.
    token_bytes = max(key_size, 8)
    before, after = _buffer((token or b"").ljust(token_bytes, b"\0")), _space(token_bytes)
    keys, values = _space(count * key_size), _space(count * value_bytes)
    start = ctypes.addressof(before) if token is not None else 0
    pointers = (start, ctypes.addressof(after), ctypes.addressof(keys), ctypes.addressof(values))
    attr = _attr("QQQQIIQQ", *pointers, count, fd, 0, 0)
    command = Command.MAP_LOOKUP_AND_DELETE_BATCH if delete else Command.MAP_LOOKUP_BATCH
    _, error = _call(command, attr)
    if error and error != errno.ENOENT:
        raise KernelError("map batch lookup", error)
    (done,) = struct.unpack_from("=I", attr, 32)
    following = None if error else after.raw[:token_bytes]
    return Batch(keys.raw[: done * key_size], values.raw[: done * value_bytes], done, following)


def map_update_batch(fd: int, keys: bytes | bytearray, values: bytes | bytearray, count: int) -> None:
    """Set ``count`` elements whose keys and values lie one after another; a KernelError may come midway."""
    key_buffer, value_buffer = _buffer(keys), _buffer(values)
    pointers = (0, 0, ctypes.addressof(key_buffer), ctypes.addressof(value_buffer))
    _do("map batch update", Command.MAP_UPDATE_BATCH, _attr("QQQQIIQQ", *pointers, count, fd, 0, 0))


def map_delete_batch(fd: int, keys: bytes | bytearray, count: int) -> int:
    """Delete ``count`` keys that lie one after another, up to one that is gone; returns how many."""
    key_buffer = _buffer(keys)
    attr = _attr("QQQQIIQQ", 0, 0, ctypes.addressof(key_buffer), 0, count, fd, 0, 0)
    _, error = _call(Command.MAP_DELETE_BATCH, attr)
    if error and error != errno.ENOENT:
        raise KernelError("map batch delete", error)
    return int(struct.unpack_from("=I", attr, 32)[0])


# ---- pins and programs ----------


def obj_pin(fd: int, path: Path | str) -> None:
    """Pin the object behind ``fd`` at ``path`` in a bpffs; the path must be free, its name without a dot."""
    name = _buffer(os.fsencode(path) + b"\0")
    _do(f"pin {path}", Command.OBJ_PIN, _attr("QII", ctypes.addressof(name), fd, 0))


def obj_get(path: Path | str) -> int:
    """Open what is pinned at ``path``."""
    name = _buffer(os.fsencode(path) + b"\0")
    return _do(f"open pin {path}", Command.OBJ_GET, _attr("QII", ctypes.addressof(name), 0, 0))


def obj_info(fd: int, size: int) -> bytes:
    """Return ``size`` bytes of the object's info structure, zero where the kernel knows less."""
    return obj_info_with(fd, b"\0" * size)


def obj_info_with(fd: int, request: bytes) -> bytes:
    """Like :func:`obj_info`, from a structure that already says where arrays are to be put."""
    info = _buffer(request)
    _do("object info", Command.OBJ_GET_INFO_BY_FD, _attr("IIQ", fd, len(info), ctypes.addressof(info)))
    return info.raw


class LoadError(KernelError):
    """The verifier refused a program; ``log`` is what it wrote, the hint its last words."""

    def __init__(self, name: str, error: int, log: str) -> None:
        self.log = log
        lines = [line for line in log.splitlines() if line.strip() and not line.startswith("processed ")]
        super().__init__(f"load program {name}", error, lines[-1] if lines else _HINTS.get(error, ""))


def prog_load(program_type: ProgramType, instructions: bytes, name: str, licence: str = "GPL") -> int:
    """Load a program given as raw instructions (eight bytes each) and return its descriptor.

    Raises LoadError with the verifier's log.
    """
    result, error, _ = _prog_load(program_type, instructions, name, licence, 0)
    if not error:
        return result
    # Only now pay for a log.
    result, error, log = _prog_load(program_type, instructions, name, licence, _LOG_BYTES)
    if error:
        raise LoadError(name, error, log)
    return result


def _prog_load(
    program_type: ProgramType, instructions: bytes, name: str, licence: str, log_bytes: int
) -> tuple[int, int, str]:
    code, text, log = _buffer(instructions), _buffer(licence.encode() + b"\0"), _space(log_bytes)
    log_address = ctypes.addressof(log) if log_bytes else 0
    attr = _attr(
        "IIQQIIQII16s", int(program_type), len(instructions) // 8, ctypes.addressof(code),
        ctypes.addressof(text), int(log_bytes > 0), log_bytes, log_address, 0, 0, name.encode()[:_NAME_BYTES],
    )  # fmt: skip
    return *_call(Command.PROG_LOAD, attr), log.value.decode(errors="replace")


def prog_by_id(program_id: int) -> int:
    """Open a program by its id."""
    return _do(f"open program {program_id}", Command.PROG_GET_FD_BY_ID, _attr("III", program_id, 0, 0))


def prog_test_run(  # noqa: PLR0917
    fd: int,
    packet: bytes,
    context: bytes = b"",
    repeat: int = 1,
    out_bytes: int = 0,
    context_out_bytes: int = 0,
) -> tuple[int, bytes, bytes, int]:
    """Run a program on ``packet``: (return value unsigned, packet out, context out, ns a run)."""
    packet_in, packet_out = _buffer(packet), _space(out_bytes)
    context_in, context_out = _buffer(context), _space(context_out_bytes)
    # The kernel refuses a size without a buffer and a buffer without a size.
    pointers = [
        ctypes.addressof(buffer) if size else 0
        for buffer, size in (
            (packet_in, len(packet)), (packet_out, out_bytes),
            (context_in, len(context)), (context_out, context_out_bytes),
        )
    ]  # fmt: skip
    attr = _attr(
        "4I2Q4I2Q3I", fd, 0, len(packet), out_bytes, pointers[0], pointers[1],
        repeat, 0, len(context), context_out_bytes, pointers[2], pointers[3], 0, 0, 0,
    )  # fmt: skip
    _do("program test run", Command.PROG_TEST_RUN, attr)
    returned, _, size_out = struct.unpack_from("=3I", attr, 4)
    duration, _, context_size = struct.unpack_from("=3I", attr, 36)
    return (
        returned,
        packet_out.raw[: min(size_out, out_bytes)],
        context_out.raw[: min(context_size, context_out_bytes)],
        duration,
    )


def prog_query(ifindex: int, attach_type: AttachType) -> list[tuple[int, int]]:
    """Return (program id, link id) of what a tcx hook runs, in its order; link id 0: attached without link.

    Raises KernelError EINVAL where the kernel has no tcx.
    """
    room = 64
    programs, links = _space(4 * room), _space(4 * room)
    attr = _attr(
        "4IQIIQQQQ", ifindex, int(attach_type), 0, 0, ctypes.addressof(programs), room, 0, 0, 0, 0, 0
    )
    struct.pack_into("=Q", attr, 40, ctypes.addressof(links))
    result, error = _call(Command.PROG_QUERY, attr)
    if result < 0 and error == errno.ENOENT:
        return []
    if error:
        raise KernelError(f"query {attach_type.name.lower()} of interface {ifindex}", error)
    (count,) = struct.unpack_from("=I", attr, 24)
    layout = f"={count}I"
    return list(zip(struct.unpack_from(layout, programs), struct.unpack_from(layout, links), strict=True))


def enable_stats() -> int:
    """Have the kernel count runs and time of programs until the descriptor is closed."""
    return _do("enable statistics", Command.ENABLE_STATS, _attr("I", numbers.STATS_RUN_TIME))


# ---- links ----------


def link_create(program_fd: int, ifindex: int, attach_type: AttachType, flags: int = 0) -> int:
    """Attach a program to an interface; the attachment lives as long as the descriptor or a pin of it.

    ``flags``: F_BEFORE for tcx (first of all), XDP_NATIVE or XDP_GENERIC for XDP.
    """
    attr = _attr("4IIIQ", program_fd, ifindex, int(attach_type), flags, 0, 0, 0)
    return _do(f"attach {attach_type.name.lower()} to interface {ifindex}", Command.LINK_CREATE, attr)


def link_by_id(link_id: int) -> int:
    """Open a link. Raises KernelError ENOENT if there is none, or if nobody holds it any more."""
    return _do(f"open link {link_id}", Command.LINK_GET_FD_BY_ID, _attr("III", link_id, 0, 0))


def link_update(link_fd: int, program_fd: int) -> None:
    """Put another program into a link, atomically. Raises KernelError ENOLINK if the interface is gone."""
    _do("update link", Command.LINK_UPDATE, _attr("4I", link_fd, program_fd, 0, 0))


def link_detach(link_fd: int) -> None:
    """Detach a link while its descriptors and pins stay."""
    _do("detach link", Command.LINK_DETACH, _attr("I", link_fd))
