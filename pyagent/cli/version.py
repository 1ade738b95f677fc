"""``hepctl version``."""

from __future__ import annotations

import json
import platform

import click

import pyagent
from pyagent.abi import ABI_VERSION
from pyagent.model import CALICO_V3


@click.command(short_help="Print the version.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
def version(output: str) -> None:
    """Print the versions of hepctl, of its API, and of the layout it shares with the BPF program."""
    versions = {
        "version": pyagent.__version__,
        "api": CALICO_V3,
        "abi": ABI_VERSION,
        "python": platform.python_version(),
    }
    if output == "json":
        click.echo(json.dumps(versions, indent=2))
        return
    click.echo(f"Client Version:  {versions['version']}")
    click.echo(f"API Version:     {versions['api']}")
    click.echo(f"ABI Version:     {versions['abi']}")
    click.echo(f"Python Version:  {versions['python']}")
