"""``--engine``: by whom verbs that judge packets let them be judged."""

from __future__ import annotations

import click

from pyagent.errors import UsageError
from pyagent.inquiry import ENGINES, UNPRIVILEGED

engine_option = click.option(
    "--engine",
    default=",".join(UNPRIVILEGED),
    show_default=True,
    metavar="NAMES",
    help=f"Which engines to ask, separated by commas: {', '.join(ENGINES)} (needs root).",
)


def parse_engines(text: str) -> tuple[str, ...]:
    """The engines named, each once. Raises UsageError for one that is not known."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in ENGINES]
    if unknown or not names:
        what = unknown[0] if unknown else text
        raise UsageError(f"engine '{what}' is not known (known: {', '.join(ENGINES)})")
    return names
