"""The lab for playing by hand: ``python -m tests.lab up``, ``try``, ``down`` (see README)."""

from __future__ import annotations

import click

from tests.lab.lab import Lab, LabError
from tests.lab.topology import MACHINES

NAME = click.option(
    "--name", default="hep", show_default=True, help="Keeps several labs apart: letters and digits."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Three nodes with a pod each and an outside machine, as network namespaces."""


@main.command()
@NAME
def up(name: str) -> None:
    """Bring the lab up, with controller and agents, and leave it."""
    lab = Lab(name)
    try:
        lab.up()
    except LabError as error:
        raise click.ClickException(str(error)) from error
    click.echo(describe(lab))


@main.command()
@NAME
def down(name: str) -> None:
    """Remove the lab and everything it made."""
    Lab(name).down()


@main.command("try")
@NAME
@click.argument("source", type=click.Choice(list(MACHINES)))
@click.argument("target")
@click.argument("port", type=int)
@click.argument("protocol", type=click.Choice(["tcp", "udp", "icmp", "web"]), default="tcp")
@click.option("-6", "ipv6", is_flag=True, help="By the target's IPv6 address.")
def attempt(name: str, source: str, target: str, port: int, protocol: str, *, ipv6: bool) -> None:
    """Try to get through from SOURCE to PORT of TARGET (a machine or an address); exit 1 if it does not."""
    lab = Lab(name)
    if not lab.network.exists():
        raise click.ClickException(f"lab '{name}' is not up; run: make lab")
    outcome = lab.connect(source, target, port, protocol, family=6 if ipv6 else 4, patience=2.0)
    click.echo(str(outcome))
    if not outcome.reached:
        raise click.exceptions.Exit(1)


def describe(lab: Lab) -> str:
    """What is there and how to use it."""
    machines = "\n".join(
        f"  {machine.name:12} {machine.ipv4:14} {machine.ipv6:14} tcp {', '.join(map(str, machine.tcp))}"
        f"  udp {', '.join(map(str, machine.udp))}"
        for machine in MACHINES.values()
    )
    return f"""The lab is up:
{machines}
Try:
  export HEPCTL_DATASTORE={lab.datastore} PATH=$PWD/.venv/bin:$PATH
  hepctl get nodes -o wide
  python -m tests.lab try external master 9000
Logs are in {lab.processes.directory}; examples/seed has the walkthrough's policies.
Remove it: make lab-down"""


if __name__ == "__main__":
    main(prog_name="python -m tests.lab")
