"""``hepctl top``: what this node's firewall does just now."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import click

from pyagent.bpf.pins import Pins
from pyagent.cli.node import Duration, json_option, pins_options, state_option
from pyagent.cli.table import bare_table
from pyagent.inspection.top import Top

_LONGEST = timedelta(hours=1)
#: Cursor to the upper left, and everything from there cleared.
_AFRESH = "\x1b[H\x1b[J"


@click.command(short_help="Show what the firewall does just now, again and again.")
@click.option(
    "--interval",
    type=Duration(_LONGEST),
    default="2s",
    show_default=True,
    metavar="TIME",
    help="How long a look takes.",
)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N looks.")
@click.option(
    "--rows", type=click.IntRange(1, 100), default=10, show_default=True, help="At most so many of each."
)
@json_option
@state_option
@pins_options
def top(
    pins: Pins, *, state_directory: Any, form: str, interval: timedelta, count: int | None, rows: int
) -> None:
    """Show, until interrupted, packets a second by reason and by rule, whose packets were dropped most since
    this began, and how full the flow tables are.

    Rules are hit by packets that open flows. Dropped packets are sampled: at most 500 a second on each CPU.
    With -o json each look is one line. Needs root.
    """
    with Top(pins, state_directory) as looker:
        for _ in itertools.count() if count is None else range(count):
            time.sleep(interval.total_seconds())
            look = looker.look()
            if form == "json":
                click.echo(json.dumps(look, sort_keys=True))
            else:
                click.echo(_AFRESH * sys.stdout.isatty() + "\n".join(_lines(look, rows)))
            sys.stdout.flush()


def _lines(look: dict[str, Any], rows: int) -> Iterator[str]:
    tables = ", ".join(
        f"{each['table']} {each['entries']} of {each['size']} ({each['entries'] / each['size']:.1%})"
        for each in look["flows"]
    )
    yield f"generation {look['generation']}, flows: {tables}"
    if look["note"]:
        yield look["note"]
    for headings, found in (
        (("DIRECTION", "VERDICT", "REASON", "PER SECOND", "PACKETS"), look["verdicts"]),
        (("RULE", "PER SECOND", "PACKETS"), look["rules"]),
        (("DENIED PEER", "PACKETS"), look["deniedPeers"]),
    ):
        yield ""
        yield from bare_table(headings, [[str(cell) for cell in each.values()] for each in found[:rows]])
