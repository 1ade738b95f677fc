"""``hepctl bpf ipsets`` and ``routes``: what addresses mean to the image."""

from __future__ import annotations

from pathlib import Path

import click

from pyagent.bpf.pins import Pins
from pyagent.cli.bpf.image import held, image_option, shortened
from pyagent.cli.node import json_option, pins_options, show_json, show_table, state_option
from pyagent.inspection import ipsets as inspected
from pyagent.inspection.routes import routes as find_routes


@click.group(short_help="Show the addresses that selectors stand for.")
def ipsets() -> None:
    """Show the addresses that selectors, nets and network sets stand for."""


@ipsets.command("dump", short_help="Show address sets and their networks.")
@click.argument("name", required=False)
@image_option
@json_option
@state_option
@pins_options
def dump_ipsets(
    pins: Pins, *, state_directory: Path, form: str, directory: Path | None, name: str | None
) -> None:
    """Show every address set of the policy, or the one called NAME: its networks, and how many classes of
    addresses it is made of."""
    found = inspected.ipsets(held(pins, state_directory, directory), name)
    if form == "json":
        show_json(found)
        return
    for each in found:
        networks = each["networks"]
        click.echo(f"{each['name']}: {len(networks)} networks, {each['classes']} classes")
        for network in networks if name else shortened(networks):
            click.echo(f"  {network}")


@click.group(short_help="Show which addresses are this host's and the nodes'.")
def routes() -> None:
    """Show where packets belong: what tells local from forwarded traffic, and tunnels from the rest."""


@routes.command("dump", short_help="Show this host's addresses, known nodes, tunnels and node ports.")
@image_option
@json_option
@state_option
@pins_options
def dump_routes(pins: Pins, *, state_directory: Path, form: str, directory: Path | None) -> None:
    """Show which addresses are this host's own and which are known nodes', which protocols are tunnels
    between nodes, and which ports the host forwards (node ports)."""
    found = find_routes(held(pins, state_directory, directory))
    if form == "json":
        show_json(found)
        return
    show_table(["IS", "WHAT"], (list(each.values()) for each in found))
