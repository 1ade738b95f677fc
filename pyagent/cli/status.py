"""``hepctl status``: how things stand in the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from pyagent.cli.node import json_option, show_json
from pyagent.cli.settings import Settings, pass_settings, where_options
from pyagent.cli.table import bare_table
from pyagent.errors import DatastoreError
from pyagent.model import GlobalNetworkPolicy, HostEndpoint, StagedGlobalNetworkPolicy
from pyagent.model.status import (
    ACCEPTED,
    DEGRADED,
    PROTECTED,
    HostEndpointStatus,
    PolicyStatus,
    Status,
    Truth,
)


@click.command(short_help="Say how nodes and policies stand in the cluster.")
@click.option("--all", "everything", is_flag=True, help="Every node and policy, also those in order.")
@json_option
@where_options
@pass_settings
def status(settings: Settings, *, form: str, everything: bool) -> None:
    """Say how many nodes are protected and how many policies are in force where they should be, and show
    those that are not: from what agents and controller have written into the datastore.

    Exits with 1 if a node is not protected or a policy is not accepted.
    """
    settings.start_logging()
    datastore = settings.open_datastore()
    endpoints, _ = datastore.list(HostEndpoint.KIND)
    policies = []
    for kind in (GlobalNetworkPolicy.KIND, StagedGlobalNetworkPolicy.KIND):
        try:
            policies += datastore.list(kind)[0]
        except DatastoreError as error:
            click.echo(f"{kind}: {error}", err=True)
    found = {
        "nodes": [_node(each) for each in endpoints if isinstance(each, HostEndpoint)],
        "policies": [_policy(each) for each in policies],
    }
    if form == "json":
        show_json(found)
    else:
        click.echo("\n".join(_lines(found, everything=everything)))
    if any(each["protected"] != "True" for each in found["nodes"]) or any(
        each["accepted"] == "False" for each in found["policies"]
    ):
        raise click.exceptions.Exit(1)


def _node(endpoint: HostEndpoint) -> dict[str, Any]:
    said = HostEndpointStatus.read(endpoint.status)
    protected, degraded = said.condition(PROTECTED), said.condition(DEGRADED)
    problem = ""
    if protected is None:
        problem = "no agent has reported"
    elif protected.status is not Truth.TRUE:
        problem = protected.message or protected.reason
    elif degraded is not None and degraded.status is Truth.TRUE:
        problem = degraded.message or degraded.reason
    return {
        "node": endpoint.spec.node,
        "endpoint": endpoint.name,
        "protected": str(protected.status) if protected else str(Truth.UNKNOWN),
        "generation": said.generation,
        "agent": said.agent_version,
        "observed": said.observed,
        "interfaces": list(said.interfaces),
        "excluded": said.excluded,
        "pressure": said.pressure,
        "problem": problem,
    }


def _policy(policy: Any) -> dict[str, Any]:
    said = PolicyStatus.read(policy.status)
    return {
        "kind": policy.kind,
        "name": policy.name,
        "tier": policy.spec.tier or "default",
        "accepted": _truth(said, ACCEPTED),
        "selected": said.selected,
        "realized": said.realized,
        "problem": _why(said),
    }


def _why(said: PolicyStatus) -> str:
    if said.condition(ACCEPTED) is None:
        return "no controller has reported"
    return next((each.message for each in said.conditions if each.status is Truth.FALSE), "")


def _truth(said: Status, kind: str) -> str:
    condition = said.condition(kind)
    return str(condition.status if condition else Truth.UNKNOWN)


def _lines(found: dict[str, Any], *, everything: bool) -> Iterator[str]:
    nodes, policies = found["nodes"], found["policies"]
    protected = sum(each["protected"] == "True" for each in nodes)
    done = sum(each["accepted"] == "True" and each["realized"] == each["selected"] for each in policies)
    pressed = [f"{each['node']} {name} {use}%" for each in nodes for name, use in each["pressure"].items()]
    yield f"host endpoints: {protected} of {len(nodes)} protected"
    yield f"policies:       {done} of {len(policies)} in force wherever they apply"
    yield f"pressure:       {', '.join(pressed) or 'none'}"
    shown = [each for each in nodes if everything or each["problem"] or each["protected"] != "True"]
    if shown:
        yield ""
        yield from bare_table(
            ["NODE", "ENDPOINT", "PROTECTED", "GENERATION", "AGENT", "PROBLEM"],
            [
                [
                    each["node"], each["endpoint"], each["protected"], str(each["generation"]),
                    each["agent"] or "-", each["problem"] or "-",
                ]
                for each in shown
            ],
        )  # fmt: skip
    pending = [
        each
        for each in policies
        if everything or each["accepted"] != "True" or each["realized"] != each["selected"]
    ]
    if pending:
        yield ""
        yield from bare_table(
            ["POLICY", "TIER", "ACCEPTED", "REALIZED", "PROBLEM"],
            [
                [
                    each["name"], each["tier"], each["accepted"], f"{each['realized']}/{each['selected']}",
                    each["problem"] or "-",
                ]
                for each in pending
            ],
        )  # fmt: skip
