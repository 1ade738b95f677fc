"""``hepctl node status``: how things stand on this node."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from pyagent.bpf.pins import Pins
from pyagent.cli.node import json_option, pins_options, show_json, state_option
from pyagent.cli.table import bare_table
from pyagent.inspection.standing import standing


@click.group(short_help="Say how things stand on this node.")
def node() -> None:
    """Say how things stand on this node."""


@node.command(short_help="Say whether this node is protected, and why not.")
@json_option
@state_option
@pins_options
def status(pins: Pins, *, state_directory: Path, form: str) -> None:
    """Say which policy is in force on this node, which interfaces are filtered, which are left out and why,
    and whether the agent runs and hears from the datastore.

    Works without the datastore and without the agent. Exits with 1 if anything keeps this node from being
    protected by the newest policy. Needs root.
    """
    found = standing(pins, state_directory)
    if form == "json":
        show_json(found)
    else:
        click.echo("\n".join(_lines(found)))
    if found["problems"]:
        raise click.exceptions.Exit(1)


def _lines(found: dict[str, Any]) -> Iterator[str]:
    protected = "protected" if found.get("protected") and not found["rescueSeconds"] else "NOT protected"
    said = datetime.fromtimestamp(found.get("time", 0), UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    running = f"runs as process {found['pid']}" if found["running"] else "does not run"
    yield f"node {found['node']} (instance {found['instance']}): {protected}"
    yield f"policy:    generation {found['generationInKernel']}"
    yield f"agent:     version {found['version']}, {running}, last change reported {said}"
    connected = "connected" if found.get("datastoreConnected") else "away"
    yield f"datastore: {connected if found['running'] else 'nobody asks it'}"
    if found.get("drifts"):
        yield f"repaired:  {found['drifts']} times, last: {found['lastDrift']}"
    yield from (f"problem:   {each}" for each in found["problems"])
    yield from (f"warning:   {each}" for each in found.get("warnings", ()))
    yield ""
    yield from bare_table(["INTERFACE", "DIRECTION", "MODE", "STATE"], list(_interfaces(found)))


def _interfaces(found: dict[str, Any]) -> Iterator[list[str]]:
    for each in found.get("interfaces", ()):
        state = each["error"] or "filtered"
        if each["overtakenBy"]:
            state += f", after {', '.join(each['overtakenBy'])}"
        yield [each["name"], each["direction"], each["mode"] or "-", state]
    for each in found.get("xdp", ()):
        if each["mode"]:
            yield [each["name"], "ingress", f"xdp {each['mode']}", "untracked policy"]
    left_out = {**found.get("excluded", {}), **found.get("unfiltered", {})}
    for name, reason in sorted(left_out.items()):
        yield [name, "-", "-", f"left out: {reason}"]
