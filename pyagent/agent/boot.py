"""What a start without datastore puts in force: the last image, and where it applies, in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Self

from pyagent.calc import NodeView
from pyagent.calc.configuration import Settings
from pyagent.calc.view import AddressSet, EndpointView, Failsafe, PodToHost
from pyagent.compiler import Image
from pyagent.compiler.saved import open_image
from pyagent.errors import DriftError
from pyagent.model.facts import HostFacts


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image applies, whichever interfaces a host has by then, and which ports stay open.

    ``specific``: interface -> slot, where that is not the wildcard's. ``exclude`` and ``workloads`` are shell
    globs of interface names.
    """

    specific: Mapping[str, int]
    wildcard: int | None
    exclude: tuple[str, ...]
    workloads: tuple[str, ...]
    failsafes: tuple[Failsafe, ...]

    @classmethod
    def of(cls, view: NodeView, configured: Settings) -> Self:
        """Say where the policy of ``view`` applies."""
        specific = {name: slot for name, slot in sorted(view.interfaces.items()) if slot != view.wildcard}
        globs = tuple(configured.exclude), tuple(configured.workload_interfaces)
        return cls(specific, view.wildcard, *globs, view.failsafes)

    def is_workload(self, interface: str) -> bool:
        """Tell whether the name is that of a pod's host side."""
        return _any(self.workloads, interface)


@dataclass(frozen=True, slots=True)
class Boot:
    """An image and its placement. Of the image's metadata only the endpoints' names are known."""

    image: Image
    placement: Placement

    def view(self, node: str, facts: HostFacts) -> NodeView:
        """Say which endpoints apply to the interfaces that ``facts`` names; their rules are in the image."""
        placement = self.placement
        interfaces, excluded = {}, {}
        for each in facts.interfaces:
            slot = placement.specific.get(each.name, placement.wildcard)
            if _any(placement.exclude, each.name):
                excluded[each.name] = "excluded by FelixConfiguration's interfaceExclude, as last known"
            elif slot is not None:
                interfaces[each.name] = slot
        return NodeView(
            node=node,
            endpoints=tuple(EndpointView(name, slot, {}) for slot, name in enumerate(self.image.slots)),
            interfaces=interfaces,
            wildcard=placement.wildcard,
            excluded=excluded,
            host=AddressSet(""),
            nodes=AddressSet(""),
            failsafes=placement.failsafes,
            tunnels=(),
            node_ports=frozenset(),
            pod_to_host=PodToHost.RETURN,
        )


def pack(boot: Boot) -> bytes:
    """Return the file's content: a line of JSON, then the image."""
    placement = boot.placement
    head = {
        "slots": boot.image.slots,
        "specific": placement.specific,
        "wildcard": placement.wildcard,
        "exclude": placement.exclude,
        "workloads": placement.workloads,
        "failsafes": [[each.direction, each.protocol, each.port, each.net] for each in placement.failsafes],
    }
    return json.dumps(head).encode() + b"\n" + boot.image.data


def unpack(content: bytes, place: str) -> Boot:
    """Read what :func:`pack` wrote. Raises DriftError, naming ``place``, if it is damaged or too old."""
    line, _, data = content.partition(b"\n")
    walker = open_image(data, place)
    try:
        head: dict[str, Any] = json.loads(line)
        placement = Placement(
            {str(name): int(slot) for name, slot in head["specific"].items()},
            head["wildcard"],
            tuple(head["exclude"]),
            tuple(head["workloads"]),
            tuple(Failsafe(*each) for each in head["failsafes"]),
        )
        slots = tuple(head["slots"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DriftError(f"{place} is damaged: {error}") from error
    return Boot(Image(bytearray(data), walker.header["generation"], {}, slots), placement)


def _any(globs: tuple[str, ...], name: str) -> bool:
    return any(fnmatchcase(name, each) for each in globs)
