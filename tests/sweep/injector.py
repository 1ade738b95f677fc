"""Makes one step of a process go wrong: the N-th of its bpf(2) calls, stores and file operations.

Only for a process of its own: what is replaced here is never put back.
"""

from __future__ import annotations

import errno
import mmap
import os
import signal
import sys
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType
from typing import Any, Final, NoReturn, Self

from pyagent.attach import clsact, links
from pyagent.attach.netlink import NetlinkError
from pyagent.bpf import syscall
from pyagent.bpf.numbers import Command
from pyagent.errors import DriftError, KernelError

#: File operations of the module os that a pass makes, by itself or below pathlib and tempfile.
_FILE_OPERATIONS: Final = ("open", "replace", "rename", "unlink", "fsync")


class Injector:
    """Counts the steps of this process by name. At step number ``at`` (from 0) the fault happens.

    ``fatal``: SIGKILL, in the middle of what is being written; otherwise the step fails as in the kernel.
    """

    def __init__(self, at: int | None, *, fatal: bool) -> None:
        self.at = at
        self.fatal = fatal
        self.steps: list[str] = []

    def install(self) -> None:
        """Stand at every door from now on."""
        _watch_bpf(self)
        _watch_memory(self)
        _watch_files(self)
        _watch_netlink(self)
        _watch_filters(self)

    def follow(self, *functions: FunctionType) -> None:
        """From now on every line of these functions is a step: what they store no door sees."""
        _watch_lines(self, {function.__code__ for function in functions})

    def due(self, name: str) -> bool:
        """Count a step; whether it is the one."""
        self.steps.append(name)
        return len(self.steps) - 1 == self.at


def die() -> NoReturn:
    """As a crash does: nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _watch_bpf(injector: Injector) -> None:
    call = syscall._call

    def watched(command: Command, attr: Any) -> tuple[int, int]:
        if injector.due(f"bpf {command.name.lower()}"):
            if injector.fatal:
                die()
            return -1, errno.ENOMEM
        return call(command, attr)

    syscall._call = watched


def _watch_memory(injector: Injector) -> None:
    class Watched(mmap.mmap):
        """Shared memory: a store cannot fail, but the process can end in the middle of it."""

        def __setitem__(self, where: Any, content: Any) -> None:
            if injector.fatal and injector.due("memory store"):
                middle = (where.start or 0) + len(content) // 2
                super().__setitem__(slice(where.start, middle), content[: len(content) // 2])
                die()
            super().__setitem__(where, content)

    mmap.mmap = Watched  # type: ignore[misc]


def _watch_files(injector: Injector) -> None:
    def watch(name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            if injector.due(f"file {name}"):
                if injector.fatal:
                    die()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return operation(*arguments, **options)

        return watched

    for name in _FILE_OPERATIONS:
        setattr(os, name, watch(name, getattr(os, name)))
    fdopen = os.fdopen

    def opened(*arguments: Any, **options: Any) -> Any:
        file = fdopen(*arguments, **options)
        return _File(file, injector) if "w" in str(arguments[1:]) else file

    os.fdopen = opened


class _File:
    """A file of which half of what is written arrives."""

    def __init__(self, file: Any, injector: Injector) -> None:
        self._file = file
        self._injector = injector

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, content: bytes) -> int:
        """Write it, or half of it."""
        if self._injector.due("file write"):
            self._file.write(content[: len(content) // 2])
            self._file.flush()
            if self._injector.fatal:
                die()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(self._file.write(content))


def _watch_netlink(injector: Injector) -> None:
    list_links = links.list_links

    def watched() -> tuple[links.Link, ...]:
        if injector.due("netlink list"):
            if injector.fatal:
                die()
            raise KernelError("list interfaces", errno.ENOBUFS)
        return list_links()

    links.list_links = watched


def _watch_filters(injector: Injector) -> None:
    connect = clsact.IPRoute

    class Watched:
        """A netlink conversation about filters."""

        def __init__(self) -> None:
            self._netlink = connect()

        def __getattr__(self, name: str) -> Any:
            operation = getattr(self._netlink, name)
            if name == "close":
                return operation

            def watched(*arguments: Any, **options: Any) -> Any:
                if injector.due(f"netlink {name}"):
                    if injector.fatal:
                        die()
                    raise NetlinkError(errno.ENOBUFS)
                return operation(*arguments, **options)

            return watched

    clsact.IPRoute = Watched


def _watch_lines(injector: Injector, codes: set[CodeType]) -> None:
    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code not in codes:
            return None
        if event == "line" and injector.due(f"line of {frame.f_code.co_name}"):
            if injector.fatal:
                die()
            raise DriftError("a fault in the middle of an edit")
        return trace

    sys.settrace(trace)
