"""The resources that questions are about: those of manifests, or those of the datastore."""

from __future__ import annotations

from pyagent.cli.settings import Settings
from pyagent.inquiry import Sources, automatic, from_datastore, from_paths
from pyagent.model import Resource


def read_sources(
    settings: Settings, filenames: tuple[str, ...], *, recursive: bool
) -> tuple[Sources, tuple[Resource, ...]]:
    """The resources as they are written, and as they count: nodes of manifests get their automatic endpoints.

    In a datastore the controller has made them, or was told not to.
    """
    if filenames:
        sources = from_paths(filenames, recursive=recursive)
        return sources, automatic(sources.resources)
    settings.start_logging()
    sources = from_datastore(settings.open_datastore())
    return sources, sources.resources
