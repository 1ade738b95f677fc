"""``hepctl restore-node``: what a host does at boot, before anything that policy is to protect."""

from __future__ import annotations

import socket
from pathlib import Path

import click

from pyagent.cli.failure import Failure
from pyagent.cli.node import STATE_DIRECTORY
from pyagent.cli.settings import Settings, pass_settings


@click.command("restore-node", short_help="Put the last saved policy in force, at boot.")
@click.option(
    "--node", envvar="HEPCTL_NODE", metavar="NAME", help="This host's node name [default: its hostname]."
)
@click.option("--instance", default="node", show_default=True, help="Which agent's.")
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=STATE_DIRECTORY,
    envvar="HEPCTL_STATE_DIR",
    show_default=True,
    help="Where the agent keeps the last image.",
)
@pass_settings
def restore_node(settings: Settings, *, node: str | None, instance: str, state_dir: Path) -> None:
    """Put the policy in force that this node's agent saved last, and exit. Needs root, but no datastore.

    For the time between boot and the agent's first pass. Interfaces that come later are covered by the agent.
    Where an agent has never saved anything, nothing happens.
    """
    from pyagent.agent import AgentOptions  # noqa: PLC0415 (the agent's parts only where they are needed)
    from pyagent.agent.once import restore_once  # noqa: PLC0415

    settings.start_logging(default="error")
    options = AgentOptions(node or socket.gethostname().lower(), instance, state_dir)
    restored = restore_once(options)
    if restored is None:
        click.echo(f"nothing is saved in {state_dir}: nothing is enforced until the agent runs")
        return
    if restored.problem or restored.uncovered:
        raise Failure(restored.problem or f"not covered: {', '.join(restored.uncovered)}")
    interfaces = sorted({report.interface for report in restored.interfaces})
    click.echo(f"generation {restored.generation} is in force on {', '.join(interfaces) or 'no interface'}")
