"""``KIND [NAME...]`` and ``KIND/NAME...``: which resources a command line means, and its shell completion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click
from click.shell_completion import CompletionItem

from pyagent.cli.kinds import ALL_KINDS, Kind, find_kind
from pyagent.cli.settings import DEFAULT_DATASTORE, Settings
from pyagent.errors import AutohepError, UsageError
from pyagent.model import KINDS

DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class Target:
    """One named resource."""

    kind: Kind
    name: str
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """What was named: a kind with its names, or (``whole``) all of the kind."""

    targets: tuple[Target, ...]
    whole: Kind | None = None


def parse_targets(words: Sequence[str], settings: Settings, namespace: str | None = None) -> Selection:
    """The resources that the arguments of a verb name."""
    if not words:
        raise UsageError("name a resource type, or give manifests with -f")
    space = namespace or settings.value("namespace", DEFAULT_NAMESPACE)
    if "/" in words[0]:
        return Selection(tuple(_slashed(word, space) for word in words))
    kind = find_kind(words[0])
    if len(words) == 1:
        return Selection((), whole=kind)
    if any("/" in word for word in words[1:]):
        raise UsageError("KIND NAME and KIND/NAME cannot be mixed")
    return Selection(tuple(_target(kind, name, space) for name in words[1:]))


def _target(kind: Kind, name: str, namespace: str) -> Target:
    return Target(kind, name, namespace if kind.namespaced else "")


def _slashed(word: str, namespace: str) -> Target:
    kind, slash, name = word.partition("/")
    if not slash or not name:
        raise UsageError(f"'{word}' is not of the form KIND/NAME")
    return _target(find_kind(kind), name, namespace)


def complete_targets(
    ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Kinds for the first word, names from the datastore for the others."""
    words = [word for value in ctx.params.values() if isinstance(value, tuple) for word in value]
    if not words:
        return [
            CompletionItem(KINDS[kind.name].PLURAL)
            for kind in ALL_KINDS
            if incomplete in KINDS[kind.name].PLURAL
        ]
    try:
        kind = find_kind(str(words[0]))
        settings = ctx.ensure_object(Settings)
        settings.value("datastore", DEFAULT_DATASTORE)
        resources, _ = settings.open_datastore().list(kind.name)
    except AutohepError:
        return []
    return [CompletionItem(resource.name) for resource in resources if resource.name.startswith(incomplete)]


targets_argument = click.argument(
    "targets", nargs=-1, metavar="[KIND [NAME]... | KIND/NAME...]", shell_complete=complete_targets
)

namespace_option = click.option(
    "-n", "--namespace", metavar="NAMESPACE", help="The namespace of Services and EndpointSlices."
)

filename_option = click.option(
    "-f",
    "--filename",
    "filenames",
    multiple=True,
    metavar="FILE|DIR|-",
    type=click.Path(),
    help="A manifest, a directory of manifests, or - for standard input; may be given several times.",
)

recursive_option = click.option(
    "-R", "--recursive", is_flag=True, help="Read directories with what is below them."
)
