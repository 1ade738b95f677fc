"""What is under way before the first policy goes on after it; what nobody answered, or is new, does not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from pyagent import abi
from pyagent.abi import Direction, FlowOrigin
from pyagent.agent.enforce import Enforcer
from pyagent.agent.state import StateDirectory
from pyagent.dataplane import conntrack
from pyagent.dataplane.seed import flow_key, seed
from tests.lab.namespace import open_socket
from tests.netns.guarded import FAMILY, NODE, PEER, Guarded, endpoint, guarded, policy
from tests.netns.two_hosts import run

SERVICE, NODE_SERVICE = 5200, 5201
SILENCE = 0.3
VERSIONS = pytest.mark.parametrize("version", [4, 6])
POD, POD_GATEWAY = "10.99.0.2", "10.99.0.1"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("state")) as made:
        yield made


@pytest.fixture
def unguarded(host: Guarded, tmp_path: Path) -> Iterator[Guarded]:
    """No generation was ever in force, no flow is known, and an agent's first pass is still to come."""
    host.lift()
    host.dataplane.map("control").set(bytes(4), bytes(abi.CONTROL.size))
    with StateDirectory(tmp_path) as state:
        yield Guarded(
            host.hosts, host.pins, host.dataplane, Enforcer("guarded", host.pins, host.dataplane, state)
        )
    host.lift()


def answers(client: socket.socket, service: socket.socket) -> bool:
    """Whether a datagram of the client arrives, and its answer."""
    service.settimeout(SILENCE)
    client.settimeout(SILENCE)
    with suppress(TimeoutError):
        client.send(b"question")
        _, sender = service.recvfrom(100)
        service.sendto(b"answer", sender)
        return client.recv(100) == b"answer"
    return False


def udp_service(stack: ExitStack, namespace: Path | None, version: int, port: int) -> socket.socket:
    family = FAMILY[version]
    made = stack.enter_context(
        open_socket(namespace, family, socket.SOCK_DGRAM)
        if namespace
        else socket.socket(family, socket.SOCK_DGRAM)
    )
    made.bind(("", port))
    return made


def udp_client(stack: ExitStack, namespace: Path | None, address: str, port: int) -> socket.socket:
    family = FAMILY[6 if ":" in address else 4]
    made = stack.enter_context(
        open_socket(namespace, family, socket.SOCK_DGRAM)
        if namespace
        else socket.socket(family, socket.SOCK_DGRAM)
    )
    made.connect((address, port))
    return made


@VERSIONS
def test_an_exchange_of_a_connected_socket_goes_on_and_a_new_one_does_not_begin(
    unguarded: Guarded, version: int
) -> None:
    with ExitStack() as stack:
        service = udp_service(stack, unguarded.peer, version, SERVICE)
        old = udp_client(stack, None, PEER[version], SERVICE)
        assert answers(old, service)
        unguarded.enforce(endpoint())
        assert answers(old, service)
        assert not answers(udp_client(stack, None, PEER[version], SERVICE), service)
        flows = unguarded.flows(f"flows{version}").values()
        assert [abi.FLOW.unpack(flow)[8] for flow in flows] == [FlowOrigin.SEEDED]
        unguarded.enforce()
        unguarded.enforce(endpoint())
        unguarded.forget()
        assert not answers(old, service), "only the first policy finds what was before it"


def test_an_ipv4_exchange_of_an_ipv6_socket_goes_on(unguarded: Guarded) -> None:
    with ExitStack() as stack:
        service = udp_service(stack, unguarded.peer, 4, SERVICE)
        client = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        client.connect((f"::ffff:{PEER[4]}", SERVICE))
        assert answers(client, service)
        unguarded.enforce(endpoint())
        assert answers(client, service)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", NODE[4]])
def test_an_exchange_of_the_host_with_itself_goes_on(unguarded: Guarded, address: str) -> None:
    with ExitStack() as stack:
        service = udp_service(stack, None, 6 if ":" in address else 4, SERVICE)
        old = udp_client(stack, None, address, SERVICE)
        assert answers(old, service)
        unguarded.enforce(endpoint("all", "*"))
        assert answers(old, service)
        assert not answers(udp_client(stack, None, address, SERVICE), service)


def test_a_flow_that_is_known_already_is_left_as_it_is(unguarded: Guarded) -> None:
    tables = unguarded.dataplane.map("flows4"), unguarded.dataplane.map("flows6")
    with ExitStack() as stack:
        client = udp_client(stack, None, PEER[4], SERVICE)
        assert seed(*tables, [NODE[4]]) == 1
        (key,) = unguarded.flows("flows4")
        assert key == flow_key(
            17,
            socket.inet_aton(NODE[4]),
            client.getsockname()[1].to_bytes(2, "big"),
            socket.inet_aton(PEER[4]),
            SERVICE.to_bytes(2, "big"),
        )
        known = abi.FLOW.pack(1, 7, 7, 0, 0, 4711, 3, Direction.INGRESS, FlowOrigin.POLICY, 0)
        tables[0].set(key, known)
        assert seed(*tables, [NODE[4]]) == 0
        assert unguarded.flows("flows4") == {key: known}


@pytest.fixture
def tracking(unguarded: Guarded) -> Iterator[Guarded]:
    """The kernel tracks connections, and a pod behind masquerading is a third host."""
    node, pod = unguarded.hosts.node, f"heppod{unguarded.hosts.node.removeprefix('hepnode')}"
    run("ip", "netns", "add", pod)
    try:
        run("ip", "-n", node, "link", "add", "cali1", "type", "veth", "peer", "name", "eth0", "netns", pod)
        for name, device, address in ((node, "cali1", POD_GATEWAY), (pod, "eth0", POD)):
            run("ip", "-n", name, "address", "add", f"{address}/24", "dev", device)
            run("ip", "-n", name, "link", "set", device, "up")
        run("ip", "-n", pod, "route", "add", "default", "via", POD_GATEWAY)
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        run("nft", "add table ip seedtest; "
            "add chain ip seedtest out { type nat hook postrouting priority 100; }; "
            f"add rule ip seedtest out ip saddr {POD}/32 masquerade; "
            "add chain ip seedtest track { type filter hook input priority 0; }; "
            "add rule ip seedtest track ct state new accept")  # fmt: skip
        yield unguarded
        run("nft", "delete table ip seedtest")
    finally:
        run("ip", "netns", "delete", pod)


def test_exchanges_that_only_conntrack_knows_go_on(tracking: Guarded) -> None:
    pod = Path("/run/netns") / tracking.hosts.node.replace("hepnode", "heppod")
    with ExitStack() as stack:
        abroad = udp_service(stack, tracking.peer, 4, SERVICE)
        here = udp_service(stack, None, 4, NODE_SERVICE)
        unanswered = udp_service(stack, None, 4, NODE_SERVICE + 1)
        of_pod = udp_client(stack, pod, PEER[4], SERVICE)
        of_peer = udp_client(stack, tracking.peer, NODE[4], NODE_SERVICE)
        ignored = udp_client(stack, tracking.peer, NODE[4], NODE_SERVICE + 1)
        assert answers(of_pod, abroad)
        assert answers(of_peer, here)
        ignored.send(b"question")
        assert unanswered.recv(100) == b"question"
        forwarding = {"applyOnForward": True, "types": ["Ingress", "Egress"], "selector": "all()"}
        tracking.enforce(endpoint(), policy(**forwarding))
        assert answers(of_pod, abroad)
        assert answers(of_peer, here)
        assert not answers(ignored, unanswered)
        assert not answers(udp_client(stack, pod, PEER[4], SERVICE), abroad)
        assert not answers(udp_client(stack, tracking.peer, NODE[4], NODE_SERVICE), here)


def test_lines_of_the_conntrack_table_are_read_as_what_is_on_the_wire() -> None:
    lines = [
        (
            "ipv4     2 udp      17 29 src=10.99.0.2 dst=192.0.2.2 sport=4000 dport=53 src=192.0.2.2 "
            "dst=192.0.2.1 sport=53 dport=61000 [ASSURED] mark=0 zone=0 use=2"
        ),
        (
            "ipv6     10 tcp      6 431999 ESTABLISHED src=2001:db8::1 dst=2001:db8::2 sport=1 dport=2 "
            "src=2001:db8::2 dst=2001:db8::1 sport=2 dport=1 [ASSURED] mark=0 use=2"
        ),
        (
            "ipv4     2 tcp      6 50 SYN_SENT src=10.99.0.2 dst=192.0.2.2 sport=4001 dport=80 [UNREPLIED] "
            "src=192.0.2.2 dst=192.0.2.1 sport=80 dport=4001 mark=0 use=2"
        ),
        (
            "ipv4     2 tcp      6 50 TIME_WAIT src=10.99.0.2 dst=192.0.2.2 sport=4002 dport=80 "
            "src=192.0.2.2 dst=192.0.2.1 sport=80 dport=4002 [ASSURED] mark=0 use=2"
        ),
        (
            "ipv4     2 icmp     1 29 src=192.0.2.1 dst=192.0.2.2 type=8 code=0 id=7 src=192.0.2.2 "
            "dst=192.0.2.1 type=0 code=0 id=7 mark=0 use=2"
        ),
        "ipv4     2 unknown  47 599 src=192.0.2.1 dst=192.0.2.2 src=192.0.2.2 dst=192.0.2.1 mark=0 use=2",
        "something else",
        "ipv4     2 udp      17 29 src=10.99.0.2",
    ]
    first, second, third = conntrack.parse(lines)
    assert (first.protocol, second.protocol, third.protocol) == (17, 6, 47)
    assert first.original.source == socket.inet_aton("10.99.0.2")
    assert (first.reply.destination, first.reply.destination_port) == (
        socket.inet_aton("192.0.2.1"),
        (61000).to_bytes(2, "big"),
    )
    assert len(second.original.destination) == 16
    assert third.original.source_port == bytes(2)
