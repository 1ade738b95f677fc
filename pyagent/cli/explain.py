"""``hepctl explain``: what becomes of a packet, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pyagent import manifest
from pyagent.abi import Direction
from pyagent.bpf.pins import Pins
from pyagent.cli.engines import engine_option, parse_engines
from pyagent.cli.node import pins_options, state_option
from pyagent.cli.settings import Settings, pass_settings, where_options
from pyagent.cli.sources import read_sources
from pyagent.cli.targets import filename_option, recursive_option
from pyagent.explain import Explanation, Question, lines, parse_end, to_json
from pyagent.explain import explain as explain_packet
from pyagent.inquiry import Hosts
from pyagent.model.packet import ICMP_PROTOCOLS
from pyagent.reference import FlowState

if TYPE_CHECKING:
    from pyagent.inquiry.running import Running
    from pyagent.inspection.flows import Flow


@click.command(short_help="Say what becomes of a packet, and why.")
@click.option("--from", "source", required=True, metavar="HOST[:PORT]", help="Where the packet comes from.")
@click.option(
    "--to", "destination", required=True, metavar="HOST[:PORT][/PROTOCOL]", help="Where it goes to."
)
@click.option("--node", default="", metavar="NODE", help="Only this node's hooks.")
@click.option("--in", "interface", default="", metavar="IFACE", help="The interface that the packet crosses.")
@click.option(
    "--direction", type=click.Choice(["ingress", "egress"]), help="Only the hooks of this direction."
)
@click.option("-6", "--ipv6", is_flag=True, help="Take the nodes' IPv6 addresses.")
@click.option(
    "--flow",
    type=click.Choice([str(state).lower() for state in FlowState]),
    default="new",
    show_default=True,
    help="What is known of the packet's flow.",
)
@engine_option
@click.option(
    "--running", is_flag=True, help="Ask what the agent of this node has in force, too (needs root)."
)
@filename_option
@recursive_option
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to report.")
@state_option
@pins_options
@where_options
@pass_settings
def explain(
    settings: Settings,
    *,
    source: str,
    destination: str,
    node: str,
    interface: str,
    direction: str | None,
    ipv6: bool,
    flow: str,
    engine: str,
    running: bool,
    pins: Pins,
    state_directory: Path,
    filenames: tuple[str, ...],
    recursive: bool,
    output: str,
) -> None:
    """Say what becomes of a packet, by which policy and rule, and why each rule before it did not match.

    HOST is an address, the name of a node, or external: somebody whom no resource knows. PROTOCOL is a name
    (tcp, udp, sctp, icmp:TYPE:CODE, ...) or a number. The resources are those of the datastore, or with -f
    those of manifests; nodes in manifests that have no host endpoint get the automatic one.

    \b
    hepctl explain --from external --to master:8888/tcp
    hepctl explain --from 10.0.0.7 --to [fd00::10]:53/udp --in eth1 -f policies/
    """
    question = Question(
        source=parse_end(source, "--from", protocol=False),
        destination=parse_end(destination, "--to", protocol=True),
        version=6 if ipv6 else None,
        node=node,
        interface=interface,
        direction=direction or "",
        flow=FlowState(flow.capitalize()),
    )
    sources, resources = read_sources(settings, filenames, recursive=recursive)
    in_force = _in_force(pins, state_directory) if running else None
    found = explain_packet(Hosts(resources), question, parse_engines(engine), in_force)
    connections = _connections(found, in_force.node, pins, state_directory) if in_force else {}
    if output == "json":
        known = {hook: each and each.to_json() for hook, each in connections.items()}
        click.echo(manifest.dump_json({**to_json(found, sources), "connections": known}).rstrip("\n"))
    else:
        click.echo("\n".join(lines(found, sources)))
        for hook, each in connections.items():
            click.echo(f"connection, {hook}: {_in_words(each)}")
    if not found.agreed:
        raise click.exceptions.Exit(1)


def _connections(found: Explanation, node: str, pins: Pins, state_directory: Path) -> dict[str, Flow | None]:
    """What the kernel remembers of the packet's connection, by hook of this node."""
    from pyagent.dataplane.control import Control  # noqa: PLC0415
    from pyagent.inspection.flows import flow_of  # noqa: PLC0415
    from pyagent.inspection.names import Library  # noqa: PLC0415
    from pyagent.inspection.pinned import Pinned  # noqa: PLC0415

    pinned, names = Pinned(pins), Library(state_directory).newest()
    with Control(pinned.open("control")) as control:
        clock = control.jiffies(), control.rate
    return {
        str(hook.crossing): flow_of(
            pinned, names, clock, hook.crossing.packet, Direction[hook.crossing.direction.upper()]
        )
        for hook in found.hooks
        if hook.crossing.node == node and hook.crossing.packet.protocol not in ICMP_PROTOCOLS
    }


def _in_words(flow: Flow | None) -> str:
    if flow is None:
        return "none is known"
    past = ", too long ago to count" if flow.expired else ""
    opened = f"opened {flow.opener.name.lower()}, allowed by {flow.allowed_by}"
    return f"{flow.state}, idle for {flow.idle:.1f} s{past}, {opened}"


def _in_force(pins: Pins, state_directory: Path) -> Running:
    from pyagent.inquiry.running import Running  # noqa: PLC0415 (who does not ask the kernel needs no part of it)

    return Running(pins, state_directory)
