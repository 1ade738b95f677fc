"""Files of an embedded datastore as people write them."""

from __future__ import annotations

from pathlib import Path

#: A manifest that somebody has not finished.
BROKEN = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {name: a\n"


def by_hand(*nets: str, name: str = "a", metadata: str = "", comment: str = "") -> str:
    """A manifest as a person would write it."""
    listed = ", ".join(f'"{net}"' for net in nets)
    return (
        f"{comment}apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\n"
        f"metadata:\n  name: {name}\n{metadata}spec:\n  nets: [{listed}]\n"
    )


def write(path: Path, text: str) -> None:
    """As an editor saves: a new file in the place of the old."""
    temporary = path.with_name(f".{path.name}.swp")
    temporary.write_text(text)
    temporary.rename(path)
