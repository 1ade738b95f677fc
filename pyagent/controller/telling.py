"""The controller with its metrics and health beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from pyagent.controller.loop import RESYNC_S, run
from pyagent.controller.meters import Meters
from pyagent.datastore import Datastore
from pyagent.telemetry import Family, Kind, Page, Telemetry, health, metrics
from pyagent.telemetry.address import Address


async def serve(datastore: Datastore, address: Address | None, resync: float = RESYNC_S) -> None:
    """``run``, with its pages at ``address`` (None: nowhere)."""
    meters = Meters()
    if address is None:
        await run(datastore, resync, meters=meters)
        return
    pages = asyncio.create_task(Telemetry(address, pages_of(datastore, meters)).serve())
    try:
        await run(datastore, resync, meters=meters)
    finally:
        pages.cancel()
        await asyncio.gather(pages, return_exceptions=True)


def pages_of(datastore: Datastore, meters: Meters) -> Mapping[str, Page]:
    """What is served. Alive is who answers at all; ready is who hears of the datastore, if it leads."""

    def families() -> Iterator[Family]:
        yield from meters.families()
        yield Family("autohep_api_connected", Kind.GAUGE, "1 while every watch is up to date.").add(
            int(_is_connected(datastore))
        )
        silence: float = getattr(datastore, "staleness", 0.0)
        yield Family(
            "autohep_api_staleness_seconds", Kind.GAUGE, "Time since the API server was last heard of."
        ).add(silence)

    return {
        "/metrics": metrics(families),
        "/livez": health(lambda: ""),
        "/readyz": health(lambda: "" if _is_connected(datastore) else "the datastore is away"),
    }


def _is_connected(datastore: Datastore) -> bool:
    connected: bool = getattr(datastore, "connected", True)
    return connected
