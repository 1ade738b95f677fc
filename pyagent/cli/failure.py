"""The one way a verb tells the user that it failed."""

from __future__ import annotations

import sys
from typing import Any

import click


class Failure(click.ClickException):
    """An error for the user: its text as it is on standard error, and an exit code."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc] # click reads it from the instance

    def show(self, file: Any = None) -> None:
        """Print the message; no usage line, no prefix."""
        click.echo(self.message, file=file or sys.stderr)
