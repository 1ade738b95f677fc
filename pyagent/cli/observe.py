"""``hepctl observe``: the events of this node's firewall as they happen."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import click

from pyagent.abi import EventKind
from pyagent.bpf.pins import Pins
from pyagent.cli.node import Duration, json_option, pins_options, state_option
from pyagent.inspection.events import Event
from pyagent.inspection.observe import WINDOW_S, Observer

_LONGEST = timedelta(days=365)


@click.command(short_help="Show packets that Log rules match, and dropped packets.")
@click.option("--log", "logged", is_flag=True, help="Only packets that a Log rule matched.")
@click.option("--denied", is_flag=True, help="Only packets that were dropped.")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Show the last N events, and end.")
@click.option(
    "--for", "duration", type=Duration(_LONGEST), metavar="TIME", help="End after so long (30s, 5m)."
)
@json_option
@state_option
@pins_options
def observe(
    pins: Pins,
    *,
    state_directory: Path,
    form: str,
    logged: bool,
    denied: bool,
    last: int | None,
    duration: timedelta | None,
) -> None:
    """Show the events of this node's firewall until interrupted: packets that a Log rule matched, and packets
    that were dropped, each with the rules that say so.

    Dropped packets are reported only while somebody observes them. A CPU reports at most 500 packets a
    second; how many more there were is told on standard error. An event is shown once, to one observer.
    Needs root.
    """
    printer = _Printer(form, logged=logged, denied=denied)
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

    def __init__(self, form: str, *, logged: bool, denied: bool) -> None:
        self._json = form == "json"
        self._logged, self._denied = logged or not denied, denied or not logged

    def wanted(self, event: Event) -> bool:
        """Whether the event is of a kind that was asked for."""
        return (self._logged and event.kind is EventKind.LOG) or (self._denied and event.dropped)

    def show(self, events: Iterable[Event]) -> None:
        """Print events, one a line."""
        for event in events:
            click.echo(json.dumps(event.to_json(), sort_keys=True) if self._json else str(event))
        sys.stdout.flush()
