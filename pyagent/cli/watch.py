"""``hepctl get --watch``: what is there, then every change, until interrupted."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import click

from pyagent.cli.kinds import Kind
from pyagent.cli.labelquery import LabelQuery
from pyagent.cli.output import Format, reference, shown
from pyagent.cli.table import GrowingTable
from pyagent.cli.targets import Selection
from pyagent.datastore import Datastore, EventType, WatchEvent
from pyagent.errors import UsageError
from pyagent.model import Resource


def watch_and_show(
    datastore: Datastore,
    selection: Selection,
    query: LabelQuery,
    form: Format,
    *,
    events: bool,
    namespace: str | None,
) -> None:
    """Print the selected resources and then their changes; returns only when the watch ends."""
    kinds = (
        [selection.whole]
        if selection.whole
        else list({target.kind.name: target.kind for target in selection.targets}.values())
    )
    if len(kinds) != 1:
        raise UsageError("--watch follows one kind at a time")
    wanted = {(target.namespace, target.name) for target in selection.targets}

    def picked(resource: Resource) -> bool:
        space, name = resource.metadata.namespace, resource.name
        named = not wanted or (space, name) in wanted
        return named and namespace in {None, space} and query(resource.metadata.labels)

    asyncio.run(_follow(datastore, kinds[0], picked, _Printer(form, kinds[0], events=events)))


async def _follow(
    datastore: Datastore, kind: Kind, picked: Callable[[Resource], bool], printer: _Printer
) -> None:
    """Hand the first listing over in one piece, sorted, and what follows as it comes."""
    listing: list[WatchEvent] | None = []
    async with aclosing(datastore.watch([kind.name])) as events:
        async for event in events:
            if event.type is EventType.ERROR:
                click.echo("\n".join(map(str, event.problems)), err=True)
            elif event.type is EventType.SYNCED:
                printer.show(sorted(listing or [], key=lambda seen: seen.name), first=True)
                listing = None
            elif event.resource is not None and picked(event.resource):
                if listing is None:
                    printer.show([event])
                else:
                    listing.append(event)


@dataclass(slots=True)
class _Printer:
    """Prints events in one format."""

    form: Format
    kind: Kind
    events: bool
    _table: GrowingTable | None = field(init=False, default=None)

    def show(self, events: list[WatchEvent], *, first: bool = False) -> None:
        """Print the resources of some events; ``first`` puts the headings before them."""
        if self.form.tabular:
            self._show_rows(events, first=first)
        else:
            for event in events:
                self._show_one(event)
        sys.stdout.flush()

    def _show_one(self, event: WatchEvent) -> None:
        assert event.resource is not None
        word = f"{event.type} " if self.events else ""
        if self.form.name == "name":
            click.echo(word + reference(event.resource))
            return
        document = shown(event.resource)
        if self.form.name == "yaml":
            click.echo("---")
        self.form.show_object({"object": document, "type": str(event.type)} if self.events else document)

    def _show_rows(self, events: list[WatchEvent], *, first: bool) -> None:
        columns = self.form.columns(self.kind)
        headings = self._row("EVENT", [column.heading for column in columns])
        rows = [self._row(str(event.type), [c.cell(event.resource) for c in columns]) for event in events]
        if self._table is None:
            self._table = GrowingTable(headings)
        for line in self._table.lines([headings, *rows] if first else rows):
            click.echo(line)

    def _row(self, event: str, cells: list[str]) -> list[str]:
        return [event, *cells] if self.events else cells
