"""The kernel's sockets are what the firewall knows of TCP: connections outlive what happens to its tables.

Each case ends with the flow tables emptied, so that only the socket table can answer.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from pyagent.abi import Direction, Reason
from tests.lab.namespace import open_socket
from tests.netns.guarded import (
    ACK,
    FAMILY,
    FIN,
    FRAMES,
    NODE,
    PEER,
    PSH,
    RST,
    SYN,
    Frames,
    Guarded,
    endpoint,
    guarded,
    listen,
)

PORT = 5100
COUNT = 75  # connections of each kind: either opener, either version
SILENCE = 0.3  # seconds after which nothing comes any more; answers take less than a millisecond here
START = 1_000_000  # a sequence number to begin with
COOKIES = Path("/proc/sys/net/ipv4/tcp_syncookies")
VERSIONS = pytest.mark.parametrize("version", [4, 6])


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("state")) as made:
        yield made


@pytest.fixture(autouse=True)
def lifted(host: Guarded) -> Iterator[None]:
    """Each test begins with nothing judged."""
    host.lift()
    yield
    host.lift()


@pytest.fixture
def frames(host: Guarded, version: int) -> Iterator[Frames]:
    made = Frames(host, version)
    yield made
    made.close()


def lock(host: Guarded) -> None:
    """Deny everything, and know of nothing."""
    host.enforce(endpoint())
    host.forget()


@dataclass(frozen=True)
class Pair:
    """Both ends of a connection: the guarded host's, the neighbour's."""

    node: socket.socket
    peer: socket.socket

    def talk(self) -> None:
        """A message each way; TimeoutError if one does not arrive."""
        for sender, receiver in ((self.node, self.peer), (self.peer, self.node)):
            sender.sendall(b"hello")
            assert receiver.recv(5) == b"hello"

    def retransmissions(self) -> int:
        """How many segments had to be sent again by either end."""
        return sum(
            struct.unpack_from("=24I", end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 8)[23]
            for end in (self.node, self.peer)
        )


def connect(stack: ExitStack, host: Guarded, version: int, *, by_node: bool, port: int = PORT) -> Pair:
    """Open a connection between the hosts; it is closed with ``stack``."""
    listener = stack.enter_context(listen(version, port, host.peer if by_node else None))
    return connect_to(stack, host, listener, version, by_node=by_node)


def connect_to(
    stack: ExitStack, host: Guarded, listener: socket.socket, version: int, *, by_node: bool
) -> Pair:
    family = FAMILY[version]
    client = stack.enter_context(
        socket.socket(family) if by_node else open_socket(host.peer, family, socket.SOCK_STREAM)
    )
    client.settimeout(3)
    client.connect(((PEER if by_node else NODE)[version], listener.getsockname()[1]))
    server = stack.enter_context(listener.accept()[0])
    server.settimeout(3)
    return Pair(client, server) if by_node else Pair(server, client)


def connects(namespace: Path | None, address: str, port: int, patience: float = SILENCE) -> bool:
    """Whether a new connection can be opened."""
    family = FAMILY[6 if ":" in address else 4]
    made = open_socket(namespace, family, socket.SOCK_STREAM) if namespace else socket.socket(family)
    with made as client:
        client.settimeout(patience)
        try:
            client.connect((address, port))
        except TimeoutError:
            return False
        return True


def test_connections_outlive_default_deny_emptied_tables_and_new_programs(host: Guarded) -> None:
    with ExitStack() as stack:
        pairs = []
        for version in (4, 6):
            for by_node in (False, True):
                namespace = host.peer if by_node else None
                listener = stack.enter_context(listen(version, PORT + by_node, namespace))
                pairs += [connect_to(stack, host, listener, version, by_node=by_node) for _ in range(COUNT)]
        host.enforce(endpoint())
        for pair in pairs:
            pair.talk()
        for _ in range(10):
            host.forget()
            for pair in pairs:
                pair.talk()
        host.replace_programs()
        host.enforce(endpoint())
        host.forget()
        for pair in reversed(pairs):
            pair.talk()
        assert sum(pair.retransmissions() for pair in pairs) == 0
    assert host.count(Reason.SOCKET, Direction.EGRESS) > 11 * COUNT


def test_packets_that_come_in_first_are_known_by_their_socket_too(host: Guarded) -> None:
    with ExitStack() as stack:
        pair = connect(stack, host, 4, by_node=False)
        lock(host)
        before = host.count(Reason.SOCKET, Direction.INGRESS)
        pair.peer.sendall(b"first")
        assert pair.node.recv(5) == b"first"
        assert host.count(Reason.SOCKET, Direction.INGRESS) == before + 1


@VERSIONS
def test_new_connections_are_refused_both_ways_while_old_ones_go_on(host: Guarded, version: int) -> None:
    with ExitStack() as stack:
        inward = connect(stack, host, version, by_node=False)
        outward = connect(stack, host, version, by_node=True, port=PORT + 1)
        lock(host)
        assert not connects(host.peer, NODE[version], PORT)
        assert not connects(None, PEER[version], PORT + 1)
        inward.talk()
        outward.talk()
        host.lift()
        assert connects(host.peer, NODE[version], PORT)
        assert connects(None, PEER[version], PORT + 1)


def shake_hands(frames: Frames, source_port: int, port: int) -> int:
    """Open a connection by hand; returns the sequence number expected next from the guarded host."""
    frames.send(source_port, port, SYN, START)
    answer = frames.receive(source_port)
    assert answer is not None
    assert answer.flags == SYN | ACK
    frames.send(source_port, port, ACK, START + 1, answer.sequence + 1)
    return answer.sequence + 1


@VERSIONS
def test_a_connection_in_time_wait_still_answers_but_opens_no_new_one(
    host: Guarded, frames: Frames, version: int
) -> None:
    with listen(version, PORT) as listener:
        expected = shake_hands(frames, 40001, PORT)
        listener.accept()[0].close()
        last = frames.receive(40001)
        assert last is not None
        assert last.flags & FIN
        frames.send(40001, PORT, FIN | ACK, START + 1, expected + 1)
        answer = frames.receive(40001)
        assert answer is not None
        assert answer.flags == ACK
        lock(host)
        frames.send(40001, PORT, FIN | ACK, START + 1, expected + 1)
        answer = frames.receive(40001)
        assert answer is not None, "our last ACK was lost, so it is asked for again"
        assert answer.flags == ACK
        frames.send(40001, PORT, SYN, START + 10_000_000)
        assert frames.receive(40001, SILENCE) is None, "a new connection is policy's business"
        host.lift()
        frames.send(40001, PORT, SYN, START + 20_000_000)
        reopened = frames.receive(40001)
        assert reopened is not None
        assert reopened.flags == SYN | ACK


@VERSIONS
def test_a_forged_ack_to_a_listening_or_closed_port_is_dropped(
    host: Guarded, frames: Frames, version: int
) -> None:
    with listen(version, PORT):
        for port in (PORT, PORT + 7):
            frames.send(40002, port, ACK, START, 4711)
            answer = frames.receive(40002)
            assert answer is not None, "without a firewall the kernel answers"
            assert answer.flags & RST
        lock(host)
        for port in (PORT, PORT + 7):
            for flags in (ACK, ACK | PSH, FIN | ACK, RST, SYN | ACK):
                frames.send(40002, port, flags, START, 4711)
        assert frames.receive(40002, SILENCE) is None
        assert host.flows(f"flows{version}") == {}


@VERSIONS
def test_a_handshake_under_way_when_default_deny_comes_is_completed(
    host: Guarded, frames: Frames, version: int
) -> None:
    with listen(version, PORT) as listener:
        frames.send(40003, PORT, SYN, START)
        answer = frames.receive(40003)
        assert answer is not None
        lock(host)
        frames.send(40003, PORT, ACK, START + 1, answer.sequence + 1)
        with listener.accept()[0] as server:
            frames.send(40003, PORT, PSH | ACK, START + 1, answer.sequence + 1, payload=b"hello")
            server.settimeout(3)
            assert server.recv(5) == b"hello"


@VERSIONS
def test_a_handshake_by_syn_cookie_is_completed_and_a_forged_cookie_is_not(
    host: Guarded, frames: Frames, version: int
) -> None:
    before = COOKIES.read_text()
    COOKIES.write_text("2")  # always, not only under a flood
    try:
        with listen(version, PORT) as listener:
            frames.send(40004, PORT, SYN, START)
            answer = frames.receive(40004)
            assert answer is not None
            lock(host)
            cookies = host.count(Reason.SYNCOOKIE, Direction.INGRESS)
            frames.send(40004, PORT, ACK, START + 1, answer.sequence + 4711)
            listener.settimeout(SILENCE)
            with pytest.raises(TimeoutError):
                listener.accept()
            assert host.count(Reason.SYNCOOKIE, Direction.INGRESS) == cookies
            frames.send(40004, PORT, PSH | ACK, START + 1, answer.sequence + 1, payload=b"hello")
            with listener.accept()[0] as server:
                server.settimeout(3)
                assert server.recv(5) == b"hello"
            assert host.count(Reason.SYNCOOKIE, Direction.INGRESS) == cookies + 1
    finally:
        COOKIES.write_text(before)


@VERSIONS
def test_a_connection_opened_from_both_sides_at_once_is_completed(
    host: Guarded, frames: Frames, version: int
) -> None:
    with socket.socket(FAMILY[version]) as client:
        client.bind(("", 40105 + version))
        client.setblocking(False)
        begin(client, version, 40005)
        asked = frames.receive(40005)
        assert asked is not None
        assert asked.flags == SYN
        port = 40105 + version
        frames.send(40005, port, SYN, START)
        answer = frames.receive(40005)
        assert answer is not None
        assert answer.flags == SYN | ACK
        lock(host)
        frames.send(40005, port, ACK, START + 1, asked.sequence + 1)
        client.settimeout(3)
        frames.send(40005, port, PSH | ACK, START + 1, asked.sequence + 1, payload=b"hello")
        assert client.recv(5) == b"hello"


@VERSIONS
def test_an_attempt_of_this_host_that_policy_denies_is_not_completed_by_an_answer(
    host: Guarded, frames: Frames, version: int
) -> None:
    with socket.socket(FAMILY[version]) as client:
        client.bind(("", 40206 + version))
        client.setblocking(False)
        begin(client, version, 40006)
        asked = frames.receive(40006)
        assert asked is not None
        lock(host)
        frames.send(40006, 40206 + version, SYN | ACK, START, asked.sequence + 1)
        assert frames.receive(40006, SILENCE) is None, "connect() alone proves nothing"
        host.lift()
        frames.send(40006, 40206 + version, SYN | ACK, START, asked.sequence + 1)
        done = frames.receive(40006)
        while done is not None and done.flags == SYN:  # sent again meanwhile
            done = frames.receive(40006)
        assert done is not None
        assert done.flags == ACK


def begin(client: socket.socket, version: int, port: int) -> None:
    """Begin to connect to the host of frames, which does not answer by itself."""
    with pytest.raises(BlockingIOError):
        client.connect((FRAMES[version], port))


@VERSIONS
def test_connections_to_several_listeners_on_one_port_go_on(host: Guarded, version: int) -> None:
    with ExitStack() as stack:
        listeners = [stack.enter_context(listen(version, PORT, reuse=True)) for _ in range(4)]
        for listener in listeners:
            listener.setblocking(False)
        ends: list[socket.socket] = []
        clients = []
        for _ in range(24):
            client = stack.enter_context(open_socket(host.peer, FAMILY[version], socket.SOCK_STREAM))
            client.settimeout(3)
            client.connect((NODE[version], PORT))
            clients.append(client)
        counts = []
        for listener in listeners:
            taken = len(ends)
            while True:
                try:
                    ends.append(stack.enter_context(listener.accept()[0]))
                except BlockingIOError:
                    break
            counts.append(len(ends) - taken)
        assert sum(counts) == len(clients)
        assert sum(1 for count in counts if count) > 1, "the kernel spreads them"
        lock(host)
        for client in clients:
            client.sendall(b"hello")
        for end in ends:
            end.settimeout(3)
            assert end.recv(5) == b"hello"
            end.sendall(b"there")
        assert [client.recv(5) for client in clients] == [b"there"] * len(clients)


def test_ipv4_connections_of_ipv6_sockets_go_on(host: Guarded) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_INET6))
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("::", PORT + 30))
        listener.listen()
        listener.settimeout(3)
        inward = connect_to(stack, host, listener, 4, by_node=False)
        abroad = stack.enter_context(listen(4, PORT + 1, host.peer))
        client = stack.enter_context(socket.socket(socket.AF_INET6))
        client.settimeout(3)
        client.connect((f"::ffff:{PEER[4]}", PORT + 1))
        outward = Pair(client, stack.enter_context(abroad.accept()[0]))
        lock(host)
        for pair in (inward, outward):
            pair.talk()
            host.forget()
            pair.peer.sendall(b"first")
            assert pair.node.recv(5) == b"first"
        assert host.count(Reason.SOCKET, Direction.INGRESS) >= 2


@VERSIONS
def test_the_peer_of_an_aborted_connection_is_told(host: Guarded, version: int) -> None:
    with ExitStack() as stack:
        pair = connect(stack, host, version, by_node=False)
        lock(host)
        pair.node.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        begun = time.monotonic()
        pair.node.close()
        with pytest.raises(ConnectionResetError) as reset:
            pair.peer.recv(1)
        assert reset.value.errno == errno.ECONNRESET
        assert time.monotonic() - begun < 1


@VERSIONS
def test_a_connection_is_closed_properly_by_either_side(host: Guarded, version: int) -> None:
    with ExitStack() as stack:
        for number, node_first in enumerate((True, False)):
            pair = connect(stack, host, version, by_node=False, port=PORT + 20 + number)
            lock(host)
            first, second = (pair.node, pair.peer) if node_first else (pair.peer, pair.node)
            first.shutdown(socket.SHUT_WR)
            assert second.recv(1) == b""
            host.forget()
            second.sendall(b"bye")  # half closed: the other way still works
            assert first.recv(3) == b"bye"
            host.forget()
            second.shutdown(socket.SHUT_WR)
            assert first.recv(1) == b""
            host.lift()
