"""``hepctl controller`` and ``hepctl agent``: the two processes, and what takes an agent's traces away."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import Coroutine
from pathlib import Path

import click

from pyagent import abi
from pyagent.cli.failure import Failure
from pyagent.cli.settings import Settings, pass_settings, where_options
from pyagent.datastore import Datastore

#: Seconds between full comparisons, unless the command line says otherwise.
RESYNC_S = 300.0
#: Bounds of what a node may tune: smaller holds nothing, larger no kernel gives.
FLOWS_MIN, FLOWS_MOST = 1024, 16 << 20
IMAGE_LEAST, IMAGE_MOST = 1 << 20, 64 << 20
#: How long a service may take to clean up before it is told again to end; in seconds.
REMINDER_S = 1.0


@click.command(short_help="Keep automatic host endpoints up to date.")
@click.option("--once", is_flag=True, help="Do one full reconciliation, print what it changed, and exit.")
@click.option(
    "--resync",
    type=click.FloatRange(min=0, min_open=True),
    default=RESYNC_S,
    show_default=True,
    metavar="SECONDS",
    help="How often to compare everything, besides following every change.",
)
@click.option(
    "--metrics-address",
    default="127.0.0.1:9473",
    show_default=True,
    metavar="ADDRESS:PORT",
    help="Where to serve /metrics, /livez and /readyz; off: nowhere.",
)
@where_options
@pass_settings
def controller(settings: Settings, once: bool, resync: float, metrics_address: str) -> None:
    """Create, repair and remove automatic host endpoints, and report the configuration in force.

    Runs until it is told to stop (SIGTERM, Ctrl-C). With --once it exits with 1 if something could not be
    written.
    """
    from pyagent.controller import serve  # noqa: PLC0415 (each daemon loads only its own parts)
    from pyagent.telemetry.address import parse_address  # noqa: PLC0415

    settings.start_logging(default="warning" if once else "info")
    address = parse_address(metrics_address)
    datastore = settings.open_datastore()
    if once:
        _reconcile_once(datastore, in_cluster=settings.in_cluster())
    else:
        asyncio.run(until_terminated(serve(datastore, address, resync)))


def _reconcile_once(datastore: Datastore, *, in_cluster: bool) -> None:
    from pyagent.controller import reconcile_once, write_services  # noqa: PLC0415

    report = reconcile_once(datastore)
    for verb, names in (
        ("created", report.created),
        ("updated", report.updated),
        ("deleted", report.deleted),
    ):
        for name in names:
            click.echo(f"hostendpoint.projectcalico.org/{name} {verb}")
    if in_cluster and write_services(datastore):
        click.echo("clusterservices.autohep.io/default written")
    if report.failed:
        raise Failure("\n".join(f"failed to reconcile {name}: {reason}" for name, reason in report.failed))


@click.command(short_help="Enforce policy on this host.")
@click.option(
    "--node", envvar="HEPCTL_NODE", metavar="NAME", help="This host's node name [default: its hostname]."
)
@click.option("--instance", default="node", show_default=True, help="Tells agents apart that share a bpffs.")
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("/var/lib/autohep/agent"),
    show_default=True,
    help="Where status and the last image are kept.",
)
@click.option(
    "--xdp-interface",
    "xdp_interfaces",
    multiple=True,
    metavar="GLOB",
    help="Interfaces that drop by XDP what doNotTrack policies deny, besides the physical ones; repeatable.",
)
@click.option(
    "--restore-after",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the datastore at start before the last policy saved is put in force.",
)
@click.option(
    "--metrics-address",
    envvar="HEPCTL_METRICS_ADDRESS",
    default="127.0.0.1:9472",
    show_default=True,
    metavar="ADDRESS:PORT",
    help="Where metrics and health are served (/metrics, /livez, /readyz); off: nowhere.",
)
@click.option(
    "--rule-metrics",
    envvar="HEPCTL_RULE_METRICS",
    type=click.IntRange(min=0, max=10000),
    default=0,
    show_default=True,
    metavar="N",
    help="Tell the hits of this many rules as metrics, those with the most.",
)
@click.option(
    "--flows-max",
    envvar="HEPCTL_FLOWS_MAX",
    type=click.IntRange(min=FLOWS_MIN, max=FLOWS_MOST),
    default=abi.FLOWS_MAX,
    show_default=True,
    metavar="N",
    help="Entries of each flow table (IPv4, IPv6); a restart with another number keeps the flows.",
)
@click.option(
    "--image-bytes",
    envvar="HEPCTL_IMAGE_BYTES",
    type=click.IntRange(min=IMAGE_LEAST, max=IMAGE_MOST),
    default=abi.IMAGE_BYTES,
    show_default=True,
    metavar="N",
    help="Room for the policy of one generation; two are kept.",
)
@where_options
@pass_settings
def agent(
    settings: Settings,
    *,
    node: str | None,
    instance: str,
    state_dir: Path,
    xdp_interfaces: tuple[str, ...],
    restore_after: float,
    metrics_address: str,
    rule_metrics: int,
    flows_max: int,
    image_bytes: int,
) -> None:
    """Attach the firewall to this host's interfaces and keep it in step with the datastore.

    Runs until it is told to stop (SIGTERM, Ctrl-C); what is in force stays in force then. Needs root.
    """
    # numpy's linear algebra is never used, and would start a thread for each CPU of the node.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from pyagent.agent import CLUSTER_KINDS, KINDS, AgentOptions, LateDatastore, run  # noqa: PLC0415
    from pyagent.telemetry.address import parse_address  # noqa: PLC0415

    settings.start_logging(default="info")
    name = node or socket.gethostname().lower()
    options = AgentOptions(
        name,
        instance,
        state_dir,
        flows_max,
        image_bytes,
        xdp_interfaces=xdp_interfaces,
        restore_after=restore_after,
        metrics=parse_address(metrics_address),
        rule_metrics=rule_metrics,
        kinds=CLUSTER_KINDS if settings.in_cluster() else KINDS,
    )
    asyncio.run(until_terminated(run(LateDatastore(settings.open_datastore, options.node), options)))


@click.command("uninstall-node", short_help="Take the firewall off this host.")
@click.option("--instance", default="node", show_default=True, help="Which agent's.")
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("/var/lib/autohep/agent"),
    show_default=True,
    help="The agent's directory, removed too.",
)
def uninstall_node(instance: str, state_dir: Path) -> None:
    """Remove every program, link, queueing discipline, pin and file of an agent. Stop the agent first."""
    from pyagent.agent.state import StateDirectory  # noqa: PLC0415
    from pyagent.attach.uninstall import uninstall  # noqa: PLC0415
    from pyagent.bpf.pins import Pins  # noqa: PLC0415

    with StateDirectory(state_dir) as state:
        state.claim()
        removed = uninstall(Pins(instance))
        shutil.rmtree(state_dir)
    click.echo(f"removed {removed.links} links, {removed.filters} filters, {removed.qdiscs} qdiscs")


async def until_terminated(service: Coroutine[None, None, None]) -> None:
    """Run a service until it ends or SIGTERM asks it to; either way it can clean up behind itself."""
    task = asyncio.ensure_future(service)
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    waiting = asyncio.ensure_future(told.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        # Told more than once: in Python 3.11 a wait_for that ends at the same moment swallows a cancellation.
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=REMINDER_S)
    if not task.cancelled():
        task.result()
