"""``-o``: the forms in which resources are printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from pyagent import manifest
from pyagent.cli.fieldpath import FieldPath
from pyagent.cli.kinds import Column, Kind, kind_of
from pyagent.cli.table import bare_table, padded_table
from pyagent.errors import UsageError
from pyagent.model import CALICO_V3, Resource

SERVER_FIELDS = frozenset(
    {
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "generation",
        "selfLink",
        "managedFields",
    }
)


@dataclass(slots=True)
class Found:
    """What there is to print: resources; if a whole kind was asked for, that kind and its list's version."""

    resources: list[Resource]
    whole_kind: Kind | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class Heading:
    """One custom column: a known column by its heading, or a field path under a heading of the user's."""

    text: str
    path: FieldPath | None = None

    def cell(self, resource: Resource) -> str:
        """The cell of ``resource``."""
        if self.path is not None:
            return self.path.text_of(manifest.encode(resource))
        columns = kind_of(resource).columns(wide=True)
        return next(column.cell(resource) for column in columns if column.heading == self.text)


def shown(resource: Resource, *, export: bool = False) -> dict[str, Any]:
    """A resource as it is printed; ``export`` leaves out what only the datastore that issued it understands.

    Of the kinds under projectcalico.org the generation is never shown, as in the reference.
    """
    encoded = manifest.encode(resource)
    hidden = SERVER_FIELDS if export else {"generation"} if resource.API_VERSION == CALICO_V3 else set()
    metadata = encoded["metadata"]
    encoded["metadata"] = {key: metadata[key] for key in metadata if key not in hidden}
    return encoded


@dataclass(frozen=True, slots=True)
class Format:
    """A parsed ``-o``: a name, and the columns of a custom table."""

    name: str
    headings: tuple[Heading, ...] = field(default=())

    @property
    def tabular(self) -> bool:
        """Whether resources become rows under headings."""
        return self.name in {"ps", "wide", "custom-columns"}

    def show(self, found: Found, *, export: bool = False) -> None:
        """Print everything found."""
        if self.tabular:
            for line in self._tables(found):
                click.echo(line)
        elif self.name == "name":
            for resource in found.resources:
                click.echo(reference(resource))
        else:
            self.show_object(_document(found, export=export))

    def show_object(self, document: Any) -> None:
        """Print one document as YAML or JSON."""
        text = manifest.dump_yaml(document) if self.name == "yaml" else manifest.dump_json(document)
        click.echo(text.rstrip("\n"))

    def _tables(self, found: Found) -> Iterator[str]:
        """One table a kind, each followed by a blank line; kubectl's custom columns are one table without."""
        if self.headings and all(heading.path for heading in self.headings):
            rows = [[heading.cell(resource) for heading in self.headings] for resource in found.resources]
            yield from bare_table([heading.text for heading in self.headings], rows)
            return
        kinds = [found.whole_kind] if found.whole_kind else list(dict.fromkeys(map(kind_of, found.resources)))
        for kind in kinds:
            columns = self.columns(kind)
            mine = [resource for resource in found.resources if resource.kind == kind.name]
            yield from padded_table(
                [column.heading for column in columns],
                [[column.cell(resource) for column in columns] for resource in mine],
            )
            yield ""

    def check(self, kinds: Iterable[Kind]) -> None:
        """Raise UsageError if the format asks for columns that one of ``kinds`` has not."""
        for kind in kinds if self.tabular else ():
            self.columns(kind)

    def columns(self, kind: Kind) -> Sequence[Column]:
        """The columns of a table of ``kind``."""
        if self.name != "custom-columns":
            return kind.columns(wide=self.name == "wide")
        known = {column.heading for column in kind.columns(wide=True)}
        for heading in self.headings:
            if heading.path is None and heading.text not in known:
                raise UsageError(
                    f"custom-columns: unknown heading '{heading.text}' of {kind.name} "
                    f"(known: {', '.join(sorted(known))}; or HEADING:.field.path)"
                )
        return [Column(heading.text, heading.cell) for heading in self.headings]


def reference(resource: Resource) -> str:
    """A resource as ``kind.group/name``."""
    return f"{kind_of(resource).reference}/{resource.name}"


def _document(found: Found, *, export: bool) -> Any:
    """One resource as itself, a whole kind as its List, several as an array."""
    items = [shown(resource, export=export) for resource in found.resources]
    if kind := found.whole_kind:
        return {
            "apiVersion": kind.api_version,
            "items": items,
            "kind": f"{kind.name}List",
            "metadata": {"resourceVersion": found.version} if found.version else {},
        }
    return items[0] if len(items) == 1 else items


def parse_format(text: str) -> Format:
    """The format that ``-o TEXT`` means."""
    name, equals, rest = text.partition("=")
    name = {"yml": "yaml"}.get(name, name)
    if name == "custom-columns":
        if not rest:
            raise UsageError(
                "custom-columns needs columns: custom-columns=NAME,NODE or custom-columns=NAME:.metadata.name"
            )
        return Format(name, tuple(_heading(part) for part in rest.split(",")))
    if name in {"ps", "wide", "yaml", "json", "name"} and not equals:
        return Format(name)
    if name in {"go-template", "go-template-file"}:
        raise UsageError(
            f"output format '{name}' is not supported; custom-columns=HEADING:.field.path may serve"
        )
    raise UsageError(
        f"output format '{text}' is not known (known: ps, wide, yaml, yml, json, name, custom-columns=...)"
    )


def _heading(text: str) -> Heading:
    heading, colon, path = text.strip().partition(":")
    if colon:
        return Heading(heading, FieldPath(path))
    if not heading:
        raise UsageError("custom-columns: empty heading")
    return Heading(heading.upper())
