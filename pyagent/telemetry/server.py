"""A small HTTP server for a few pages that change: bounded in everything a client can do.

It runs in the process' event loop, so it answers as long as the loop turns: that is what ``/livez`` says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from pyagent.telemetry.address import Address
from pyagent.telemetry.families import CONTENT_TYPE, Family, render

log = logging.getLogger(__name__)

#: A request with more bytes, or one that takes longer to arrive (seconds), is given up.
_REQUEST_BYTES: Final = 8192
_PATIENCE_S: Final = 5.0
#: Clients served at a time; one more is turned away.
_CLIENTS_MAX: Final = 16
#: Seconds between attempts to listen where somebody else does.
_RETRY_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Page:
    """What a path answers with. ``blocks``: made in a thread, one at a time, for it takes milliseconds."""

    make: Callable[[], tuple[HTTPStatus, str, bytes]]
    blocks: bool = False


def metrics(collect: Callable[[], Iterable[Family]]) -> Page:
    """The page with the families that ``collect`` returns; it may block."""
    return Page(lambda: (HTTPStatus.OK, CONTENT_TYPE, render(collect())), blocks=True)


def health(problem: Callable[[], str]) -> Page:
    """The page that is well while ``problem`` returns nothing; else it tells what is wrong."""

    def make() -> tuple[HTTPStatus, str, bytes]:
        reason = problem()
        status = HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK
        return status, "text/plain; charset=utf-8", f"{reason or 'ok'}\n".encode()

    return Page(make)


class Telemetry:
    """Serves ``pages`` by path at ``address``; :meth:`serve` does so until it is cancelled."""

    def __init__(self, address: Address, pages: Mapping[str, Page]) -> None:
        self._address, self._pages = address, pages
        self._clients: set[asyncio.StreamWriter] = set()
        self._making = asyncio.Lock()
        #: Where it listens; None: nowhere yet. Known by its port if any was asked for.
        self.bound: Address | None = None

    async def serve(self) -> None:
        """Listen. An address that is taken is tried again: to be looked at is not worth failing for."""
        told = False
        while True:
            try:
                server = await asyncio.start_server(
                    self._talk, self._address.host, self._address.port, limit=_REQUEST_BYTES
                )
            except OSError as error:
                if not told:
                    log.error("metrics not served address=%s reason=%r", self._address, str(error))
                told = True
                await asyncio.sleep(_RETRY_S)
                continue
            break
        port = server.sockets[0].getsockname()[1]
        self.bound = Address(self._address.host, port)
        if self.bound.everywhere:
            log.warning("metrics can be read from everywhere address=%s", self.bound)
        log.info("metrics served address=%s", self.bound)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            for client in list(self._clients):
                client.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= _CLIENTS_MAX:
            writer.close()
            return
        self._clients.add(writer)
        try:
            # A client that breaks off, is too slow or sends nonsense is its own problem.
            with suppress(TimeoutError, OSError, ValueError, asyncio.IncompleteReadError):
                async with asyncio.timeout(_PATIENCE_S):
                    request = await _request(reader)
                answer = await self._answer(*request)
                async with asyncio.timeout(_PATIENCE_S):
                    writer.write(answer)
                    await writer.drain()
        finally:
            self._clients.discard(writer)
            writer.close()

    async def _answer(self, method: str, path: str) -> bytes:
        page = self._pages.get(path)
        if method not in ("GET", "HEAD"):
            return _response(method, HTTPStatus.METHOD_NOT_ALLOWED, body=b"GET it\n")
        if page is None:
            known = "\n".join(sorted(self._pages))
            return _response(method, HTTPStatus.NOT_FOUND, body=f"{known}\n".encode())
        try:
            if not page.blocks:
                return _response(method, *page.make())
            async with self._making:
                return _response(method, *await asyncio.to_thread(page.make))
        except Exception:
            # A defect in a page must not pass unseen, nor end the process that it tells about.
            log.exception("page failed path=%s", path)
            return _response(method, HTTPStatus.INTERNAL_SERVER_ERROR, body=b"see the log\n")


async def _request(reader: asyncio.StreamReader) -> tuple[str, str]:
    """(method, path) of a request; ValueError if it is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise ValueError("a request too long") from error
    method, target, version = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError("not HTTP/1")
    return method, target.partition("?")[0]


def _response(
    method: str, status: HTTPStatus, content_type: str = "text/plain; charset=utf-8", body: bytes = b""
) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n"
    )
    return head.encode() + (b"" if method == "HEAD" else body)
