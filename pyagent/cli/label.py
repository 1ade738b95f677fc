"""``hepctl label``: set, change and remove labels of one or many resources."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import click
from msgspec import structs

from pyagent import manifest
from pyagent.cli import writing
from pyagent.cli.failure import Failure
from pyagent.cli.kinds import Kind
from pyagent.cli.labelquery import parse_query
from pyagent.cli.manifests import target_of
from pyagent.cli.outcome import explain
from pyagent.cli.output import reference
from pyagent.cli.settings import Settings, pass_settings, where_options
from pyagent.cli.targets import Target, namespace_option, parse_targets, targets_argument
from pyagent.datastore import Datastore
from pyagent.errors import AutohepError, UsageError
from pyagent.model import Resource

_ASSIGNMENT = re.compile(r"(?P<key>[^=]+)=(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Edit:
    """One label to set, or (value None) to remove."""

    key: str
    value: str | None

    def done_to(self, labels: dict[str, str]) -> str:
        """What this edit does to ``labels``: set, updated, removed, or nothing."""
        if self.value is None:
            return "removed" if self.key in labels else ""
        if self.key not in labels:
            return "set"
        return "updated" if labels[self.key] != self.value else ""


@click.command(short_help="Set, change or remove labels.")
@targets_argument
@click.option("--all", "every", is_flag=True, help="All resources of the kind.")
@click.option("-l", "--selector", metavar="SELECTOR", help="The resources of the kind whose labels match.")
@click.option("--overwrite", is_flag=True, help="Allow changing the value of a label.")
@click.option("--remove", is_flag=True, help="Remove the labels, which are then given as keys.")
@namespace_option
@where_options
@pass_settings
def label(
    settings: Settings,
    *,
    targets: tuple[str, ...],
    every: bool,
    selector: str | None,
    overwrite: bool,
    remove: bool,
    namespace: str | None,
) -> None:
    """Set labels (key=value), or remove them (key-, or --remove key).

    \b
    hepctl label nodes --all kubernetes-host=
    hepctl label node worker1 rack=3 --overwrite
    hepctl label heps -l 'role == "web"' tier-
    """
    request = _parse(targets, settings, namespace, every=every or selector is not None, remove=remove)
    query = parse_query(selector or "")
    settings.start_logging()
    datastore = settings.open_datastore()
    if request.kind is None:
        chosen, missing = _named(datastore, request.targets)
        one = len(request.targets) == 1
    else:
        listed = datastore.list(request.kind.name)[0]
        chosen = sorted((r for r in listed if query(r.metadata.labels)), key=lambda r: r.name)
        missing, one = [], False
    # Everything is checked before the first write: a refusal must not leave half of the resources labelled.
    refusals = [text for r in chosen for text in _refusals(r, request.edits, overwrite=overwrite)]
    if refusals:
        raise Failure("\n".join(refusals))
    for resource in chosen:
        edited = _write(datastore, resource, request.edits, overwrite=overwrite)
        for line in edited.report(request.word) if one else [edited.summary()]:
            click.echo(line)
    if missing:
        raise Failure("\n".join(missing))
    if not chosen:
        click.echo("No resources found", err=True)


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments taken apart: resources by name, or all of ``kind``; the edits; the kind as typed."""

    targets: tuple[Target, ...]
    kind: Kind | None
    edits: tuple[Edit, ...]
    word: str


def _parse(
    words: Sequence[str], settings: Settings, namespace: str | None, *, every: bool, remove: bool
) -> Request:
    """Which words are names and which are edits."""
    if not words:
        raise UsageError("name a resource type, resources and labels: KIND NAME key=value")
    if remove:
        named = 1 if every or "/" in words[0] else 2
        names, edits = words[:named], [Edit(word.removesuffix("-"), None) for word in words[named:]]
    else:
        names = [word for word in words if _edit(word) is None]
        edits = [edit for word in words if (edit := _edit(word)) is not None]
    if not edits:
        raise UsageError("no labels given: key=value sets one, key- removes it")
    selection = parse_targets(names, settings, namespace)
    if every and selection.whole is None:
        raise UsageError("--all and -l pick the resources by themselves; leave out the names")
    if not every and selection.whole is not None:
        raise UsageError("name the resources to label, or give --all or -l")
    return Request(selection.targets, selection.whole, tuple(edits), words[0].partition("/")[0])


def _edit(word: str) -> Edit | None:
    if match := _ASSIGNMENT.fullmatch(word):
        return Edit(match["key"], match["value"])
    return Edit(word[:-1], None) if word.endswith("-") else None


def _named(datastore: Datastore, targets: Sequence[Target]) -> tuple[list[Resource], list[str]]:
    found, missing = [], []
    for target in targets:
        try:
            found.append(datastore.get(target.kind.name, target.name, target.namespace))
        except AutohepError as error:
            missing.append(explain(error))
    return found, missing


@dataclass(frozen=True, slots=True)
class Edited:
    """A resource with its new labels, and what each edit did."""

    resource: Resource
    done: tuple[tuple[Edit, str], ...]

    def report(self, word: str) -> list[str]:
        """A line for every edit, in calicoctl's words; ``word`` is the kind as the user typed it."""
        place = {"set": "on", "updated": "on", "removed": "from"}
        lines = [
            f"Successfully {verb} label {edit.key} {place[verb]} {word} {self.resource.name}"
            for edit, verb in self.done
            if verb
        ]
        return lines or [*self._not_found(), self.summary()]

    def _not_found(self) -> list[str]:
        return [f'label "{edit.key}" not found.' for edit, _ in self.done if edit.value is None]

    def summary(self) -> str:
        """One line for the resource, in kubectl's words."""
        verbs = {verb for _, verb in self.done if verb}
        word = "not labeled" if not verbs else "unlabeled" if verbs == {"removed"} else "labeled"
        return f"{reference(self.resource)} {word}"


def _edited(resource: Resource, edits: Sequence[Edit], *, overwrite: bool) -> Edited:
    """The resource with the edits made; raises AutohepError if a value would change without ``overwrite``."""
    labels = dict(resource.metadata.labels)
    done = []
    for edit in edits:
        verb = edit.done_to(labels)
        if verb == "updated" and not overwrite:
            raise AutohepError(
                f"failed to label {resource.kind}({resource.name}): "
                f"'{edit.key}' already has a value ({labels[edit.key]}), and --overwrite is false"
            )
        done.append((edit, verb))
        if edit.value is not None:
            labels[edit.key] = edit.value
        else:
            labels.pop(edit.key, None)
    metadata = structs.replace(resource.metadata, labels=labels)
    return Edited(structs.replace(resource, metadata=metadata), tuple(done))


def _refusals(resource: Resource, edits: Sequence[Edit], *, overwrite: bool) -> list[str]:
    try:
        edited = _edited(resource, edits, overwrite=overwrite)
    except AutohepError as error:
        return [str(error)]
    problems = manifest.validate(edited.resource)
    return [f"failed to label {resource.kind}({resource.name}): {problem}" for problem in problems]


def _write(datastore: Datastore, resource: Resource, edits: Sequence[Edit], *, overwrite: bool) -> Edited:
    """Make the edits to what is stored now; a resource that would not change is not written."""
    edited = _edited(resource, edits, overwrite=overwrite)
    if not any(verb for _, verb in edited.done):
        return edited

    def edit(stored: Resource) -> Resource:
        nonlocal edited
        edited = _edited(stored, edits, overwrite=overwrite)
        return edited.resource

    writing.change(datastore, target_of(resource), edit)
    return edited
