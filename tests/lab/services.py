"""The lab's services: one process that answers on every machine's ports, each socket in its own namespace.

To each line (TCP) or datagram (UDP) it answers with the address it sees as its peer and what it was told; so
a client learns whether it was masqueraded. Run as ``python -m tests.lab.services PREFIX``; prints ``ready``
once everything listens.
"""

from __future__ import annotations

import asyncio
import socket
import sys

from tests.lab.namespace import open_socket
from tests.lab.network import Network
from tests.lab.topology import MACHINES


def plain(address: str) -> str:
    """An IPv4 peer of a dual-stack socket, written as IPv4."""
    return address.removeprefix("::ffff:")


async def serve_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer line by line until the other side closes."""
    peer = plain(writer.get_extra_info("peername")[0])
    try:
        while line := await reader.readline():
            writer.write(f"{peer} {line.decode(errors='replace')}".encode())
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


class UdpService(asyncio.DatagramProtocol):
    """Answers each datagram."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """Keep the transport to answer by."""
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Say who asked."""
        self.transport.sendto(f"{plain(addr[0])} ".encode() + data, addr)


def listening(network: Network, machine: str, kind: int, port: int) -> socket.socket:
    """A dual-stack socket bound to a port of a machine."""
    made = open_socket(network.path(machine), socket.AF_INET6, kind)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("::", port))
    made.setblocking(False)
    return made


async def serve(prefix: str) -> None:
    """Everything, for ever."""
    network = Network(prefix)
    loop = asyncio.get_running_loop()
    for machine in MACHINES.values():
        for port in machine.tcp:
            await asyncio.start_server(
                serve_tcp, sock=listening(network, machine.name, socket.SOCK_STREAM, port)
            )
        for port in machine.udp:
            bound = listening(network, machine.name, socket.SOCK_DGRAM, port)
            await loop.create_datagram_endpoint(UdpService, sock=bound)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
