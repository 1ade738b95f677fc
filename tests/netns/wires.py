"""Who answers and who asks on a site: echo services in every namespace, and one attempt at a time at them.

Services answer by TCP, UDP and raw IP (protocols 253 and 254); ICMP is the kernel's. They run in one thread
of this process, each socket in its namespace.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.lab.namespace import open_socket

RAW = (253, 254)
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_ASK, _ANSWER = b"ask:", b"yes:"
_ECHO_REQUEST = {4: 8, 6: 128}


class Services:
    """Answers until closed. TCP tells each client whom it sees; datagrams come back as answers."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._serve)
        self._stopping = False
        self._thread.start()

    def tcp(self, namespace: Path, port: int) -> None:
        """Listen on all addresses."""
        listener = open_socket(namespace, socket.AF_INET6, socket.SOCK_STREAM)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("::", port))
        listener.listen(64)
        self._add(listener, self._greet)

    def udp(self, namespace: Path, address: str, port: int) -> None:
        """Listen on one address, so that answers come from it."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        service = open_socket(namespace, family, socket.SOCK_DGRAM)
        service.bind((address, port))
        self._add(service, self._answer)

    def raw(self, namespace: Path, address: str, protocol: int) -> None:
        """Answer datagrams of a protocol without ports."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        service = open_socket(namespace, family, socket.SOCK_RAW, protocol)
        service.bind((address, 0))
        self._add(service, self._answer)

    def close(self) -> None:
        """Stop answering."""
        self._stopping = True
        self._wake.send(b"x")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._wake.close()
        self._selector.close()

    def _add(self, service: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        service.setblocking(False)
        self._selector.register(service, selectors.EVENT_READ, serve)
        self._wake.send(b"x")

    def _serve(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select():
                if key.data is None:
                    self._woken.recv(100)
                    continue
                with suppress(OSError):
                    key.data(key.fileobj)

    @staticmethod
    def _greet(listener: socket.socket) -> None:
        client, peer = listener.accept()
        with client:
            client.send(peer[0].removeprefix("::ffff:").encode())

    @staticmethod
    def _answer(service: socket.socket) -> None:
        data, peer = service.recvfrom(65535)
        if _ASK in data:  # raw IPv4 sockets deliver the header too; answers to others pass by here as well
            service.sendto(_ANSWER + data[data.index(_ASK) + len(_ASK) :], peer)


@dataclass(frozen=True)
class Attempt:
    """One attempt from a namespace to an address. ``protocol``: tcp, udp, icmp or a raw protocol's number.

    ``bind``: the source address, empty: the kernel's choice. ``size``: bytes of a datagram's payload.
    """

    namespace: Path
    address: str
    port: int = 0
    protocol: str | int = "tcp"
    bind: str = ""
    size: int = 16
    source_port: int = 0

    def answered(self, patience: float) -> bool:
        """Whether an answer came within that many seconds; refusals are answers that were not allowed."""
        try:
            match self.protocol:
                case "tcp":
                    return self._tcp(patience)
                case "icmp":
                    return self._icmp(patience)
                case _:
                    return self._datagram(patience)
        except OSError:
            return False

    @property
    def _version(self) -> int:
        return 6 if ":" in self.address else 4

    def _socket(self, kind: int, protocol: int = 0) -> socket.socket:
        made = open_socket(self.namespace, FAMILY[self._version], kind, protocol)
        if self.source_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.bind or self.source_port:
            made.bind((self.bind, self.source_port))
        return made

    def _tcp(self, patience: float) -> bool:
        with self._socket(socket.SOCK_STREAM) as client:
            client.settimeout(patience)
            client.connect((self.address, self.port))
            return bool(client.recv(100))

    def _icmp(self, patience: float) -> bool:
        protocol = socket.IPPROTO_ICMP if self._version == 4 else socket.IPPROTO_ICMPV6
        with self._socket(socket.SOCK_DGRAM, protocol) as client:
            client.settimeout(patience)
            client.connect((self.address, 0))
            client.send(struct.pack("!BBHHH", _ECHO_REQUEST[self._version], 0, 0, 0, 1) + bytes(self.size))
            return bool(client.recv(65535))

    def _datagram(self, patience: float) -> bool:
        raw = isinstance(self.protocol, int)
        kind = socket.SOCK_RAW if raw else socket.SOCK_DGRAM
        nonce = os.urandom(8) + bytes(max(0, self.size - 8))
        deadline = time.monotonic() + patience
        with self._socket(kind, int(self.protocol) if raw else 0) as client:
            client.connect((self.address, self.port))
            client.send(_ASK + nonce)
            while (left := deadline - time.monotonic()) > 0:
                client.settimeout(left)
                if (_ANSWER + nonce) in client.recv(65535):
                    return True
        return False
