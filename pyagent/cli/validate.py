"""``hepctl validate``: check manifests offline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from pyagent import manifest
from pyagent.cli.manifests import read_documents, report_invalid
from pyagent.cli.outcome import VALIDATE, Outcome
from pyagent.cli.settings import where_options
from pyagent.cli.targets import filename_option, recursive_option
from pyagent.errors import Problem
from pyagent.manifest import Document


@click.command(short_help="Check manifests without a datastore.")
@filename_option
@recursive_option
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to report.")
@where_options
def validate(filenames: tuple[str, ...], recursive: bool, output: str) -> None:
    """Check manifests without a datastore.

    Everything is checked but what only a datastore knows (whether a tier exists). Exits with 1 if anything is
    invalid. With -o json: an array with one {file, kind, name, valid, errors} for every document.
    """
    documents = read_documents(filenames, recursive)
    if output == "json":
        click.echo(manifest.dump_json([_entry(document) for document in documents]).rstrip("\n"))
        if any(document.problems for document in documents):
            raise click.exceptions.Exit(1)
        return
    _report(documents)


def _entry(document: Document) -> dict[str, Any]:
    return {
        "file": document.file,
        "kind": document.kind,
        "name": document.name,
        "valid": not document.problems,
        "errors": [_in_file(problem) for problem in document.problems],
    }


def _in_file(problem: Problem) -> str:
    """A problem without the file's name, which stands beside it."""
    text = str(replace(problem, file=""))
    return f"line {problem.line}: {text}" if problem.line else text


def _report(documents: Sequence[Document]) -> None:
    """The outcome in the words of the verbs that write."""
    valid = [document for document in documents if not document.problems]
    report_invalid(documents, VALIDATE, done=len(valid))
    Outcome(VALIDATE, [document.kind for document in documents], len(valid)).report()
