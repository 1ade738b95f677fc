"""Continuous traffic of three kinds, counted exactly: allowed and denied datagrams, connections kept busy."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.lab.namespace import enter, open_socket
from tests.netns.two_hosts import NODE_ADDRESS, PEER_ADDRESS

SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h; Python has no name for it
#: Both hosts have services on all of these; policy allows the first and denies the second, either way.
ALLOWED, DENIED, CONNECTIONS = 5401, 5402, 5403
#: A TCP port of the node that policy allows and that is flooded.
FLOODED: Final = 5405
PAUSE: Final = 0.002  # seconds between a sender's datagrams: load, but nothing that fills a receive buffer
_SILENCE: Final = 0.3  # seconds after which nothing is under way any more
_LOST_AFTER: Final = 5.0  # seconds without an answer after which a connection counts as lost


@dataclass(frozen=True)
class Counted:
    """What became of the traffic of one fault."""

    sent: int
    wrongly_passed: int
    wrongly_dropped: int
    connections: int
    connections_lost: int

    @property
    def clean(self) -> bool:
        """Nothing went wrong, and there was enough traffic to tell."""
        return not (self.wrongly_passed or self.wrongly_dropped or self.connections_lost) and self.sent > 500


class Connections:
    """TCP connections between the hosts, half of them opened by each; they outlive the faults."""

    def __init__(self, peer: Path, count: int, idle: int = 0) -> None:
        """``idle``: so many more, whose other ends are in processes of their own that echo.

        One process may have too few descriptors for both ends of thousands.
        """
        self._stack = ExitStack()
        self.pairs: list[tuple[socket.socket, socket.socket | None]] = []
        self._make(peer, count)
        if idle:
            self._make(peer, idle, echo=True)

    def _make(self, peer: Path, count: int, *, echo: bool = False) -> None:
        node = socket.socket()
        for listener, address, client_at in (
            (node, NODE_ADDRESS, peer),
            (open_socket(peer, socket.AF_INET, socket.SOCK_STREAM), PEER_ADDRESS, None),
        ):
            with listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((address, CONNECTIONS))
                listener.listen(count)
                if echo:
                    self._stack.callback(_end, _start_echo(listener, count // 2))
                for _ in range(count // 2):
                    self._open(listener, address, client_at, echo)

    def _open(self, listener: socket.socket, address: str, client_at: Path | None, echo: bool) -> None:
        client = open_socket(client_at, socket.AF_INET, socket.SOCK_STREAM) if client_at else socket.socket()
        self._stack.enter_context(client)
        client.connect((address, CONNECTIONS))
        client.settimeout(_LOST_AFTER)
        server = None
        if not echo:
            server = self._stack.enter_context(listener.accept()[0])
            server.settimeout(_LOST_AFTER)
        self.pairs.append((client, server))

    def talk(self, number: int) -> bool:
        """A message each way over one connection; False: it is lost."""
        client, server = self.pairs[number]
        ways = ((client, server), (server, client)) if server else ((client, client),)
        try:
            for sender, receiver in ways:
                sender.sendall(b"hello")
                if receiver.recv(5) != b"hello":
                    return False
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close them all."""
        self._stack.close()


def _start_echo(listener: socket.socket, count: int) -> int:
    """Accept ``count`` connections in a process of its own and send back what they say; its pid."""
    child = os.fork()
    if not child:
        try:
            _echo(listener, count)
        finally:
            os._exit(0)
    return child


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _echo(listener: socket.socket, count: int) -> None:
    with selectors.DefaultSelector() as selector:
        for _ in range(count):
            selector.register(listener.accept()[0], selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                end = key.fileobj
                assert isinstance(end, socket.socket)
                if said := end.recv(64):
                    end.sendall(said)
                else:
                    selector.unregister(end)
                    end.close()


class Load:
    """Sends and receives while the block runs; afterwards :meth:`counted` tells what became of it."""

    def __init__(
        self, peer: Path, connections: Connections, pause: float = PAUSE, active: int | None = None
    ) -> None:
        """``pause``: seconds between a sender's datagrams, and between two messages.

        ``active``: only so many of the connections talk, the others are idle until the end, and there are
        no datagrams.
        """
        self._active = active or len(connections.pairs)
        self._datagrams = active is None
        self._peer = peer
        self._connections = connections
        self._pause = pause
        self._stop, self._drained = threading.Event(), threading.Event()
        self._sent: Counter[tuple[str, int]] = Counter()
        self._arrived: Counter[tuple[str, int]] = Counter()
        self._messages = 0
        self._lost: set[int] = set()

    def __enter__(self) -> Self:
        places = ((NODE_ADDRESS, None, self._peer), (PEER_ADDRESS, self._peer, None))
        self._receivers = [
            threading.Thread(target=self._receive, args=(self._bound(at, address, port), address, port))
            for address, at, _ in places
            for port in (ALLOWED, DENIED)
        ]
        self._senders = [
            threading.Thread(target=self._send, args=(address, source))
            for address, _, source in places
            if self._datagrams
        ]
        self._senders.append(threading.Thread(target=self._talk))
        for thread in (*self._receivers, *self._senders):
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._senders:
            thread.join()
        time.sleep(_SILENCE)
        self._drained.set()
        for thread in self._receivers:
            thread.join()

    def counted(self) -> Counted:
        """After the block: each connection is asked once more, then everything is counted."""
        for number in range(len(self._connections.pairs)):
            if number not in self._lost and not self._connections.talk(number):
                self._lost.add(number)
        places = (NODE_ADDRESS, PEER_ADDRESS)
        dropped = [self._sent[place, ALLOWED] - self._arrived[place, ALLOWED] for place in places]
        return Counted(
            sent=sum(self._sent.values()) + 2 * self._messages,
            wrongly_passed=sum(self._arrived[place, DENIED] for place in places),
            wrongly_dropped=sum(dropped),
            connections=len(self._connections.pairs),
            connections_lost=len(self._lost),
        )

    @staticmethod
    def _bound(at: Path | None, address: str, port: int) -> socket.socket:
        made = open_socket(at, socket.AF_INET, socket.SOCK_DGRAM) if at else _datagrams()
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        made.bind((address, port))
        made.settimeout(0.1)
        return made

    def _receive(self, receiver: socket.socket, address: str, port: int) -> None:
        with receiver:
            while True:
                try:
                    receiver.recv(16)
                except TimeoutError:
                    if self._drained.is_set():
                        return
                    continue
                self._arrived[address, port] += 1

    def _send(self, address: str, source: Path | None) -> None:
        if source:
            enter(source)
        while not self._stop.is_set():
            # A fresh port each time: what is no known flow is judged by policy.
            with _datagrams() as sender:
                for port in (ALLOWED, DENIED):
                    try:
                        sender.sendto(b"x", (address, port))
                    except OSError:
                        if port == ALLOWED:
                            self._sent[address, port] += 1  # refused on the way out: sent, and dropped
                        continue
                    self._sent[address, port] += 1
            time.sleep(self._pause)

    def _talk(self) -> None:
        number = 0
        while not self._stop.is_set():
            number = (number + 1) % self._active
            if number in self._lost:
                continue
            if self._connections.talk(number):
                self._messages += 1
            else:
                self._lost.add(number)
            time.sleep(self._pause)


def _datagrams() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
