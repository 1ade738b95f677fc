"""HTTPS for an API server's questions, bounded in size, time and number.

The certificate is read again when its file changes: whoever renews it needs no restart.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from pyagent.webhook.review import review

log = logging.getLogger(__name__)

PATH: Final = "/validate"
#: An object has at most 1.5 MiB, and a review holds it twice.
_BODY_MAX: Final = 8 << 20
_PATIENCE_S: Final = 10.0
_CLIENTS_MAX: Final = 32


class WebhookServer(ThreadingHTTPServer):
    """Answers ``/validate`` at ``address``; ``/livez`` says ``ok``. Raises OSError for bad files or ports."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._stamp: tuple[int, ...] = ()
        self._places = threading.BoundedSemaphore(_CLIENTS_MAX)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._load()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """See socketserver: one client too many is turned away."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """See socketserver."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the client's own thread: a slow handshake holds nobody up."""
        request.settimeout(_PATIENCE_S)
        with contextlib.suppress(OSError):
            self._load()
        with self._context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 (socketserver's)
        """A client that breaks off or speaks no TLS is its own problem."""
        log.debug("connection given up client=%s", client_address)

    def _load(self) -> None:
        stamp = tuple(path.stat().st_mtime_ns for path in self._files)
        if stamp == self._stamp:
            return
        try:
            self._context.load_cert_chain(*self._files)
        except ssl.SSLError as error:
            if not self._stamp:
                raise
            log.error("certificate not usable, the one before stays reason=%r", str(error))
        else:
            log.info("certificate read file=%s", self._files[0])
        self._stamp = stamp


class _Handler(BaseHTTPRequestHandler):
    timeout = _PATIENCE_S

    def do_GET(self) -> None:
        self._send(*((200, b"ok\n") if self.path == "/livez" else (404, b"")))

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()) or int(length) > _BODY_MAX:
            self._send(413, b"")
            return
        # Read whatever the path: closing on what was not read would reset the connection under the answer.
        body = self.rfile.read(int(length))
        if self.path.partition("?")[0] == PATH:
            self._review(body)
        else:
            self._send(404, b"")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's)
        log.debug(format, *args)

    def _review(self, body: bytes) -> None:
        try:
            answer = review(body)
        except ValueError as error:
            self._send(400, f"{error}\n".encode())
            return
        response = answer["response"]
        if not response["allowed"]:
            log.info("refused reason=%r", response["status"]["message"])
        self._send(200, json.dumps(answer).encode(), "application/json")

    def _send(self, code: int, body: bytes, content_type: str = "text/plain") -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
