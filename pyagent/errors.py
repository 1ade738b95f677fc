"""The exception vocabulary: what can go wrong, in the words a user meets it.

Every exception that crosses a layer is one of these; ``hepctl`` prints the message and exits with
``exit_code``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass


class AutohepError(Exception):
    """Base of all; the message is complete and printable as it is."""

    exit_code = 1


class UsageError(AutohepError):
    """The command line is wrong."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One defect of one document: where it is and why it is refused.

    ``path`` is the field's path (``spec.ingress[0].action``), ``line`` counts from 1 (0: unknown).
    """

    path: str
    reason: str
    value: str = ""
    line: int = 0
    file: str = ""

    def __str__(self) -> str:
        place = (
            f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        )
        value = f" = '{self.value}'" if self.value else ""
        return f"{place}error with field {self.path}{value} ({self.reason})"


class ManifestError(AutohepError):
    """A document cannot be read or is not a valid resource; carries every problem found."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        if len(problems) == 1:
            message = str(problems[0])
        else:
            message = "\n".join(
                ["error with the following fields:", *(f"-  {problem}" for problem in problems)]
            )
        super().__init__(message)


class SelectorError(AutohepError):
    """A selector does not parse; ``position`` is the offset in ``text`` (characters, from 0)."""

    def __init__(self, text: str, position: int, reason: str) -> None:
        self.text = text
        self.position = position
        self.reason = reason
        super().__init__(f"{reason} at position {position} of {text!r}")


class DatastoreError(AutohepError):
    """The datastore refused or failed. ``status``: the HTTP status it did so with, 0: none."""

    status: int = 0


class NotFoundError(DatastoreError):
    """No such resource."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        super().__init__(f"resource does not exist: {kind}({name})")


class AlreadyExistsError(DatastoreError):
    """A resource of that kind and name exists."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        super().__init__(f"resource already exists: {kind}({name})")


class ConflictError(DatastoreError):
    """The resource changed since it was read (stale resourceVersion)."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        super().__init__(f"update conflict: {kind}({name})")


class CapacityError(AutohepError):
    """A policy set does not fit the image's limits; the last good image stays in force."""

    def __init__(self, what: str, needs: int, have: int, culprit: str = "") -> None:
        self.what, self.needs, self.have, self.culprit = what, needs, have, culprit
        tail = f"; {culprit} costs most" if culprit else ""
        super().__init__(f"{what}: needs {needs}, have {have}{tail}")


class KernelError(AutohepError):
    """The kernel refused an operation; ``errno`` is kept."""

    def __init__(self, operation: str, errno: int, hint: str = "") -> None:
        self.operation, self.errno, self.hint = operation, errno, hint
        super().__init__(f"{operation}: {os.strerror(errno)}" + (f" ({hint})" if hint else ""))


class BuildError(AutohepError):
    """The BPF program does not compile or the verifier refused it."""


class DriftError(AutohepError):
    """What is in the kernel is not what was put there."""
