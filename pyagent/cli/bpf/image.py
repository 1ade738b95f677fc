"""``hepctl bpf image`` and ``lookup``: the compiled policy, in force or saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pyagent.bpf.pins import Pins
from pyagent.cli.node import json_option, pins_options, show_json, show_table, state_option
from pyagent.inspection.compare import compare
from pyagent.inspection.held import Held
from pyagent.inspection.lookup import look_up

#: What stands for the image in force where a directory may be named.
LIVE = "live"
#: Names shown of a long list; ``-o json`` has them all.
SHOWN = 8

image_option = click.option(
    "--image",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Look into the image saved in DIR instead of the kernel.",
)


def held(pins: Pins, state_directory: Path, directory: Path | None) -> Held:
    """The image that is asked for."""
    return Held.live(pins, state_directory) if directory is None else Held.saved(directory)


@click.group(invoke_without_command=True, short_help="Show the compiled policy, or what changed in it.")
@image_option
@json_option
@state_option
@pins_options
@click.pass_context
def image(
    ctx: click.Context, *, pins: Pins, state_directory: Path, form: str, directory: Path | None
) -> None:
    """Show the image in force: its generation, classes, tables and how much of its room it takes."""
    if ctx.invoked_subcommand is not None:
        return
    found = held(pins, state_directory, directory).describe()
    if form == "json":
        show_json(found)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    used = f" of {found['limit']} ({found['bytes'] / found['limit']:.1%})" if found["limit"] else ""
    click.echo(f"{found['place']}: generation {found['generation']}, hash {found['hash']}")
    click.echo(f"{found['bytes']} bytes{used}, {found['verdicts']} verdicts of {found['verdictsLimit']}")
    classes = found["classes"]
    click.echo(
        f"classes: {classes['addresses']} of addresses, {classes['layer4']} of protocols and ports, "
        f"{classes['sourcePorts']} of source ports"
    )
    if found["flags"]:
        click.echo(f"flags: {', '.join(found['flags'])}")
    show_table(
        ["ENDPOINT", "TABLE", "RULES", "ROWS", "COLUMNS", "FORM", "BYTES"],
        (
            [
                endpoint["name"], table["table"], "-" if table["rules"] is None else table["rules"],
                table["rows"], table["columns"], table["form"], table["bytes"],
            ]
            for endpoint in found["endpoints"]
            for table in endpoint["tables"]
        ),
    )  # fmt: skip
    if found["problem"]:
        click.echo(found["problem"], err=True)


@image.command(short_help="Show what changed from one image to another.")
@click.argument("before")
@click.argument("after")
@json_option
@state_option
@pins_options
def diff(pins: Pins, *, state_directory: Path, form: str, before: str, after: str) -> None:
    """Show what changed from image BEFORE to image AFTER: directories with saved images, or the word live."""
    one, other = (
        held(pins, state_directory, None if each == LIVE else Path(each)) for each in (before, after)
    )
    found = compare(one, other)
    if form == "json":
        show_json(found)
        return
    for line in _differences(found):
        click.echo(line)


def _differences(found: dict[str, Any]) -> list[str]:
    (old, new), (small, large) = found["generations"], found["bytes"]
    lines = [f"generation {old} -> {new}, {small} -> {large} bytes"]
    for what, label in (("endpoints", "endpoint"), ("policies", "policy"), ("rules", "rule")):
        lines += [f"+ {label} {name}" for name in found[what]["added"]]
        lines += [f"- {label} {name}" for name in found[what]["removed"]]
    for each in found["sets"]:
        lines.append(
            f"{ {'added': '+', 'removed': '-'}.get(each['change'], '~') } addresses of {each['name']}"
        )
        lines += [f"    + {network}" for network in shortened(each["added"])]
        lines += [f"    - {network}" for network in shortened(each["removed"])]
    return lines if len(lines) > 1 else [*lines, "the policies are the same"]


def shortened(names: list[str]) -> list[str]:
    """The first few of a list, and how many more there are."""
    more = len(names) - SHOWN
    return [*names[:SHOWN], f"... and {more} more"] if more > 0 else names


@click.command(short_help="Show what an address or port means to policy.")
@click.argument("what", metavar="ADDRESS|PORT/PROTOCOL")
@image_option
@json_option
@state_option
@pins_options
def lookup(pins: Pins, *, state_directory: Path, form: str, directory: Path | None, what: str) -> None:
    """Show the class of an address (10.0.0.1, fd00::1) or of a destination port (22/tcp, 8/icmp), the
    conditions that hold for it, and the rules that ask for them."""
    found = look_up(held(pins, state_directory, directory), what)
    if form == "json":
        show_json(found)
        return
    click.echo(f"{what}: class {found['class']}")
    if "address" in found:
        for key, words in (
            ("thisHost", "an address of this host"),
            ("knownNode", "an address of a known node"),
        ):
            if found[key]:
                click.echo(f"  is {words}")
        for name in found["sets"]:
            click.echo(f"  lies in {name}")
    for condition in found.get("conditions", ()):
        click.echo(f"  satisfies {condition}")
    for rule in found["rules"]:
        side = f" as {rule['as']}" if "as" in rule else ""
        click.echo(f"  asked for by {rule['action']} {rule['rule']}{side}")
