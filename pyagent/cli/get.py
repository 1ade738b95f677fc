"""``hepctl get``: show resources, once or as they change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import click

from pyagent.cli.failure import Failure
from pyagent.cli.labelquery import parse_query
from pyagent.cli.manifests import read_named
from pyagent.cli.outcome import explain
from pyagent.cli.output import Found, parse_format
from pyagent.cli.settings import Settings, pass_settings, where_options
from pyagent.cli.targets import (
    Selection,
    Target,
    filename_option,
    namespace_option,
    parse_targets,
    recursive_option,
    targets_argument,
)
from pyagent.cli.watch import watch_and_show
from pyagent.datastore import Datastore
from pyagent.errors import DatastoreError, UsageError
from pyagent.model import Resource


@click.command(short_help="Show resources.")
@targets_argument
@filename_option
@recursive_option
@click.option("-o", "--output", metavar="FORMAT", help="ps, wide, yaml, json, name or custom-columns=...")
@click.option("-l", "--selector", metavar="SELECTOR", help="Only resources whose labels match.")
@click.option("-w", "--watch", is_flag=True, help="Go on and show every change.")
@click.option("--output-watch-events", is_flag=True, help="With --watch: tell ADDED, MODIFIED and DELETED.")
@click.option("--export", is_flag=True, help="Leave out uid, resourceVersion and timestamps; needs names.")
@namespace_option
@click.option(
    "-A", "-a", "--all-namespaces", is_flag=True, help="Services and EndpointSlices of all namespaces."
)
@where_options
@pass_settings
def get(
    settings: Settings,
    *,
    targets: tuple[str, ...],
    filenames: tuple[str, ...],
    recursive: bool,
    output: str | None,
    selector: str | None,
    watch: bool,
    output_watch_events: bool,
    export: bool,
    namespace: str | None,
    all_namespaces: bool,
) -> None:
    """Show the resources of a kind, those named, or those that manifests name.

    \b
    Tables (-o):
      ps                               the columns that matter (the default)
      wide                             more columns
      custom-columns=NAME,NODE         columns by their headings
      custom-columns=NAME:.metadata.name,OS:.metadata.labels['kubernetes.io/os']
    Objects (-o): yaml, json; references: name. Go templates are not supported.

    \b
    Labels (-l), either of two languages, told apart by themselves:
      kubectl's      role=web  role!=web  role  !role  'role in (web,db)'  a=1,b=2
      Calico's       "has(role) && role == 'web'"
    """
    form = parse_format(output or settings.value("output", "ps"))
    if filenames and targets:
        raise UsageError("give either a resource type or manifests (-f), not both")
    selection = (
        _from_files(filenames, recursive) if filenames else parse_targets(targets, settings, namespace)
    )
    if selector is not None and selection.whole is None:
        raise UsageError("-l picks among all resources of a kind; leave out the names")
    if export and selection.whole is not None:
        raise UsageError("--export needs the names of the resources")
    form.check({selection.whole} if selection.whole else {target.kind for target in selection.targets})
    query = parse_query(selector or "")
    settings.start_logging()
    datastore = settings.open_datastore()
    space = None
    if selection.whole and selection.whole.namespaced and not all_namespaces:
        space = namespace or settings.value("namespace", "") or None
    if watch:
        watch_and_show(datastore, selection, query, form, events=output_watch_events, namespace=space)
        return
    found, errors = _find(datastore, selection, space)
    found = replace(found, resources=[r for r in found.resources if query(r.metadata.labels)])
    if found.resources or not errors:
        form.show(found, export=export)
    if errors:
        raise Failure("\n".join(errors))


def _from_files(filenames: Sequence[str], recursive: bool) -> Selection:
    """The resources that manifests name; what else the manifests say does not matter."""
    return Selection(tuple(read_named(filenames, recursive)))


def _find(datastore: Datastore, selection: Selection, namespace: str | None) -> tuple[Found, list[str]]:
    """Every resource there is of those selected, and an error for every one there is not."""
    if kind := selection.whole:
        resources, version = datastore.list(kind.name, namespace)
        return Found(sorted(resources, key=_by_name), kind, version), []
    resources, errors = [], []
    for target in selection.targets:
        try:
            resources.append(_get(datastore, target))
        except DatastoreError as error:
            errors.append(explain(error))
    return Found(resources), errors


def _get(datastore: Datastore, target: Target) -> Resource:
    return datastore.get(target.kind.name, target.name, target.namespace)


def _by_name(resource: Resource) -> tuple[str, str]:
    return resource.metadata.namespace, resource.name
