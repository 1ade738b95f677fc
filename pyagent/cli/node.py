"""What the verbs share that look into this node's kernel: where pins and files are, and how to print."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from pyagent import manifest
from pyagent.bpf.pins import BASE, DEFAULT_INSTANCE, Pins
from pyagent.cli.table import bare_table
from pyagent.manifest.durations import parse_duration

STATE_DIRECTORY = Path("/var/lib/autohep/agent")


def pins_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--instance`` and ``--pins``: whose pins; the verb gets ``pins``."""

    @functools.wraps(command)
    def with_pins(*args: Any, instance: str, pins: Path, **rest: Any) -> Any:
        return command(*args, pins=Pins(instance, pins), **rest)

    decorated: Callable[..., Any] = with_pins
    for option in (
        click.option(
            "--pins",
            type=click.Path(file_okay=False, path_type=Path),
            default=BASE,
            envvar="HEPCTL_PINS",
            show_default=True,
            help="The directory of all agents' pins.",
        ),
        click.option(
            "--instance",
            default=DEFAULT_INSTANCE,
            envvar="HEPCTL_INSTANCE",
            show_default=True,
            help="Which agent's pins.",
        ),
    ):
        decorated = option(decorated)
    return decorated


state_option = click.option(
    "--state-dir",
    "state_directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=STATE_DIRECTORY,
    envvar="HEPCTL_STATE_DIR",
    show_default=True,
    help="Where the agent keeps its files: names of rules, the last image, hit totals.",
)
json_option = click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print.",
)


class Duration(click.ParamType[timedelta]):
    """``10m``, ``1h30m``, ``90s``: more than nothing, at most ``most``."""

    name = "duration"

    def __init__(self, most: timedelta) -> None:
        self.most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The duration; a usage error otherwise."""
        if isinstance(value, timedelta):
            return value
        try:
            duration = parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not timedelta(0) < duration <= self.most:
            self.fail(f"{value!r} must be more than nothing and at most {self.most}", param, ctx)
        return duration


def show_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; nothing but the headings if there are no rows."""
    for line in bare_table(headings, [[str(cell) for cell in row] for row in rows]):
        click.echo(line)


def show_json(document: Any) -> None:
    """Print a document as JSON."""
    click.echo(manifest.dump_json(document).rstrip("\n"))
    sys.stdout.flush()
