"""The address sets of an image: what selectors, nets and network sets stand for at this moment."""

from __future__ import annotations

from typing import Any

from pyagent.errors import AutohepError
from pyagent.inspection.held import Held


def ipsets(held: Held, wanted: str | None = None) -> list[dict[str, Any]]:
    """Every address set with its networks and how many classes it has; ``wanted``: those of this name only.

    Raises AutohepError if no set has that name.
    """
    members = held.members
    names = [each["name"] for each in held.known()["sets"]]
    found = [
        {"name": name, "classes": members.classes(number), "networks": members.networks(number)}
        for number, name in enumerate(names)
        if wanted in (None, name)
    ]
    if wanted is not None and not found:
        raise AutohepError(f"{held.place} has no address set {wanted!r}; bpf ipsets dump lists them all")
    return found
