"""``hepctl doctor``: what keeps the firewall from working here, and what to do about it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import click
from msgspec import to_builtins

from pyagent import __version__
from pyagent.bpf.pins import Pins
from pyagent.cli.node import json_option, pins_options, show_json, show_table, state_option
from pyagent.cli.settings import Settings, pass_settings, where_options
from pyagent.datastore import Datastore
from pyagent.errors import AutohepError, DatastoreError
from pyagent.inspection.doctor import Finding, Result, examine, ok, problem, warning
from pyagent.model import (
    FelixConfiguration,
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    HostEndpoint,
    Profile,
    StagedGlobalNetworkPolicy,
    Tier,
)
from pyagent.model.status import HostEndpointStatus

#: What an agent must be able to read.
_READ = (
    HostEndpoint, GlobalNetworkPolicy, StagedGlobalNetworkPolicy, GlobalNetworkSet, Tier, Profile,
    FelixConfiguration,
)  # fmt: skip
_SLOW_S = 2.0


@click.command(short_help="Find out what keeps the firewall from working here.")
@json_option
@state_option
@pins_options
@where_options
@pass_settings
def doctor(settings: Settings, *, pins: Pins, state_directory: Path, form: str) -> None:
    """Check this node, the firewall loaded on it and the datastore, and say for everything that is not in
    order what to do about it. Changes nothing.

    Exits with 1 if there is a problem; warnings are no problem. Needs root.
    """
    settings.start_logging(default="error")
    found = [*examine(pins, state_directory), *_datastore(settings)]
    if form == "json":
        show_json([to_builtins(each) for each in found])
    else:
        show_table(
            ["CHECK", "RESULT", "FOUND", "TO DO"],
            ([each.check, each.result, each.what, each.fix or "-"] for each in found),
        )
    if any(each.result is Result.PROBLEM for each in found):
        raise click.exceptions.Exit(1)


def _datastore(settings: Settings) -> Iterator[Finding]:
    try:
        datastore = settings.open_datastore()
    except AutohepError as error:
        yield problem("datastore", str(error), "name it with --datastore or HEPCTL_DATASTORE")
        return
    refused, begun = [], time.monotonic()
    for kind in _READ:
        try:
            datastore.list(kind.KIND)
        except DatastoreError as error:
            refused.append(f"{kind.PLURAL}: {error}")
    for each in refused:
        fix = "is it up, are the kinds installed (hepctl install-crds), may this account read them?"
        yield problem("datastore", each, fix)
    if refused:
        return
    took = (time.monotonic() - begun) / len(_READ)
    if took > _SLOW_S:
        yield warning("datastore", f"answers after {took:.1f} s", "see whether it is overloaded")
    else:
        yield ok("datastore", "answers, and every kind that agents need can be read")
    yield _skew(datastore)


def _skew(datastore: Datastore) -> Finding:
    """Agents and controller may be one release apart."""
    endpoints, _ = datastore.list(HostEndpoint.KIND)
    versions = {
        said.agent_version
        for each in endpoints
        if isinstance(each, HostEndpoint) and (said := HostEndpointStatus.read(each.status)).agent_version
    }
    others = sorted(versions - {__version__})
    if others:
        what = f"agents of version {', '.join(others)}; this is {__version__}"
        return warning("versions", what, "finish the upgrade: one release of difference is fine for a while")
    what = f"every agent that reported is of version {__version__}" if versions else "no agent has reported"
    return ok("versions", what)
