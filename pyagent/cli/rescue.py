"""``hepctl rescue``: let every packet of this node pass for a while, whatever policy says."""

from __future__ import annotations

import os
import syslog
from datetime import timedelta

import click

from pyagent.bpf.pins import Pins
from pyagent.cli.node import Duration, json_option, pins_options, show_json
from pyagent.dataplane.control import Control
from pyagent.inspection.pinned import Pinned
from pyagent.manifest.durations import format_duration

LONGEST = timedelta(hours=24)


@click.group(short_help="Let everything pass for a while, when policy locked you out.")
def rescue() -> None:
    """Let every packet of this node pass for a while, whatever policy says.

    Works on the node itself without agent and without datastore, and ends by itself. Each change is written
    to the system log. Needs root.
    """


@rescue.command("open", short_help="Let everything pass.")
@click.option(
    "--for", "duration", type=Duration(LONGEST), required=True, metavar="TIME", help="How long (10m)."
)
@pins_options
def open_(pins: Pins, duration: timedelta) -> None:
    """Let every packet pass for TIME, from now. Opening again sets the time anew."""
    with Control(Pinned(pins).open("control")) as control:
        control.open_rescue(duration.total_seconds())
    _log(pins, f"rescue opened for {format_duration(duration)}: every packet passes")
    click.echo(f"every packet of instance {pins.instance} passes for {format_duration(duration)}")


@rescue.command(short_help="Judge packets again.")
@pins_options
def close(pins: Pins) -> None:
    """Judge packets again, now. TCP connections that were opened meanwhile stay: the kernel has sockets for
    them."""
    with Control(Pinned(pins).open("control")) as control:
        left = control.rescue_left()
        control.close_rescue()
    if left:
        _log(pins, "rescue closed: packets are judged again")
    click.echo(f"packets of instance {pins.instance} are judged" + (" again" if left else ""))


@rescue.command(short_help="Say whether packets are judged.")
@json_option
@pins_options
def status(pins: Pins, form: str) -> None:
    """Say whether everything passes, and for how long."""
    with Control(Pinned(pins).open("control")) as control:
        left, generation = control.rescue_left(), control.generation
    if form == "json":
        show_json({"open": left > 0, "secondsLeft": round(left, 1), "generation": generation})
    elif left:
        click.echo(f"open: every packet of instance {pins.instance} passes for {_whole_seconds(left)} more")
    else:
        click.echo(f"closed: packets of instance {pins.instance} are judged")


def _whole_seconds(seconds: float) -> str:
    return format_duration(timedelta(seconds=max(1, round(seconds))))


def _log(pins: Pins, message: str) -> None:
    """Who did it stands beside what was done; sudo tells who asked."""
    who = os.environ.get("SUDO_USER") or f"uid {os.getuid()}"
    syslog.openlog("hepctl", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    syslog.syslog(syslog.LOG_WARNING, f"instance={pins.instance} by={who} {message}")
