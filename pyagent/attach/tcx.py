"""Attach by tcx links: the kernel keeps their order, nobody removes them by accident (Linux 6.6 and later).

Our link is put first and pinned, so it outlives this process. Only links that are pinned in our own directory
are ever touched.
"""

from __future__ import annotations

import errno
import os
import time
from typing import Final

from pyagent.abi import Direction
from pyagent.attach.outcome import Change
from pyagent.bpf import numbers, objects, syscall
from pyagent.bpf.numbers import AttachType, LinkType, ProgramType
from pyagent.bpf.objects import LinkInfo
from pyagent.bpf.pins import LinkPin, Pins
from pyagent.errors import KernelError

ATTACH_TYPE: Final = {Direction.INGRESS: AttachType.TCX_INGRESS, Direction.EGRESS: AttachType.TCX_EGRESS}
_LOOPBACK: Final = 1
#: Seconds that the kernel is given to free a link that nobody holds any more, and between looks.
_FREED_WITHIN_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.0005
#: r0 = TC_ACT_SHOT; exit
_DROP: Final = bytes.fromhex("b7000000020000009500000000000000")


def available() -> bool:
    """Tell whether this kernel has tcx, without changing anything."""
    try:
        syscall.prog_query(_LOOPBACK, AttachType.TCX_INGRESS)
    except KernelError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True


def ensure(pins: Pins, ifindex: int, direction: Direction, program_fd: int) -> Change:
    """Have the program attached and pinned there; the interface is never without one meanwhile."""
    path = pins.link(ifindex, direction)
    if not path.exists():
        _attach(pins, ifindex, direction, program_fd)
        return Change.ATTACHED
    link_fd = syscall.obj_get(path)
    try:
        info = objects.link_info(link_fd)
        if not _is_ours(info, ifindex, direction):
            path.unlink()  # its interface is gone and the index used again, or somebody detached it
            _attach(pins, ifindex, direction, program_fd)
            return Change.REPAIRED
        if info.program_id == objects.program_info(program_fd).id:
            return Change.NONE
        syscall.link_update(link_fd, program_fd)
        return Change.REPLACED
    finally:
        os.close(link_fd)


def before_ours(pins: Pins, ifindex: int, direction: Direction) -> list[int]:
    """Return the ids of programs that run before ours at this hook; all there are if ours is not."""
    path = pins.link(ifindex, direction)
    ours = objects.pinned_link_info(path).id if path.exists() else 0
    before = []
    for program, link in syscall.prog_query(ifindex, ATTACH_TYPE[direction]):
        if ours and link == ours:
            break
        before.append(program)
    return before


def move_first(pins: Pins, ifindex: int, direction: Direction, program_fd: int) -> None:
    """Put our program before all others again.

    The kernel has no such operation and refuses one program twice at a hook: for the microseconds of the move
    our old place drops every packet, so that none passes unjudged.
    """
    path = pins.link(ifindex, direction)
    placeholder = syscall.prog_load(ProgramType.SCHED_CLS, _DROP, "autohep_moving")
    old = syscall.obj_get(path)
    try:
        syscall.link_update(old, placeholder)
        path.unlink()
        _attach(pins, ifindex, direction, program_fd)
        syscall.link_detach(old)
    finally:
        os.close(old)
        os.close(placeholder)


def detach(pin: LinkPin) -> None:
    """Detach a link of ours and remove its pin; that its interface is gone already is fine."""
    fd = syscall.obj_get(pin.path)
    try:
        syscall.link_detach(fd)
    except KernelError as error:
        if error.errno != errno.ENOLINK:
            raise
    finally:
        os.close(fd)
        pin.path.unlink(missing_ok=True)


def is_stale(pin: LinkPin) -> bool:
    """Tell whether a pinned link is attached to nothing: its interface was deleted, or it was detached."""
    return objects.pinned_link_info(pin.path).ifindex == 0


def _attach(pins: Pins, ifindex: int, direction: Direction, program_fd: int) -> None:
    fd = _link(ifindex, direction, program_fd)
    try:
        syscall.obj_pin(fd, pins.link(ifindex, direction))
    finally:
        os.close(fd)


def _link(ifindex: int, direction: Direction, program_fd: int) -> int:
    """Attach, or open the link that has the program there already, which lost its pin.

    A link that nobody holds any more is still attached until the kernel comes to free it, a little later;
    meanwhile the program is refused a second time.
    """
    give_up = time.monotonic() + _FREED_WITHIN_S
    while True:
        try:
            return syscall.link_create(program_fd, ifindex, ATTACH_TYPE[direction], numbers.F_BEFORE)
        except KernelError as error:
            if error.errno != errno.EEXIST or time.monotonic() > give_up:
                raise
        if (held := _held(ifindex, direction, program_fd)) is not None:
            return held
        time.sleep(_LOOK_EVERY_S)


def _held(ifindex: int, direction: Direction, program_fd: int) -> int | None:
    """Open the link that has the program at that hook; None: it is gone, or about to go."""
    program_id = objects.program_info(program_fd).id
    links = dict(syscall.prog_query(ifindex, ATTACH_TYPE[direction]))
    if not links.get(program_id):
        return None
    try:
        return syscall.link_by_id(links[program_id])
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        return None


def _is_ours(info: LinkInfo, ifindex: int, direction: Direction) -> bool:
    wanted = LinkType.TCX, ifindex, ATTACH_TYPE[direction]
    return (info.type, info.ifindex, info.attach_type) == wanted
