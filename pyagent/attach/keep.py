"""Hold open what is pinned: while the agent lives, no removed pin and no unmounted bpffs opens a gap."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from pathlib import Path

from pyagent.bpf import objects, syscall
from pyagent.bpf.pins import Pins, ensure_bpffs
from pyagent.errors import KernelError

log = logging.getLogger(__name__)


class Keeper:
    """Descriptors of all that is pinned for one instance. Not thread-safe; lets go when it is collected.

    Call :meth:`mend` before a pass and :meth:`hold` after it: what is missing before a pass was removed by
    somebody else and is pinned again, what is missing after it the pass itself has removed.
    """

    def __init__(self, pins: Pins, remounted: Callable[[], None] | None = None) -> None:
        """``remounted`` is called when the pins' directories were made anew."""
        self._pins, self._remounted = pins, remounted
        #: By path: the pin's inode, which tells it from another one put in its place, and our descriptor.
        self._held: dict[Path, tuple[int, int]] = {}
        weakref.finalize(self, _close_all, self._held)

    def mend(self) -> int:
        """Pin again what somebody unpinned, on a bpffs mounted anew if it must be; returns how many."""
        missing = [path for path in self._held if not path.exists()]
        if not missing:
            return 0
        ensure_bpffs(self._pins.base.parent)
        self._pins.create()
        if self._remounted is not None:
            self._remounted()
        mended = 0
        for path in missing:
            _, descriptor = self._held.pop(path)
            try:
                if not _is_detached(path, descriptor):
                    syscall.obj_pin(descriptor, path)
                    mended += 1
            finally:
                os.close(descriptor)
        self.hold()
        if mended:
            log.warning("pins were removed by somebody and are back count=%d", mended)
        return mended

    def hold(self) -> None:
        """Hold what is pinned now, and nothing else; without free descriptors as much of it as there are."""
        present = {path: path.stat().st_ino for path in self._paths()}
        for path in [path for path, (inode, _) in self._held.items() if present.get(path) != inode]:
            os.close(self._held.pop(path)[1])
        for path in present.keys() - self._held.keys():
            try:
                self._held[path] = present[path], syscall.obj_get(path)
            except KernelError as error:
                log.warning("pin not held path=%s reason=%r", path, str(error))
                return

    def _paths(self) -> list[Path]:
        root = self._pins.root
        return [path for kind in ("maps", "programs", "links") for path in sorted((root / kind).glob("*"))]


def _is_detached(path: Path, descriptor: int) -> bool:
    """Tell whether it is a link that leads nowhere: its interface is gone, or somebody detached it."""
    if path.parent.name != "links" or path.name.endswith("-qdisc"):
        return False
    return objects.link_info(descriptor).ifindex == 0


def _close_all(held: dict[Path, tuple[int, int]]) -> None:
    for _, descriptor in held.values():
        os.close(descriptor)
    held.clear()
