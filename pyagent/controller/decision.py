"""What to do about one host endpoint, given what it should be and what it is."""

from __future__ import annotations

from collections.abc import Container
from enum import Enum, auto

from msgspec.structs import replace

from pyagent.controller.desired import is_automatic
from pyagent.model import HostEndpoint


class Action(Enum):
    """The step that brings an endpoint nearer to what it should be."""

    KEEP = auto()
    CREATE = auto()
    UPDATE = auto()
    DELETE = auto()
    #: Somebody else's endpoint has the name; it is left alone.
    FOREIGN = auto()


def decide(wanted: HostEndpoint | None, current: HostEndpoint | None, nodes: Container[str]) -> Action:
    """The next step for one name; ``nodes`` are the names of the nodes that exist.

    Deleting can be the first of two steps: an endpoint that was moved to a node that does not exist is
    made anew.
    """
    if current is None:
        return Action.CREATE if wanted else Action.KEEP
    if not is_automatic(current):
        return Action.FOREIGN if wanted else Action.KEEP
    if wanted is None or current.spec.node not in nodes:
        return Action.DELETE
    return Action.UPDATE if _compared(wanted) != _compared(current) else Action.KEEP


def successor(wanted: HostEndpoint, current: HostEndpoint) -> HostEndpoint:
    """``wanted`` as the update of exactly the version ``current``."""
    identity = current.metadata
    metadata = replace(wanted.metadata, uid=identity.uid, resource_version=identity.resource_version)
    return replace(wanted, metadata=metadata)


def _compared(endpoint: HostEndpoint) -> tuple[object, ...]:
    """Where an edit is undone; a user's profiles, ports and node survive until one of these is written."""
    metadata, spec = endpoint.metadata, endpoint.spec
    return metadata.labels, metadata.annotations, spec.expected_ips, spec.interface_name
