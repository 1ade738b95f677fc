"""``hepctl lint``: rules and selectors that do not mean what they seem to."""

from __future__ import annotations

import click

from pyagent import manifest
from pyagent.cli.settings import Settings, pass_settings, where_options
from pyagent.cli.sources import read_sources
from pyagent.cli.targets import filename_option, recursive_option
from pyagent.lint import lines, to_json
from pyagent.lint import lint as find


@click.command(short_help="Look for rules that do not do what they seem to.")
@filename_option
@recursive_option
@click.option("--strict", is_flag=True, help="Exit with 1 if anything is found.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to report.")
@where_options
@pass_settings
def lint(
    settings: Settings, *, filenames: tuple[str, ...], recursive: bool, strict: bool, output: str
) -> None:
    """Look for rules and selectors that are valid and do not do what they seem to.

    Found are rules that others shadow or contradict, rules that change nothing, selectors and services that
    pick nobody, policies that apply to nothing, and rules that open a failsafe port to everybody. The
    resources are those of the datastore, or with -f those of manifests.
    """
    sources, resources = read_sources(settings, filenames, recursive=recursive)
    findings = find(sources, resources)
    if output == "json":
        click.echo(manifest.dump_json(to_json(findings)).rstrip("\n"))
    else:
        click.echo("\n".join(lines(findings)))
    if strict and findings:
        raise click.exceptions.Exit(1)
