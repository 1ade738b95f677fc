"""One attempt to get through, from a namespace to an address, by TCP, UDP or ICMP echo."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from tests.lab.namespace import open_socket

ECHO_REQUEST = {4: 8, 6: 128}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass(frozen=True, slots=True)
class Outcome:
    """``how``: answered, timeout, refused or another errno's name. ``peer``: whom the other side saw."""

    how: str
    peer: str = ""
    seconds: float = 0.0

    @property
    def reached(self) -> bool:
        """An answer came back."""
        return self.how == "answered"

    def __str__(self) -> str:
        return f"{self.how} (seen as {self.peer})" if self.peer else self.how


async def attempt(namespace: Path, address: str, port: int, protocol: str, patience: float) -> Outcome:
    """Ask a lab service (tcp, udp), a web server or a host (icmp); ``patience`` is in seconds."""
    started = time.monotonic()
    how, peer = "answered", ""
    try:
        async with asyncio.timeout(patience):
            peer = await _PROTOCOLS[protocol](namespace, address, port)
    except TimeoutError:
        how = "timeout"
    except ConnectionRefusedError:
        how = "refused"
    except OSError as error:
        how = errno.errorcode.get(error.errno or 0, str(error))
    return Outcome(how, peer, time.monotonic() - started)


def _family(address: str) -> int:
    return 6 if ":" in address else 4


def _socket(namespace: Path, address: str, kind: int, protocol: int = 0) -> socket.socket:
    """A socket for asyncio."""
    made = open_socket(namespace, FAMILY[_family(address)], kind, protocol)
    made.setblocking(False)
    return made


async def _tcp(namespace: Path, address: str, port: int) -> str:
    with _socket(namespace, address, socket.SOCK_STREAM) as client:
        await asyncio.get_running_loop().sock_connect(client, (address, port))
        return await ask(client)


async def ask(client: socket.socket) -> str:
    """Say something over a connection to a lab service; whom the service sees as its peer."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, b"hello\n")
    answer = await loop.sock_recv(client, 200)
    if not answer:
        raise ConnectionResetError(errno.ECONNRESET, "closed by the other side")
    return answer.decode().split()[0]


async def _udp(namespace: Path, address: str, port: int) -> str:
    loop = asyncio.get_running_loop()
    with _socket(namespace, address, socket.SOCK_DGRAM) as client:
        client.connect((address, port))  # of a datagram socket: nothing to wait for
        await loop.sock_sendall(client, b"hello\n")
        return (await loop.sock_recv(client, 200)).decode().split()[0]


async def _web(namespace: Path, address: str, port: int) -> str:
    """A page from a web server; who asked is in the server's log only."""
    loop = asyncio.get_running_loop()
    with _socket(namespace, address, socket.SOCK_STREAM) as client:
        await loop.sock_connect(client, (address, port))
        await loop.sock_sendall(client, b"GET / HTTP/1.0\r\n\r\n")
        if not (await loop.sock_recv(client, 200)).startswith(b"HTTP/1.0 200"):
            raise ConnectionAbortedError(errno.ECONNABORTED, "not a web page")
        return ""


async def _icmp(namespace: Path, address: str, _port: int) -> str:
    loop = asyncio.get_running_loop()
    family = _family(address)
    protocol = socket.IPPROTO_ICMP if family == 4 else socket.IPPROTO_ICMPV6
    with _socket(namespace, address, socket.SOCK_DGRAM, protocol) as client:
        client.connect((address, 0))
        # A ping socket: the kernel fills in identifier and checksum and hands us our own replies only.
        await loop.sock_sendall(client, struct.pack("!BBHHH", ECHO_REQUEST[family], 0, 0, 0, 1) + b"hello")
        await loop.sock_recv(client, 200)
        return ""


_PROTOCOLS = {"tcp": _tcp, "udp": _udp, "icmp": _icmp, "web": _web}


class Connection:
    """A TCP connection to a lab service that is kept open over several steps."""

    def __init__(self, namespace: Path, address: str, port: int, timeout: float = 3.0) -> None:
        self._socket = open_socket(namespace, FAMILY[_family(address)], socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect((address, port))
        except OSError:
            self._socket.close()
            raise

    def ask(self) -> Outcome:
        """Say something; is the other side still there? A lost packet shows as seconds of retransmission."""
        started = time.monotonic()
        try:
            self._socket.sendall(b"hello\n")
            answer = self._socket.recv(200)
        except TimeoutError:
            return Outcome("timeout", "", time.monotonic() - started)
        except OSError as error:
            return Outcome(errno.errorcode.get(error.errno or 0, str(error)), "", time.monotonic() - started)
        if not answer:
            return Outcome("closed", "", time.monotonic() - started)
        return Outcome("answered", answer.decode().split()[0], time.monotonic() - started)

    def retransmissions(self) -> int:
        """How many segments this side has had to send again: each is a packet that got lost."""
        # struct tcp_info (linux/tcp.h): eight u8, then u32; tcpi_total_retrans is the 24th of these.
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        total: int = struct.unpack_from("=24I", info, 8)[23]
        return total

    def close(self) -> None:
        """Close it."""
        self._socket.close()
