"""``hepctl report``: which rules were hit, and which never."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from pyagent.bpf.pins import Pins
from pyagent.cli.node import json_option, pins_options, show_json, show_table, state_option
from pyagent.cli.settings import Settings, pass_settings, where_options
from pyagent.cli.sources import read_sources
from pyagent.cli.targets import filename_option, recursive_option
from pyagent.inspection import usage
from pyagent.manifest.durations import parse_duration

_EVER = "1970-01-01"


class Since(click.ParamType[float]):
    """A date (2026-01-31, 2026-01-31T08:00:00) in UTC, or how long ago (36h): seconds of the wall clock."""

    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The time; a usage error otherwise."""
        if isinstance(value, float):
            return value
        try:
            date = datetime.fromisoformat(value)
        except ValueError:
            try:
                return time.time() - max(parse_duration(value), timedelta(0)).total_seconds()
            except ValueError:
                self.fail(f"{value!r} is neither a date (2026-01-31) nor a duration (36h)", param, ctx)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


@click.group(short_help="Say which rules were hit, and which never.")
def report() -> None:
    """Say which rules were hit, and which never.

    A hit is a packet that a rule judged: what follows in a flow is not judged again. Totals survive policy
    updates and the agent's restarts: a rule keeps its own as long as its policy, direction and content stay.
    """


@report.command(short_help="Show how often each rule was hit.")
@json_option
@state_option
@pins_options
def hits(pins: Pins, *, state_directory: Path, form: str) -> None:
    """Show how often each rule of the policy in force was hit, and when last."""
    _show(usage.hits(pins, state_directory), form)


@report.command(short_help="Show rules that were not hit.")
@click.option(
    "--since",
    type=Since(),
    default=_EVER,
    metavar="TIME",
    help="A date (UTC), or how long ago (720h) [default: ever].",
)
@json_option
@state_option
@pins_options
def unused(pins: Pins, *, state_directory: Path, form: str, since: float) -> None:
    """Show the rules of the policy in force that were not hit since TIME. Look at COUNTED SINCE before you
    remove one: a rule that is younger than TIME has had no chance."""
    _show(usage.unused(pins, state_directory, since), form)


@report.command(short_help="Show rules that no packet can reach, or that change nothing.")
@filename_option
@recursive_option
@json_option
@where_options
@pass_settings
def shadowed(settings: Settings, *, filenames: tuple[str, ...], recursive: bool, form: str) -> None:
    """Show the rules that rules before them shadow or contradict, that change nothing, or that match nothing:
    of the policies in the datastore, or with -f of manifests. Nothing is measured: it holds for every packet.
    hepctl lint finds these and more."""
    from pyagent.lint import Check, lines, lint, to_json  # noqa: PLC0415 (other reports do without it)

    wanted = {Check.SHADOWED, Check.CONTRADICTING, Check.REDUNDANT, Check.NEVER_MATCHES, Check.NOT_COMPARED}
    sources, resources = read_sources(settings, filenames, recursive=recursive)
    findings = [each for each in lint(sources, resources) if each.check in wanted]
    if form == "json":
        show_json(to_json(findings))
    else:
        click.echo("\n".join(lines(findings)))


def _show(rows: list[dict[str, Any]], form: str) -> None:
    if form == "json":
        show_json(rows)
        return
    show_table(
        ["RULE", "ACTION", "PACKETS", "BYTES", "LAST HIT", "COUNTED SINCE"],
        (
            [
                row["rule"], row["action"], row["packets"], row["bytes"],
                _when(row["lastHit"]), _when(row["countedSince"]),
            ]
            for row in rows
        ),
    )  # fmt: skip


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if seconds else "-"
