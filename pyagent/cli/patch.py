"""``hepctl patch``: change parts of a resource; the result must be as valid as a new one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pyagent import manifest
from pyagent.cli import writing
from pyagent.cli.failure import Failure
from pyagent.cli.manifests import parse_yaml
from pyagent.cli.outcome import PATCH, Outcome, explain
from pyagent.cli.patching import json_patch, merge_patch, strategic_patch
from pyagent.cli.settings import Settings, pass_settings, where_options
from pyagent.cli.targets import namespace_option, parse_targets, targets_argument
from pyagent.errors import AutohepError, UsageError
from pyagent.model import Resource

PATCHES: dict[str, Callable[[Any, Any], Any]] = {
    "strategic": strategic_patch,
    "merge": merge_patch,
    "json": json_patch,
}
#: What makes a resource this one and no other.
IDENTITY = (("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace"), ("metadata", "uid"))


@click.command(short_help="Change parts of a resource.")
@targets_argument
@click.option("-p", "--patch", "text", metavar="PATCH", help="The patch, as JSON or YAML.")
@click.option("--patch-file", metavar="FILE|-", type=click.Path(), help="A file with the patch.")
@click.option(
    "-t",
    "--type",
    "kind_of_patch",
    type=click.Choice(list(PATCHES)),
    default="strategic",
    show_default=True,
    help="strategic: merge, with $patch directives; merge: RFC 7386; json: RFC 6902.",
)
@namespace_option
@where_options
@pass_settings
def patch(
    settings: Settings,
    *,
    targets: tuple[str, ...],
    text: str | None,
    patch_file: str | None,
    kind_of_patch: str,
    namespace: str | None,
) -> None:
    """Change parts of one resource.

    \b
    hepctl patch kubecontrollersconfiguration default \\
      --patch='{"spec": {"controllers": {"node": {"hostEndpoint": {"autoCreate": "Enabled"}}}}}'
    """
    selection = parse_targets(targets, settings, namespace)
    if len(selection.targets) != 1:
        raise UsageError("patch changes one resource: give KIND NAME")
    (target,) = selection.targets
    changes = _read_patch(text, patch_file)
    if kind_of_patch != "json" and not isinstance(changes, dict):
        raise Failure(f"the patch is not a mapping of fields but {_type_name(changes)}")
    settings.start_logging()
    outcome = Outcome(PATCH, [target.kind.name])
    try:
        writing.change(
            settings.open_datastore(),
            target,
            lambda stored: _patched(stored, changes, PATCHES[kind_of_patch]),
            retry="resourceVersion" not in json.dumps(changes, default=str),
        )
        outcome.done = 1
    except AutohepError as error:
        outcome.errors.append(explain(error))
    outcome.report()


def _patched(stored: Resource, changes: Any, apply: Callable[[Any, Any], Any]) -> Resource:
    before = manifest.encode(stored)
    after = apply(before, changes)
    for path in IDENTITY:
        if _at(before, path) != _at(after, path):
            raise AutohepError(f"a patch cannot change {'.'.join(path)}")
    return manifest.decode(after)


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _type_name(value: Any) -> str:
    return {list: "a list", str: "a text", type(None): "empty"}.get(type(value), f"'{value}'")


def _read_patch(text: str | None, file: str | None) -> Any:
    """The patch as builtins. What begins like JSON is read as JSON, so that errors tell its position."""
    if (text is None) == (file is None):
        raise UsageError("give the patch with either -p or --patch-file")
    source = file or "--patch"
    if file is not None:
        try:
            text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"cannot read the patch: {error}") from error
    assert text is not None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if not text.lstrip().startswith(("{", "[")):
            return parse_yaml(text, source)
        broken = error
    try:
        # YAML's flow form ({spec: {order: 5}}) begins in the same way.
        return parse_yaml(text, source)
    except AutohepError:
        raise Failure(
            f"{source}: the patch is not valid JSON: {broken.msg} "
            f"at line {broken.lineno} column {broken.colno} (character {broken.pos})"
        ) from broken
