"""``hepctl bpf policy dump``: the policy in force at an interface."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from pyagent.bpf.pins import Pins
from pyagent.cli.bpf.image import shortened
from pyagent.cli.node import json_option, pins_options, show_json, state_option
from pyagent.inspection.held import Held
from pyagent.inspection.policy import DIRECTIONS, DIRECTIONS_ALL, Hits, dump_live, slot_of
from pyagent.inspection.policy import dump as dump_policy


@click.group(short_help="Show policy as it is in force.")
def policy() -> None:
    """Show policy as it is in force."""


@policy.command(short_help="Show tiers, policies and rules at an interface, with hits.")
@click.argument("iface")
@click.argument("direction", type=click.Choice([*DIRECTIONS, DIRECTIONS_ALL]), default=DIRECTIONS_ALL)
@click.option(
    "--image",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Show the image saved in DIR; IFACE is then the name of a host endpoint.",
)
@json_option
@state_option
@pins_options
def dump(
    pins: Pins, *, state_directory: Path, form: str, directory: Path | None, iface: str, direction: str
) -> None:
    """Show the tiers, policies and rules that packets meet at interface IFACE, in their order, with the
    addresses that selectors stand for.

    Hits are packets that a rule or an end judged: those that opened flows, on all interfaces together. What
    follows in a flow is not judged again; bpf conntrack dump counts it.
    """
    if directory is None:
        found = dump_live(pins, state_directory, iface, direction)
    else:
        held = Held.saved(directory)
        found = dump_policy(held, slot_of(held, iface), direction, Hits(None))
    if form == "json":
        show_json(found)
        return
    at = f"interface {found['interface']}, " if "interface" in found else ""
    click.echo(f"{at}endpoint {found['endpoint']}, generation {found['generation']}")
    for table in found["tables"]:
        click.echo(f"{table['direction']}: {table['table']}")
        for line in _table(table):
            click.echo(f"  {line}")


def _table(table: dict[str, Any]) -> Iterator[str]:
    for tier in table["tiers"]:
        yield f"tier {tier['name']}"
        for each in tier["policies"]:
            yield from (f"  {line}" for line in _policy("policy", each))
        yield f"  end: {tier['end']['action']}{_hits(tier['end'])}"
    for each in table["profiles"]:
        yield from _policy("profile", each)
    yield f"end: {table['end']['action']}{_hits(table['end'])}"


def _policy(word: str, found: dict[str, Any]) -> Iterator[str]:
    staged = ""
    if found["staged"]:
        would = ", ".join(f"{action} {count}" for action, count in sorted(found["stagedHits"].items()))
        staged = f" (staged{': would have decided ' + would if would else ''})"
    yield f"{word} {found['name']}{staged}"
    for rule in found["rules"]:
        conditions = rule["conditions"] or ["nothing"]
        yield f"  {rule['place'].rpartition('/')[2]} {rule['action']} {conditions[0]}{_hits(rule)}"
        yield from (f"      or {condition}" for condition in conditions[1:])
        for each in rule["sets"]:
            classes = "1 class" if each["classes"] == 1 else f"{each['classes']} classes"
            networks = ", ".join(shortened(each["networks"])) or "nobody"
            yield f"      {each['name']} = {networks} ({classes})"


def _hits(found: dict[str, Any]) -> str:
    return f"  [{found['packets']} packets, {found['bytes']} bytes]" if found.get("packets") else ""
