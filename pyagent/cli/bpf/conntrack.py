"""``hepctl bpf conntrack``: the flows that were allowed."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from pyagent.bpf.pins import Pins
from pyagent.cli.node import json_option, pins_options, show_json, show_table, state_option
from pyagent.dataplane.control import Control
from pyagent.errors import UsageError
from pyagent.inspection import flows
from pyagent.inspection.flows import Flow, Wanted
from pyagent.inspection.names import Library, protocol_number
from pyagent.inspection.pinned import Pinned


@click.group(short_help="Show or change the flow table.")
def conntrack() -> None:
    """Show or change the flow table: exchanges that were allowed once, and go on without asking again."""


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that choose flows; the verb gets ``wanted``."""

    @functools.wraps(command)
    def with_wanted(
        *args: Any, protocol: str | None, address: str | None, port: int | None, by: str | None, **rest: Any
    ) -> Any:
        if address is not None:
            try:
                address = str(ip_address(address))
            except ValueError as error:
                raise UsageError(f"--address: {error}") from error
        number = None if protocol is None else protocol_number(protocol)
        return command(*args, wanted=Wanted(number, address, port, by), **rest)

    decorated: Callable[..., Any] = with_wanted
    for option in (
        click.option(
            "--by", metavar="TEXT", help="Allowed by a rule whose place has this in it, or an origin."
        ),
        click.option("--port", type=click.IntRange(0, 65535), help="With this port at either end."),
        click.option("--address", metavar="IP", help="With this address at either end."),
        click.option("--protocol", metavar="NAME", help="Of this protocol: tcp, udp, icmp, ... or a number."),
    ):
        decorated = option(decorated)
    return decorated


def _read(pinned: Pinned, state_directory: Path) -> Iterator[Flow]:
    library = Library(state_directory)
    with Control(pinned.open("control")) as control:
        rate = control.rate
        yield from flows.flows(pinned, library.newest(), control.jiffies(), rate)


@conntrack.command(short_help="Show flows.")
@_filters
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N flows.")
@json_option
@state_option
@pins_options
def dump(pins: Pins, *, state_directory: Path, form: str, wanted: Wanted, limit: int | None) -> None:
    """Show flows: their state, how long they have been idle, what they carried, and what allowed them."""
    chosen = list(itertools.islice(filter(wanted, _read(Pinned(pins), state_directory)), limit))
    chosen.sort(key=lambda flow: (flow.protocol, flow.remote, flow.local, flow.remote_port, flow.local_port))
    if form == "json":
        show_json([flow.to_json() for flow in chosen])
        return
    show_table(
        ["PROTOCOL", "FROM", "TO", "OPENED", "STATE", "IDLE", "PACKETS", "BYTES", "ALLOWED BY"],
        map(_row, chosen),
    )


def _row(flow: Flow) -> list[object]:
    shown = flow.to_json()
    state = f"{flow.state} (expired)" if flow.expired else flow.state
    return [
        shown["protocol"], *flow.ends(), shown["opened"], state, f"{flow.idle:.0f}s", flow.packets,
        flow.bytes, flow.allowed_by,
    ]  # fmt: skip


@conntrack.command(short_help="Count flows.")
@json_option
@state_option
@pins_options
def stats(pins: Pins, *, state_directory: Path, form: str) -> None:
    """Show how full the flow tables are, and of what."""
    pinned = Pinned(pins)
    found = flows.statistics(pinned, _read(pinned, state_directory))
    if form == "json":
        show_json(found)
        return
    show_table(
        ["TABLE", "ENTRIES", "SIZE", "PRESSURE"],
        (
            [name, each["entries"], each["size"], f"{each['entries'] / each['size']:.1%}"]
            for name, each in found["tables"].items()
        ),
    )
    click.echo()
    rows = [
        [heading, name, count]
        for heading, what in (("protocol", "protocols"), ("state", "states"), ("allowed by", "allowedBy"))
        for name, count in found[what].items()
    ]
    show_table(["COUNTED", "IS", "FLOWS"], [*rows, ["idle too long", "expired", found["expired"]]])


@conntrack.command(short_help="Forget flows.")
@_filters
@click.option("--all", "everything", is_flag=True, help="Forget all flows.")
@state_option
@pins_options
def remove(pins: Pins, *, state_directory: Path, wanted: Wanted, everything: bool) -> None:
    """Forget flows: their next packet is judged by policy again. A TCP connection that this host has a socket
    for goes on all the same."""
    if wanted.everything != everything:
        raise UsageError("say which flows (--protocol, --address, --port, --by), or --all of them")
    pinned = Pinned(pins)
    removed = flows.remove(pinned, list(filter(wanted, _read(pinned, state_directory))))
    click.echo(f"forgot {removed} flows")


@conntrack.command(short_help="Forget flows that are idle for too long.")
@state_option
@pins_options
def clean(pins: Pins, *, state_directory: Path) -> None:
    """Forget flows that have been idle for longer than they count. They would be evicted anyhow when the
    table is full."""
    pinned = Pinned(pins)
    expired = [flow for flow in _read(pinned, state_directory) if flow.expired]
    click.echo(f"forgot {flows.remove(pinned, expired)} flows")
