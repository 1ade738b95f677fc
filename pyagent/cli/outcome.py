"""What a verb that works through many resources says at the end, in the reference's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import click

from pyagent.cli.failure import Failure
from pyagent.cli.kinds import find_kind
from pyagent.errors import AutohepError, NotFoundError, Problem


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb in the two forms the messages need."""

    infinitive: str
    past: str
    failed: str = "failed"


CREATE = Verb("create", "created")
APPLY = Verb("apply", "applied")
REPLACE = Verb("replace", "replaced")
DELETE = Verb("delete", "deleted", failed="Failed")
VALIDATE = Verb("validate", "validated")
PATCH = Verb("patch", "patched")


def explain(error: AutohepError) -> str:
    """An error's text; a missing resource is told in the reference's words, which quote the API server's."""
    if isinstance(error, NotFoundError):
        return f'{error} with error: {find_kind(error.kind).plural} "{error.name}" not found'
    return str(error)


@dataclass(slots=True)
class Outcome:
    """The state of a batch: how many resources there are, how many are done, and what went wrong."""

    verb: Verb
    kinds: Sequence[str]
    done: int = 0
    errors: list[str] = field(default_factory=list)
    note: str = ""

    @property
    def _quoted(self) -> str:
        """The kind in quotes with a blank, or nothing when the kinds are mixed."""
        return f"'{self.kinds[0]}' " if len(set(self.kinds)) == 1 else ""

    def report(self) -> None:
        """Print what was done; raises :class:`Failure` with what was not."""
        total = len(self.kinds)
        if not total:
            click.echo("No resources specified")
        elif not self.errors:
            noun = "resource" if self.verb is PATCH else "resource(s)"
            click.echo(f"Successfully {self.verb.past} {self.done} {self._quoted}{noun}{self.note}")
        elif self.done:
            share = f"the first {self.done} out of {total} {self._quoted}resources"
            click.echo(f"Partial success: {self.verb.past} {share}:")
            raise Failure(f"hit error: {in_brackets(self.errors)}")
        elif total == 1:
            self._fail(f"{self._quoted}resource")
        else:
            self._fail(f"any {self._quoted}resources")

    def _fail(self, what: str) -> None:
        raise Failure(f"{self.verb.failed} to {self.verb.infinitive} {what}: {in_brackets(self.errors)}")


def in_brackets(errors: Sequence[str]) -> str:
    """The list of errors; several stand on lines of their own."""
    return (
        f"[{errors[0]}]" if len(errors) == 1 else "[\n" + "\n".join(f"  {error}" for error in errors) + "\n]"
    )


def file_failure(problems: Sequence[Problem]) -> Failure:
    """What is said of manifests that cannot even be read as resources."""
    return Failure("\n".join(f"failed to execute command: {problem}" for problem in problems))
