"""``hepctl apply``, ``create``, ``replace`` and ``delete``: whole resources in, whole resources out.

The manifests are read and checked completely before the first write: one invalid document, and nothing is
written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from pyagent.cli import writing
from pyagent.cli.manifests import read_named, read_valid
from pyagent.cli.outcome import APPLY, CREATE, DELETE, REPLACE, Outcome, Verb, explain
from pyagent.cli.settings import Settings, pass_settings, where_options
from pyagent.cli.targets import (
    Target,
    filename_option,
    namespace_option,
    parse_targets,
    recursive_option,
    targets_argument,
)
from pyagent.datastore import Datastore
from pyagent.errors import AlreadyExistsError, AutohepError, NotFoundError, UsageError
from pyagent.model import Resource

_T = TypeVar("_T")

dry_run_option = click.option(
    "--dry-run",
    type=click.Choice(["none", "client"]),
    default="none",
    help="client: check everything, write nothing.",
)


def _file_verb(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that all verbs reading manifests share."""
    for option in (pass_settings, where_options, dry_run_option, recursive_option, filename_option):
        command = option(command)
    return command


@click.command(short_help="Create resources, or update those that exist.")
@_file_verb
def apply(settings: Settings, filenames: tuple[str, ...], recursive: bool, dry_run: str) -> None:
    """Create the resources of manifests, or update those that exist.

    Of an existing resource the labels, annotations and spec are replaced. A manifest that carries a
    resourceVersion is refused if the resource has changed since.
    """
    _write_all(settings, read_valid(filenames, recursive, APPLY), APPLY, writing.apply, dry_run=dry_run)


@click.command(short_help="Create resources.")
@click.option("--skip-exists", is_flag=True, help="Count resources that exist already as created.")
@_file_verb
def create(
    settings: Settings, *, filenames: tuple[str, ...], recursive: bool, dry_run: str, skip_exists: bool
) -> None:
    """Create the resources of manifests; one that exists already is an error."""
    skip = AlreadyExistsError if skip_exists else None
    _write_all(
        settings, read_valid(filenames, recursive, CREATE), CREATE, writing.create, dry_run=dry_run, skip=skip
    )


@click.command(short_help="Replace existing resources.")
@_file_verb
def replace(settings: Settings, filenames: tuple[str, ...], recursive: bool, dry_run: str) -> None:
    """Replace existing resources by those of manifests; stops at the first error."""
    _write_all(settings, read_valid(filenames, recursive, REPLACE), REPLACE, writing.replace, dry_run=dry_run)


def _write_all(
    settings: Settings,
    resources: Sequence[Resource],
    verb: Verb,
    write: Callable[[Datastore, Resource], Resource],
    *,
    dry_run: str,
    skip: type[AutohepError] | None = None,
) -> None:
    """Write checked resources and report; ``skip`` is the error that counts as success."""
    outcome = Outcome(verb, [resource.kind for resource in resources])
    if resources:
        settings.start_logging()
        datastore = settings.open_datastore()
        outcome.errors = [str(problem) for problem in writing.dangling(datastore, resources)]
        if dry_run == "client":
            outcome.note = " (dry run)"
            outcome.done = 0 if outcome.errors else len(resources)
        elif not outcome.errors:
            ordered = sorted(resources, key=writing.write_order)
            _each(outcome, ordered, lambda resource: write(datastore, resource), skip)
    outcome.report()


def _each(
    outcome: Outcome, items: Sequence[_T], do: Callable[[_T], object], skip: type[AutohepError] | None
) -> None:
    """Do it to every item; an error does not keep the others from their turn, except with replace."""
    for item in items:
        try:
            do(item)
        except AutohepError as error:
            if skip is None or not isinstance(error, skip):
                outcome.errors.append(explain(error))
                if outcome.verb is REPLACE:
                    return
                continue
        outcome.done += 1


@click.command(short_help="Delete resources.")
@targets_argument
@click.option("-s", "--skip-not-exists", is_flag=True, help="Count resources that do not exist as deleted.")
@namespace_option
@_file_verb
def delete(
    settings: Settings,
    *,
    targets: tuple[str, ...],
    filenames: tuple[str, ...],
    recursive: bool,
    dry_run: str,
    skip_not_exists: bool,
    namespace: str | None,
) -> None:
    """Delete the resources named, or those that manifests name."""
    if filenames and targets:
        raise UsageError("give either resources by name or manifests (-f), not both")
    chosen = _named(targets, settings, namespace) if targets else _in_files(filenames, recursive)
    outcome = Outcome(DELETE, [target.kind.name for target in chosen])
    if chosen:
        settings.start_logging()
        datastore = settings.open_datastore()
        remove = _find if dry_run == "client" else writing.delete
        outcome.note = " (dry run)" if dry_run == "client" else ""
        skip = NotFoundError if skip_not_exists else None
        _each(
            outcome, sorted(chosen, key=writing.delete_order), lambda target: remove(datastore, target), skip
        )
    outcome.report()


def _named(targets: Sequence[str], settings: Settings, namespace: str | None) -> tuple[Target, ...]:
    selection = parse_targets(targets, settings, namespace)
    if selection.whole is not None:
        raise UsageError(f"name the {selection.whole.name} resources to delete")
    return selection.targets


def _in_files(filenames: Sequence[str], recursive: bool) -> tuple[Target, ...]:
    """Whatever the manifests name; a resource need not be valid to be deleted."""
    if not filenames:
        raise UsageError("name the resources to delete, or give manifests with -f")
    return tuple(read_named(filenames, recursive))


def _find(datastore: Datastore, target: Target) -> None:
    datastore.get(target.kind.name, target.name, target.namespace)
