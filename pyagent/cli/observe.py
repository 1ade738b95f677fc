"""``hepctl observe``: the events of this node's firewall as they happen."""

from __future__ import annotations

import functools
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click

from pyagent.abi import Direction, EventKind, Reason
from pyagent.bpf.pins import Pins
from pyagent.cli.node import Duration, json_option, pins_options, state_option
from pyagent.errors import UsageError
from pyagent.inspection.chosen import Chosen
from pyagent.inspection.events import Event
from pyagent.inspection.interfaces import index_of
from pyagent.inspection.names import protocol_number
from pyagent.inspection.observe import WINDOW_S, Observer

_LONGEST = timedelta(days=365)
_VERDICTS = {"allow": "Allow", "deny": "Deny"}


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that choose events; the verb gets ``chosen``."""

    @functools.wraps(command)
    def with_chosen(
        *args: Any,
        verdict: str | None,
        direction: str | None,
        interface: str,
        reason: str | None,
        protocol: str | None,
        peer: str | None,
        port: int | None,
        by: str,
        **rest: Any,
    ) -> Any:
        try:
            network = None if peer is None else ip_network(peer)
        except ValueError as error:
            raise UsageError(f"--peer: {error}") from error
        chosen = Chosen(
            verdict=_VERDICTS[verdict] if verdict else "",
            direction=Direction[direction.upper()] if direction else None,
            interface=interface,
            reason=reason or "",
            protocol=None if protocol is None else protocol_number(protocol),
            peer=network,
            port=port,
            by=by,
        )
        return command(*args, chosen=chosen, **rest)

    decorated: Callable[..., Any] = with_chosen
    for option in (
        click.option("--by", default="", metavar="TEXT", help="Decided or logged by a rule with this in it."),
        click.option("--port", type=click.IntRange(0, 65535), help="With this port at either end."),
        click.option("--peer", metavar="NET", help="With an address of this network at either end."),
        click.option("--protocol", metavar="NAME", help="Of this protocol: tcp, udp, icmp, ... or a number."),
        click.option(
            "--reason", type=click.Choice([each.name.lower() for each in Reason]), help="For this reason."
        ),
        click.option("--interface", default="", metavar="NAME", help="At this interface."),
        click.option(
            "--direction", type=click.Choice(["ingress", "egress"]), help="Going in or out of the host."
        ),
        click.option("--verdict", type=click.Choice(list(_VERDICTS)), help="That passed, or were dropped."),
    ):
        decorated = option(decorated)
    return decorated


@click.command(short_help="Show packets that Log rules match, and dropped packets.")
@click.option("--log", "logged", is_flag=True, help="Only packets that a Log rule matched.")
@click.option("--denied", is_flag=True, help="Only packets that were dropped.")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Show the last N events, and end.")
@click.option(
    "--for", "duration", type=Duration(_LONGEST), metavar="TIME", help="End after so long (30s, 5m)."
)
@_filters
@json_option
@state_option
@pins_options
def observe(
    pins: Pins,
    *,
    state_directory: Path,
    form: str,
    chosen: Chosen,
    logged: bool,
    denied: bool,
    last: int | None,
    duration: timedelta | None,
) -> None:
    """Show the events of this node's firewall until interrupted: packets that a Log rule matched, and packets
    that were dropped, each with the rules that say so.

    Dropped packets are reported only while somebody observes them. A CPU reports at most 500 packets a
    second; how many more there were is told on standard error. An event is shown once, to one observer.
    Options that choose events all have to hold. Needs root.
    """
    if chosen.interface:
        index_of(chosen.interface)
    printer = _Printer(form, chosen, logged=logged, denied=denied)
    with Observer(pins, state_directory, drops=last is None and (denied or not logged)) as observer:
        if observer.library.problem:
            click.echo(f"rules are shown as numbers: {observer.library.problem}", err=True)
        if last is not None:
            printer.show(deque(filter(printer.wanted, _held(observer)), maxlen=last))
        else:
            _follow(observer, printer, duration)


def _held(observer: Observer) -> Iterable[Event]:
    while events := observer.read():
        yield from events


def _follow(observer: Observer, printer: _Printer, duration: timedelta | None) -> None:
    end = time.monotonic() + duration.total_seconds() if duration else float("inf")
    refreshed = time.monotonic()
    while (now := time.monotonic()) < end:
        if now - refreshed > WINDOW_S / 3:
            observer.refresh()
            refreshed = now
        observer.wait(min(1.0, end - now))
        printer.show(filter(printer.wanted, _held(observer)))
        if lost := observer.lost():
            click.echo(f"{lost} events left out: more than 500 a second on a CPU", err=True)


class _Printer:
    """Prints what is asked for."""

    def __init__(self, form: str, chosen: Chosen, *, logged: bool, denied: bool) -> None:
        self._json = form == "json"
        self._chosen = chosen
        self._logged, self._denied = logged or not denied, denied or not logged

    def wanted(self, event: Event) -> bool:
        """Whether the event is of a kind that was asked for."""
        of_kind = (self._logged and event.kind is EventKind.LOG) or (self._denied and event.dropped)
        return of_kind and self._chosen(event)

    def show(self, events: Iterable[Event]) -> None:
        """Print events, one a line."""
        for event in events:
            click.echo(json.dumps(event.to_json(), sort_keys=True) if self._json else str(event))
        sys.stdout.flush()
