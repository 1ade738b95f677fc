"""``hepctl bpf profile``: nanoseconds a packet, by program."""

from __future__ import annotations

from datetime import timedelta

import click

from pyagent.bpf.pins import Pins
from pyagent.cli.node import Duration, json_option, pins_options, show_json, show_table
from pyagent.inspection import profile as inspected
from pyagent.inspection.pinned import Pinned

_LONGEST = timedelta(hours=1)


@click.command(short_help="Measure what packets cost, by program.")
@click.option(
    "--for",
    "duration",
    type=Duration(_LONGEST),
    default="1s",
    show_default=True,
    metavar="TIME",
    help="How long to watch (500ms, 10s).",
)
@json_option
@pins_options
def profile(pins: Pins, form: str, duration: timedelta) -> None:
    """Measure for a while how many packets each program judges and what one costs, from the kernel's own
    statistics. Measuring costs some nanoseconds a packet itself; it ends with this command."""
    found = inspected.profile(Pinned(pins), duration.total_seconds())
    if form == "json":
        show_json(found)
        return
    show_table(
        ["PROGRAM", "PACKETS", "PER SECOND", "NS PER PACKET", "CPU"],
        (
            [
                each["program"], each["packets"], each["perSecond"],
                "-" if each["nanoseconds"] is None else each["nanoseconds"], f"{each['cpu']:.2%}",
            ]
            for each in found
        ),
    )  # fmt: skip
