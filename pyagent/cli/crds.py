"""``hepctl install-crds``: our kinds in a cluster."""

from __future__ import annotations

import click

from pyagent.cli.failure import Failure
from pyagent.cli.settings import Settings, pass_settings, where_options
from pyagent.crds import definitions


@click.command("install-crds", short_help="Install or upgrade the kinds in a cluster.")
@where_options
@pass_settings
def install_crds(settings: Settings) -> None:
    """Define the kinds in the cluster of the datastore, or upgrade them; again changes nothing.

    Where Calico (or somebody else) serves projectcalico.org/v3 already, its kinds are used as they are.
    """
    in_cluster = getattr(settings.open_datastore(), "definitions", None)
    if in_cluster is None:
        raise Failure("only a cluster has definitions: give --datastore kubernetes:")
    for name, outcome in in_cluster.apply(definitions()):
        click.echo(f"customresourcedefinition/{name} {outcome}")
