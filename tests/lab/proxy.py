"""Brings an API server into the nodes' namespaces: ``python -m tests.lab.proxy PREFIX HOST PORT``.

It listens on 127.0.0.1 of each node and connects from where it was started itself. So agents reach a server
that only this machine reaches, and no interface is made or changed for it. Prints ``ready`` once it listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from typing import Final

from tests.lab.namespace import open_socket
from tests.lab.network import Network
from tests.lab.topology import NODES

#: Where agents find the server; none of the lab's services is there.
PORT: Final = 16443
_CHUNK: Final = 65536


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    writer.close()


async def serve(prefix: str, host: str, port: int) -> None:
    """Everything, for ever."""

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, server_writer), _copy(server_reader, writer))

    network = Network(prefix)
    for node in NODES:
        listening = open_socket(network.path(node.name), socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", PORT))
        listening.setblocking(False)
        await asyncio.start_server(forward, sock=listening)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
