"""Hear of changes: interfaces, addresses, queueing disciplines and filters.

Netlink's messages are only taken as a sign that something changed; what is true now is asked afterwards. So a
lost message (ENOBUFS) costs nothing: it is one more sign.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Self

from pyagent.errors import KernelError

_LINK, _TC, _IPV4_ADDRESS, _IPV6_ADDRESS = 1, 1 << 3, 1 << 4, 1 << 8
_GROUPS: Final = _LINK | _TC | _IPV4_ADDRESS | _IPV6_ADDRESS
_BUFFER_BYTES: Final = 1 << 20
#: Message types 36 to 46 are queueing disciplines, classes and filters, those below links and addresses.
_FIRST_TC: Final = 36
_HEADER: Final = struct.Struct("=IH")


class Changes:
    """A stream of signs. Use it in ``async with``, then iterate.

    Each item says whether interfaces or addresses (``links``) or queueing disciplines or filters
    (``filters``) changed since the last one; both after an overrun. The kernel does not announce tcx.
    """

    def __init__(self, settle: float = 0.02) -> None:
        """``settle``: seconds to wait after a change, so that a burst becomes one item."""
        self._settle = settle
        self._wake = asyncio.Event()
        self.links = False
        self.filters = False
        self.overruns = 0

    async def __aenter__(self) -> Self:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            self._socket.bind((0, _GROUPS))
        except OSError as error:
            self._socket.close()
            raise KernelError("listen to netlink", error.errno or errno.EIO) from error
        asyncio.get_running_loop().add_reader(self._socket, self._drain)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    async def __aiter__(self) -> AsyncIterator[tuple[bool, bool]]:
        while True:
            await self._wake.wait()
            await asyncio.sleep(self._settle)
            self._wake.clear()
            seen = self.links, self.filters
            self.links = self.filters = False
            yield seen

    def _drain(self) -> None:
        while True:
            try:
                message = self._socket.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError("listen to netlink", error.errno or errno.EIO) from error
                self.overruns += 1
                self.links = self.filters = True
            else:
                self._note(message)
            self._wake.set()

    def _note(self, message: bytes) -> None:
        at = 0
        while at + 16 <= len(message):
            length, kind = _HEADER.unpack_from(message, at)
            if kind >= _FIRST_TC:
                self.filters = True
            else:
                self.links = True
            at += max(16, (length + 3) & ~3)
