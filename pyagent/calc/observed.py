"""A name for a set of policies, the same on every node and in the controller."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from pyagent.model import Resource

#: Kinds whose changes are policy changes. Host endpoints are not among them: at 5,000 nodes each change of a
#: label would make every agent write.
OBSERVED_KINDS: Final = frozenset(
    {
        "GlobalNetworkPolicy",
        "StagedGlobalNetworkPolicy",
        "GlobalNetworkSet",
        "Tier",
        "Profile",
        "FelixConfiguration",
    }
)


def policy_digest(resources: Iterable[Resource]) -> str:
    """Return 16 hexadecimal digits for the policies among ``resources``; neither order nor statuses count.

    What counts is each one's identity (uid), its generation, which specs bump, and its labels, which do not.
    """
    lines = sorted(
        f"{each.kind}/{each.name}={each.metadata.uid}/{each.metadata.generation}"
        f"/{sorted(each.metadata.labels.items())}"
        for each in resources
        if each.kind in OBSERVED_KINDS
    )
    return blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()
