"""``hepctl bpf maps``, ``counters``, ``failsafe`` and ``ifstate``."""

from __future__ import annotations

import click

from pyagent.bpf.pins import Pins
from pyagent.cli.node import json_option, pins_options, show_json, show_table
from pyagent.inspection import interfaces
from pyagent.inspection import tables as inspected
from pyagent.inspection.pinned import Pinned


@click.command(short_help="Show each map: type, size, use, memory, pin.")
@json_option
@pins_options
def maps(pins: Pins, form: str) -> None:
    """Show each map: its type, how much of it is used, the memory it takes, where it is pinned, and what
    sizes it."""
    found = inspected.maps(Pinned(pins))
    if form == "json":
        show_json(found)
        return
    show_table(
        ["MAP", "TYPE", "KEY", "VALUE", "SIZE", "USED", "PRESSURE", "MEMORY", "SIZED BY"],
        (
            [
                each["name"], each["type"], each["keyBytes"], each["valueBytes"], each["size"],
                "-" if each["used"] is None else each["used"],
                "-" if each["pressure"] is None else f"{each['pressure']:.1%}",
                _size(each["memoryBytes"]), each["knob"],
            ]
            for each in found
        ),
    )  # fmt: skip
    click.echo(f"pinned below {pins.root}")


def _size(count: int | None) -> str:
    if count is None:
        return "-"
    return f"{count / (1 << 20):.1f}M" if count >= 1 << 20 else f"{count / 1024:.1f}K"


@click.group(short_help="Show or reset what was counted.")
def counters() -> None:
    """Show or reset packets by interface, direction and reason."""


@counters.command(short_help="Show packets by interface, direction and reason.")
@click.option("--iface", metavar="NAME", help="Only this interface.")
@json_option
@pins_options
def dump(pins: Pins, form: str, iface: str | None) -> None:
    """Show how many packets passed or were dropped, and why, by interface and direction."""
    found = interfaces.counters(Pinned(pins), iface)
    if form == "json":
        show_json(found)
        return
    show_table(
        ["INTERFACE", "DIRECTION", "VERDICT", "REASON", "PACKETS"], (list(each.values()) for each in found)
    )


@counters.command(short_help="Set all counters to 0.")
@pins_options
def flush(pins: Pins) -> None:
    """Set the counters of all interfaces to 0; packets that come meanwhile may go uncounted."""
    click.echo(f"counters of {interfaces.flush_counters(Pinned(pins))} interfaces are 0")


@click.group(short_help="Show failsafe ports.")
def failsafe() -> None:
    """Show the ports that stay open whatever policy says."""


@failsafe.command("dump", short_help="Show the ports that stay open whatever policy says.")
@json_option
@pins_options
def dump_failsafe(pins: Pins, form: str) -> None:
    """Show the ports that stay open whatever policy says, and to whom."""
    found = inspected.failsafes(Pinned(pins))
    if form == "json":
        show_json(found)
        return
    show_table(["DIRECTION", "PROTOCOL", "PORT", "PEER"], (list(each.values()) for each in found))


@click.group(short_help="Show what is known of interfaces.")
def ifstate() -> None:
    """Show what the program knows of interfaces."""


@ifstate.command("dump", short_help="Show what is known of each interface.")
@json_option
@pins_options
def dump_ifstate(pins: Pins, form: str) -> None:
    """Show each interface that the program knows: its endpoint's slot in the image in force, the endpoint's
    lasting number, and where it is counted."""
    pinned = Pinned(pins)
    side = interfaces.side_in_force(pinned)
    found = [each.describe(side) for each in interfaces.interfaces(pinned)]
    if form == "json":
        show_json(found)
        return
    show_table(
        ["INTERFACE", "INDEX", "SLOT", "ENDPOINT", "FLAGS", "COUNTER", "MAP"],
        (
            [
                each["interface"], each["index"], "-" if each["slot"] is None else each["slot"],
                "-" if each["slot"] is None else each["endpointNumber"], ",".join(each["flags"]) or "-",
                each["counter"], each["map"],
            ]
            for each in found
        ),
    )  # fmt: skip
