"""``hepctl controller``: the process that keeps automatic host endpoints in step with the nodes."""

from __future__ import annotations

import asyncio

import click

from pyagent.cli.settings import Settings, pass_settings, where_options

#: Seconds between full comparisons, unless the configuration says otherwise.
RESYNC_S = 300.0


@click.command(short_help="Keep automatic host endpoints up to date.")
@click.option("--once", is_flag=True, help="Do one full reconciliation and exit.")
@click.option(
    "--resync",
    type=click.FloatRange(min=0, min_open=True),
    default=RESYNC_S,
    show_default=True,
    metavar="SECONDS",
    help="How often to compare everything, besides following every change.",
)
@where_options
@pass_settings
def controller(settings: Settings, once: bool, resync: float) -> None:
    """Create, repair and remove automatic host endpoints, and report the configuration in force."""
    from pyagent import controller as reconciler  # noqa: PLC0415 (each daemon loads only its own parts)

    settings.start_logging(default="info")
    datastore = settings.open_datastore()
    if once:
        reconciler.reconcile_once(datastore)
        return
    asyncio.run(reconciler.run(datastore, resync=resync))
