"""Attach by XDP, ahead of tc: only to drop what doNotTrack policies deny before the kernel spends work on it.

Our link is pinned like tcx links are. Where another program holds XDP it is left alone: tc judges every
packet anyway.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import Final

from pyagent.attach.netlink import IPRoute, NetlinkError
from pyagent.attach.outcome import Change, XdpMode, XdpReport
from pyagent.bpf import numbers, objects, syscall
from pyagent.bpf.numbers import AttachType, LinkType
from pyagent.bpf.pins import Pins
from pyagent.errors import AutohepError, KernelError

PROGRAM: Final = "xdp_ingress"
_FLAGS: Final = {XdpMode.NATIVE: numbers.XDP_NATIVE, XdpMode.GENERIC: numbers.XDP_GENERIC}
#: What the kernel says when somebody else is there: in the same mode, in another mode.
_TAKEN: Final = (errno.EBUSY, errno.EEXIST)


class Xdp:
    """Keeps the XDP program attached where it is wanted. It blocks: call it from one thread at a time."""

    def __init__(self, pins: Pins) -> None:
        self._pins = pins

    def reconcile(self, wanted: Iterable[tuple[str, int]]) -> list[XdpReport]:
        """Attach to all of ``wanted`` (name, index) and to nothing else; one report an interface.

        No failure is an exception: without XDP tc does the same work, a little later.
        """
        wants = list(wanted)
        for ifindex in set(self._pins.xdp_links()) - {ifindex for _, ifindex in wants}:
            detach(self._pins, ifindex)
        if not wants:
            return []
        try:
            program_fd = syscall.obj_get(self._pins.program(PROGRAM))
        except KernelError as error:
            return [XdpReport(name, ifindex, error=str(error)) for name, ifindex in wants]
        try:
            return [self._one(name, ifindex, program_fd) for name, ifindex in wants]
        finally:
            os.close(program_fd)

    def _one(self, name: str, ifindex: int, program_fd: int) -> XdpReport:
        try:
            change = self._ensure(ifindex, program_fd)
        except AutohepError as error:
            if isinstance(error, KernelError) and error.errno in _TAKEN:
                return XdpReport(name, ifindex, held_by=_program_name(_attached(ifindex)))
            return XdpReport(name, ifindex, error=str(error))
        mode = XdpMode.GENERIC if _attached(ifindex, "IFLA_XDP_SKB_PROG_ID") else XdpMode.NATIVE
        return XdpReport(name, ifindex, mode, change)

    def _ensure(self, ifindex: int, program_fd: int) -> Change:
        path = self._pins.xdp(ifindex)
        if not path.exists():
            self._attach(ifindex, program_fd)
            return Change.ATTACHED
        link_fd = syscall.obj_get(path)
        try:
            info = objects.link_info(link_fd)
            if (info.type, info.ifindex) != (LinkType.XDP, ifindex):
                path.unlink()  # its interface is gone and the index used again, or somebody detached it
                self._attach(ifindex, program_fd)
                return Change.REPAIRED
            if info.program_id == objects.program_info(program_fd).id:
                return Change.NONE
            syscall.link_update(link_fd, program_fd)
            return Change.REPLACED
        finally:
            os.close(link_fd)

    def _attach(self, ifindex: int, program_fd: int) -> None:
        """Attach in the driver, or else in the kernel's generic hook; pin it."""
        try:
            fd = syscall.link_create(program_fd, ifindex, AttachType.XDP, _FLAGS[XdpMode.NATIVE])
        except KernelError as error:
            if error.errno in (*_TAKEN, errno.ENODEV):
                raise
            fd = syscall.link_create(program_fd, ifindex, AttachType.XDP, _FLAGS[XdpMode.GENERIC])
        try:
            syscall.obj_pin(fd, self._pins.xdp(ifindex))
        finally:
            os.close(fd)


def detach(pins: Pins, ifindex: int) -> None:
    """Detach our link from an interface and remove its pin; that the interface is gone already is fine."""
    path = pins.xdp(ifindex)
    fd = syscall.obj_get(path)
    try:
        syscall.link_detach(fd)
    except KernelError as error:
        if error.errno != errno.ENOLINK:
            raise
    finally:
        os.close(fd)
        path.unlink(missing_ok=True)


def _attached(ifindex: int, attribute: str = "IFLA_XDP_PROG_ID") -> int:
    """Return the id of the XDP program of an interface; 0: it has none (in that mode)."""
    try:
        with IPRoute() as netlink:
            for message in netlink.get_links(ifindex):
                xdp = message.get_attr("IFLA_XDP")
                return int(xdp.get_attr(attribute) or 0) if xdp is not None else 0
    except NetlinkError:
        pass  # the interface went away meanwhile
    return 0


def _program_name(program_id: int) -> str:
    if not program_id:
        return "another program"
    return objects.program_name(program_id)
