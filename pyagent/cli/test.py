"""``hepctl test``: policy tests, without root and without a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from pyagent import manifest
from pyagent.cli.engines import engine_option, parse_engines
from pyagent.cli.settings import where_options
from pyagent.errors import AutohepError, UsageError
from pyagent.policytest import Report, Suite, junit, lines, load_suites, run, to_json

#: How often --watch looks whether a file has changed; in seconds.
WATCH_S = 0.5


@click.command(short_help="Test policies: which packets they let through.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@engine_option
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to report.")
@click.option("--junit", "junit_file", metavar="FILE", help="Write the results as JUnit XML, too.")
@click.option("-v", "--verbose", is_flag=True, help="Show the cases that pass, too.")
@click.option("--watch", is_flag=True, help="Run again whenever a file changes, until interrupted.")
@where_options
def test(
    files: tuple[str, ...], *, engine: str, output: str, junit_file: str | None, verbose: bool, watch: bool
) -> None:
    """Check which packets policies let through, as test files say.

    Every case is put to each engine; exits with 1 if one gives another answer than expected, or if the
    engines disagree. Nothing is sent, and neither root nor a cluster is needed.
    """
    names = parse_engines(engine)
    while True:
        read: list[str] = list(files)
        try:
            suites = _load(files, read)
            report = run(suites, names)
            _show(report, output, junit_file, verbose=verbose)
            passed = report.passed
        except AutohepError as error:
            if not watch:
                raise
            click.echo(str(error), err=True)
            passed = False
        if not watch:
            raise click.exceptions.Exit(0 if passed else 1)
        _wait_for_change(read)


def _load(files: Sequence[str], read: list[str]) -> list[Suite]:
    suites = []
    for file in files:
        for suite in load_suites(file):
            suites.append(suite)
            read += suite.files
    return suites


def _show(report: Report, output: str, junit_file: str | None, *, verbose: bool) -> None:
    if output == "json":
        click.echo(manifest.dump_json(to_json(report)).rstrip("\n"))
    else:
        click.echo("\n".join(lines(report, verbose=verbose)))
    if junit_file is not None:
        try:
            Path(junit_file).write_text(junit(report), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{junit_file}: cannot be written: {error.strerror}") from error


def _wait_for_change(paths: Iterable[str]) -> None:
    before = dict(_stamps(paths))
    while dict(_stamps(paths)) == before:
        time.sleep(WATCH_S)
    click.echo("")


def _stamps(paths: Iterable[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Size and time of every file, and of what is in every directory."""
    for path in map(Path, paths):
        for file in (path, *(path.iterdir() if path.is_dir() else ())):
            try:
                found = file.stat()
            except OSError:  # gone: it comes back as a change
                continue
            yield str(file), (found.st_size, found.st_mtime_ns)
